"""One picture under two annotations, or in two layouts, becomes one row."""

import polars as pl
import pytest

from mien.data.joining import join_annotations, join_by_id, merge_rows
from mien.data.manifest_columns import schema_for

ANNOTATIONS = {"fer2013": (), "ferplus": ("happiness", "sadness")}
NO_TWINS = pl.DataFrame(
    schema={"a": pl.Int64, "b": pl.Int64, "exact": pl.Boolean, "correlation": pl.Float32, "plain": pl.Boolean}
)


def twins(*pairs):
    rows = [dict(zip(NO_TWINS.columns, pair, strict=True)) for pair in pairs]
    return pl.DataFrame(rows, schema=NO_TWINS.schema)


def frame_of(*rows, user=()):
    schema = schema_for(ANNOTATIONS, user)
    filled = [
        {
            "id": f"fer2013/{i}",
            "set": "fer2013",
            "source_file": f"{i}.png",
            "split": "train",
            "sha256": str(i),
            "pack_row": i if row.get("kept", True) else None,
            "crop": "came_cropped",
            "kept": True,
            **row,
        }
        for i, row in enumerate(rows)
    ]
    return pl.DataFrame(
        [pl.Series(name, [row.get(name) for row in filled], dtype=kind) for name, kind in schema.items()]
    )


def fer(sha, split="train", label="happiness", **more):
    return {"sha256": sha, "split": split, "labels.fer2013": label, **more}


def plus(sha, split="train", votes=(8, 2), **more):
    return {"sha256": sha, "split": split, "labels.ferplus": "sadness", "votes.ferplus": list(votes), **more}


def test_equal_pixels_in_the_same_split_are_one_picture():
    frame = frame_of(fer("a"), fer("b"), plus("b"), plus("a", "test"), fer("c", source_row=7))
    joined, _ = join_annotations(frame, NO_TWINS)
    assert joined["kept"].to_list() == [True, True, False, True, True]
    row = joined.row(1, named=True)
    assert (row["labels.fer2013"], row["labels.ferplus"], row["votes.ferplus"]) == (
        "happiness", "sadness", [8.0, 2.0],
    )  # fmt: skip
    assert row["joined_from"] == ["2.png"]
    gone = joined.row(2, named=True)
    assert (gone["drop_reason"], gone["drop_detail"], gone["pack_row"]) == (
        "joined to another row", "its annotation is with fer2013/1", None,
    )  # fmt: skip
    assert joined.select(pl.exclude("joined_from")).row(0) == frame.select(pl.exclude("joined_from")).row(0)


def test_equal_pictures_are_paired_in_order_each_once():
    frame = frame_of(fer("a"), fer("a"), plus("a", votes=(9, 1)), plus("a", votes=(1, 9)), plus("a"))
    joined, _ = join_annotations(frame, NO_TWINS)
    assert joined["kept"].to_list() == [True, True, False, False, True]
    assert joined["votes.ferplus"].to_list()[:2] == [[9.0, 1.0], [1.0, 9.0]]


def test_recompressed_pictures_are_joined_to_their_nearest_twin():
    frame = frame_of(fer("a"), fer("b"), plus("c"), plus("d", "test"), plus("e", votes=(3, 3)))
    pairs = twins(
        (0, 2, False, 0.985, True),
        (1, 2, False, 0.999, True),
        (0, 3, False, 0.999, True),  # another split
        (0, 4, False, 0.999, False),  # mirrored
        (0, 1, False, 0.999, True),  # both of one side
    )
    joined, alone = join_annotations(frame, pairs)
    assert alone == 2
    assert joined["kept"].to_list() == [True, True, False, True, True]
    assert joined["votes.ferplus"].to_list() == [None, [8.0, 2.0], [8.0, 2.0], [8.0, 2.0], [3.0, 3.0]]


def test_of_equal_pictures_one_pair_is_enough():
    # JPEGs a, a, a' stand in two splits; find_twins pairs only the first of equal ones with near twins.
    frame = frame_of(fer("a"), fer("a", "test"), plus("p"), plus("p", "test", votes=(3, 3)))
    joined, alone = join_annotations(frame, twins((0, 2, False, 0.997, True)))
    assert joined["kept"].to_list() == [True, True, False, False]
    assert joined["votes.ferplus"].to_list()[:2] == [[8.0, 2.0], [3.0, 3.0]]
    assert alone == 0


def test_a_picture_with_both_annotations_takes_nothing_and_leaves_no_second_row():
    both = {**fer("a"), **plus("a", votes=(5, 5))}
    joined, alone = join_annotations(frame_of(both, fer("b"), plus("a"), plus("c")), NO_TWINS)
    assert joined["kept"].to_list() == [True, True, False, True]
    assert joined["votes.ferplus"][0].to_list() == [5.0, 5.0]
    assert alone == 1
    alone_frame = frame_of(fer("a"))
    assert join_annotations(alone_frame, NO_TWINS)[0] is alone_frame


def test_without_prefixes_the_partner_says_which_test_pictures_are_validation():
    frame = frame_of(
        fer("a"), fer("b", "test"), fer("c", "test"), plus("b", "validation"), plus("c", "test"), plus("a")
    )
    joined, _ = join_annotations(frame, NO_TWINS)
    assert joined["kept"].to_list() == [True, True, True, False, False, False]
    assert joined["split"].to_list()[:3] == ["train", "validation", "test"]
    known = frame_of(fer("b", "test"), fer("v", "validation"), plus("b", "validation"))
    assert join_annotations(known, NO_TWINS)[0]["kept"].to_list() == [True, True, True]


def test_one_frame_in_two_layouts_takes_what_the_other_knows():
    frame = frame_of(
        {"id": "ckplus/x", "labels.fer2013": "fear", "crop": "came_cropped"},
        {"id": "ckplus/x", "crop": "aligned", "valence": 0.5, "subject": "ckplus/S1"},
        {"id": "ckplus/y", "kept": False, "drop_reason": "no face", "crop": None, "valence": 0.1},
        {"id": "ckplus/y", "labels.fer2013": "anger"},
    )
    joined = join_by_id(frame, ANNOTATIONS)
    assert joined["kept"].to_list() == [False, True, False, True]
    assert joined["id"].n_unique() == 4
    first, second = joined.row(1, named=True), joined.row(3, named=True)
    assert (first["id"], first["labels.fer2013"], first["valence"], first["crop"]) == (
        "ckplus/x", "fear", 0.5, "aligned",
    )  # fmt: skip
    assert (second["id"], second["valence"]) == ("ckplus/y", pytest.approx(0.1))
    assert joined.row(0, named=True)["drop_reason"] == "joined to another row"
    assert joined.row(2, named=True)["drop_detail"] == "its annotation is with ckplus/y; no face"


def test_where_a_face_lies_is_the_pictures_own():
    frame = frame_of(
        {
            "id": "ckplus/x",
            "kept": False,
            "drop_reason": "no face",
            "landmarks": [500.0] * 10,
            "faces_found": 0,
        },
        {"id": "ckplus/x", "labels.fer2013": "anger"},
    )
    row = join_by_id(frame, ANNOTATIONS).row(1, named=True)
    assert (row["kept"], row["landmarks"], row["faces_found"]) == (True, None, None)


def test_two_layouts_that_contradict_each_other_are_dropped():
    frame = frame_of(
        {"id": "ckplus/x", "labels.fer2013": "fear"}, {"id": "ckplus/x", "labels.fer2013": "anger"}
    )
    joined = join_by_id(frame, ANNOTATIONS)
    assert joined["kept"].to_list() == [False, False]
    assert joined["drop_reason"].to_list() == ["two labels", "two labels"]
    assert joined["pack_row"].null_count() == 2
    assert joined["id"].n_unique() == 2


def test_nothing_to_join_changes_nothing():
    frame = frame_of(fer("a"), fer("b"))
    assert merge_rows(frame, {}) is frame
    assert join_by_id(frame, ANNOTATIONS) is frame
