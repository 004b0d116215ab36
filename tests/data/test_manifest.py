import dataclasses
import json

import polars as pl
import pytest

from mien.data.manifest import METADATA_KEY, Manifest, ManifestInfo, views_of
from mien.data.manifest_columns import COLUMNS, schema_for
from mien.data.manifest_hash import hash_rows
from mien.errors import InputError, ManifestError
from mien.labels import EMOTIONS, SEVEN

ANNOTATIONS = {"fer2013": (), "ferplus": ("happiness", "sadness", "unknown")}
INFO = ManifestInfo(
    labels=EMOTIONS,
    annotations=ANNOTATIONS,
    target="ferplus.votes",
    size=48,
    channels=1,
    pack_file="pack-0.npy",
    pack_count=5,
    pack_sha256="0" * 64,
    unrotated=("affectnet",),
    views={"7": SEVEN},
    template={"left_eye": (0.3, 0.4), "detected": 0.9},
)


def row(number, split="train", fer="happiness", plus="happiness", votes=(8, 2, 0), **more):
    return {
        "id": f"fer2013/{number:05d}",
        "set": "fer2013",
        "source_file": "fer2013.csv",
        "source_row": number,
        "pack_row": number,
        "sha256": f"{number:064x}",
        "height": 48,
        "width": 48,
        "channels": 1,
        "split": split,
        "crop": "came_cropped",
        "crop_transform": [1, 0, 0, 0, 1, 0],
        "kept": True,
        "labels.fer2013": fer,
        "labels.ferplus": plus,
        "votes.ferplus": None if votes is None else list(votes),
        **more,
    }


def dropped(number, reason="black"):
    return row(number) | {"kept": False, "pack_row": None, "split": None, "drop_reason": reason}


def frame_of(rows, user=()):
    schema = schema_for(ANNOTATIONS, user)
    return pl.DataFrame(
        [pl.Series(name, [r.get(name) for r in rows], dtype=kind) for name, kind in schema.items()]
    )


ROWS = [
    row(0, valence=-1.0, arousal=0.5, action_units=[{"unit": 12, "intensity": 0.8}], landmarks=[1.0] * 10),
    row(1, fer="sadness", plus=None, votes=(4, 4, 2)),
    row(2, "validation", votes=(6, 1, 3), fer="sadness"),
    row(3, "test", votes=(2, 7, 1), plus="sadness"),
    dropped(4),
]


def test_what_is_written_is_read_back(tmp_path):
    manifest = Manifest(frame_of(ROWS, ["camera"]).with_columns(pl.lit("a").alias("user.camera")), INFO)
    manifest.write(tmp_path / "m.parquet")
    again = Manifest.read(tmp_path / "m.parquet")
    assert again.frame.equals(manifest.frame)
    assert again.hash() == manifest.hash()
    assert dataclasses.replace(again.info, template=None) == dataclasses.replace(INFO, template=None)
    assert again.info.template == {"left_eye": [0.3, 0.4], "detected": 0.9}
    assert [path.name for path in tmp_path.iterdir()] == ["m.parquet"]


def test_every_column_of_the_data_model_is_there_from_the_start():
    wanted = """
        id set source_file source_row joined_from pack_row sha256 height width channels format brightness
        split subject sequence frame twin_group valence arousal action_units face_box landmarks faces_found
        detection_score crop crop_transform copies kept drop_reason drop_detail
    """
    assert list(COLUMNS) == wanted.split()


def test_the_hash_does_not_depend_on_row_order_template_or_encoding(tmp_path):
    manifest = Manifest(frame_of(ROWS), INFO)
    assert Manifest(frame_of(ROWS[::-1]), INFO).hash() == manifest.hash()
    assert Manifest(manifest.frame, dataclasses.replace(INFO, template=None)).hash() == manifest.hash()
    manifest.frame.write_parquet(
        tmp_path / "m.parquet",
        compression="uncompressed",
        metadata={METADATA_KEY: json.dumps(INFO.to_dict())},
    )
    assert Manifest.read(tmp_path / "m.parquet").hash() == manifest.hash()


@pytest.mark.parametrize(
    "change",
    [
        {"sha256": "f" * 64},
        {"source_file": "fer2013.cs"},
        {"source_row": None},
        {"kept": False, "pack_row": None, "drop_reason": "black"},
        {"landmarks": None},
        {"landmarks": [1.0] * 9 + [2.0]},
        {"action_units": []},
        {"action_units": None},
        {"action_units": [{"unit": 12, "intensity": 0.9}]},
        {"action_units": [{"unit": 12, "intensity": 0.8}, {"unit": 1, "intensity": None}]},
        {"joined_from": []},
        {"joined_from": ["a"]},
        {"split": "test"},
        {"labels.fer2013": "fear"},
        {"votes.ferplus": [7, 3, 0]},
        {"valence": None},
    ],
)
def test_the_hash_knows_every_value(change):
    before = Manifest(frame_of(ROWS), INFO).hash()
    assert Manifest(frame_of([ROWS[0] | change, *ROWS[1:]]), INFO).hash() != before
    assert Manifest(frame_of(ROWS), dataclasses.replace(INFO, pack_sha256="1" * 64)).hash() != before


def test_the_hash_tells_neighbouring_texts_and_lists_apart():
    def hash_of(**columns):
        frames = [pl.DataFrame({"id": ["a", "b"], **columns})]
        return hash_rows(*frames, {})

    assert hash_of(x=["ab", "c"]) != hash_of(x=["a", "bc"])
    assert hash_of(x=["", None]) != hash_of(x=[None, ""])
    assert hash_of(x=[[1, 2], [3]]) != hash_of(x=[[1], [2, 3]])
    assert hash_of(x=[[], [3]]) != hash_of(x=[None, [3]])
    assert hash_of(x=[[0], [3]]) != hash_of(x=[[], [0, 3]])
    assert hash_of(x=[["a"], [None]]) != hash_of(x=[[None], ["a"]])
    assert hash_of(x=[1, 2]) != hash_of(y=[1, 2])


def test_a_column_of_the_users_own_may_be_added_later():
    manifest = Manifest(frame_of(ROWS), INFO)
    more = manifest.frame.with_columns(pl.lit("a").alias("user.camera"))
    assert Manifest(more, INFO).hash() == manifest.hash()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"id": "fer2013/00002"},
            r"manifest row 1 \(id fer2013/00002\), column id: 'fer2013/00002' stands in two rows",
        ),
        ({"id": None}, r"row 1 .* column id: None is empty"),
        ({"set": None}, "column set: None is empty"),
        ({"split": "holdout"}, r"column split: 'holdout' is not one of train, validation, test"),
        ({"split": None}, "column split: None is empty although the row is kept"),
        ({"pack_row": 0}, "column pack_row: 0 stands in two rows"),
        ({"pack_row": 5}, "column pack_row: 5 is not below the pack's 5 faces"),
        ({"pack_row": -1}, "column pack_row: -1 is not below"),
        ({"pack_row": None}, "column pack_row: None is empty although the row is kept"),
        (
            {"labels.fer2013": "boredom"},
            "column labels.fer2013: 'boredom' is not one of the manifest's classes",
        ),
        ({"votes.ferplus": [1, 2]}, "column votes.ferplus: .* has not 3 counts"),
        ({"votes.ferplus": [1, -2, 0]}, "column votes.ferplus: .* holds a negative count"),
        ({"valence": 1.5}, r"column valence: 1\.5 is not in \[-1, 1\]"),
        ({"valence": -2.0}, r"column valence: -2\.0 is not in"),
        ({"arousal": float("nan")}, r"column arousal: nan is not in"),
        ({"face_box": [1.0, 2.0, 3.0]}, "column face_box: .* has not 4 numbers"),
        ({"landmarks": [float("inf")] * 10}, "column landmarks: .* holds a number that is not finite"),
        ({"copies": -1}, "column copies: -1 is negative"),
        ({"crop": "cut"}, "column crop: 'cut' is not one of came_cropped, aligned"),
        ({"sha256": "abc"}, "column sha256: 'abc' is not a SHA-256"),
        ({"kept": False}, "column drop_reason: None is empty although the row is dropped"),
        ({"drop_reason": "black"}, "column drop_reason: 'black' is set although the row is kept"),
        ({"kept": False, "drop_reason": "black"}, "column pack_row: 1 is set although the row is dropped"),
        ({"height": 0}, "column height: 0 is below 1"),
    ],
)
def test_a_broken_rule_names_row_and_column(change, message):
    with pytest.raises(ManifestError, match=message):
        Manifest(frame_of([ROWS[0], ROWS[1] | change, *ROWS[2:]]), INFO)


def test_a_dropped_row_may_have_a_label_of_no_class():
    assert Manifest(frame_of([*ROWS[:4], ROWS[4] | {"labels.fer2013": "none"}]), INFO).dropped() == {
        "black": 1
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": ("anger", "anger")}, "must be distinct"),
        ({"labels": ()}, "at least one"),
        ({"views": {"7": ("joy",)}}, "view '7' holds 'joy'"),
    ],
)
def test_broken_metadata_is_refused(change, message):
    with pytest.raises(ManifestError, match=message):
        Manifest(frame_of(ROWS), dataclasses.replace(INFO, **change))


def test_a_target_that_is_not_there_is_refused():
    with pytest.raises(
        InputError, match=r"target 'ckplus' is not in this data; it has fer2013, ferplus, ferplus\.votes"
    ):
        Manifest(frame_of(ROWS), dataclasses.replace(INFO, target="ckplus"))
    manifest = Manifest(frame_of(ROWS), INFO)
    with pytest.raises(InputError, match=r"target 'fer2013\.votes' is not in this data"):
        manifest.target("fer2013.votes")


def test_columns_are_checked():
    frame = frame_of(ROWS)
    with pytest.raises(ManifestError, match="has no column subject"):
        Manifest(frame.drop("subject"), INFO)
    with pytest.raises(ManifestError, match="column valence is Float64 instead of Float32"):
        Manifest(frame.with_columns(pl.col("valence").cast(pl.Float64)), INFO)
    with pytest.raises(ManifestError, match=r"column age is not known; name a column of your own user\.age"):
        Manifest(frame.with_columns(pl.lit(3).alias("age")), INFO)


def test_what_is_no_manifest_is_refused(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        Manifest.read(tmp_path / "none.parquet")
    (tmp_path / "text.parquet").write_text("hello")
    with pytest.raises(ManifestError, match="is not a parquet file"):
        Manifest.read(tmp_path / "text.parquet")
    path = tmp_path / "m.parquet"
    for metadata, message in (
        ({}, "no manifest"),
        ({METADATA_KEY: "{"}, "no JSON"),
        ({METADATA_KEY: json.dumps(INFO.to_dict() | {"format": 9})}, "format is 9"),
        ({METADATA_KEY: json.dumps(INFO.to_dict() | {"more": 9})}, "more"),
        ({METADATA_KEY: json.dumps(INFO.to_dict() | {"views": 9})}, "views"),
    ):
        frame_of(ROWS).write_parquet(path, metadata=metadata)
        with pytest.raises(ManifestError, match=message):
            Manifest.read(path)


def test_counts_list_every_split_and_class():
    counts = Manifest(frame_of(ROWS), INFO).counts()
    assert set(counts) == {"train", "validation", "test"}
    assert counts["train"] == {name: int(name == "happiness") for name in EMOTIONS}
    assert Manifest(frame_of(ROWS), INFO).counts("fer2013")["train"]["sadness"] == 1


def test_the_seven_class_view_is_for_the_emotions_only():
    assert views_of(EMOTIONS) == {"7": SEVEN}
    assert views_of(SEVEN) == {"7": SEVEN}
    assert views_of(("yes", "no")) == {}


def test_votes_become_soft_labels_of_the_majority_images():
    targets = Manifest(frame_of(ROWS), INFO).target()
    assert targets.ids == ("fer2013/00000", "fer2013/00002", "fer2013/00003")
    assert [EMOTIONS[i] for i in targets.labels] == ["happiness", "happiness", "sadness"]
    happiness, sadness = EMOTIONS.index("happiness"), EMOTIONS.index("sadness")
    assert targets.soft[0, [happiness, sadness]].tolist() == pytest.approx([0.8, 0.2])
    assert targets.soft[1, [happiness, sadness]].tolist() == [1, 0]
    assert targets.soft[2, [happiness, sadness]].tolist() == pytest.approx([2 / 9, 7 / 9])
    assert targets.pack_rows.tolist() == [0, 2, 3]
    assert targets.rows("test").tolist() == [2]
    assert targets.only("validation").ids == ("fer2013/00002",)
    assert len(targets) == 3


def test_a_plain_annotation_is_one_hot():
    targets = Manifest(frame_of(ROWS), INFO).target("fer2013")
    assert targets.soft.sum(axis=1).tolist() == [1, 1, 1, 1]
    assert targets.soft.argmax(axis=1).tolist() == targets.labels.tolist()
    assert [EMOTIONS[i] for i in targets.labels] == ["happiness", "sadness", "sadness", "happiness"]


def test_joined_targets_take_the_first_that_labels_a_row():
    targets = Manifest(frame_of(ROWS), INFO).target("ferplus.votes+fer2013")
    assert [EMOTIONS[i] for i in targets.labels] == ["happiness", "sadness", "happiness", "sadness"]
    assert targets.soft[1].max() == 1
    assert targets.soft[3].max() == pytest.approx(7 / 9)


def test_another_target_gets_a_balance_plan_of_its_own():
    rows = [row(i, fer="sadness" if i == 0 else "happiness", copies=1) for i in range(5)]
    manifest = Manifest(frame_of(rows), INFO)
    assert manifest.target().copies.tolist() == [1] * 5
    assert manifest.target("fer2013").copies.tolist() == [4, 1, 1, 1, 1]


def test_a_row_with_a_label_and_no_votes_is_one_hot():
    rows = [*ROWS, row(5, votes=None, plus="sadness", pack_row=4)]
    targets = Manifest(frame_of(rows), INFO).target()
    assert targets.ids[-1] == "fer2013/00005"
    assert targets.soft[-1].argmax() == EMOTIONS.index("sadness")
    assert targets.soft[-1].max() == 1
