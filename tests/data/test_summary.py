"""The numbers of a data card, against counts by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import pytest

from mien.data import summary as module
from mien.data.manifest import Manifest, ManifestInfo
from mien.data.manifest_columns import schema_for
from mien.data.summary import TWIN_COLUMNS, labelled_rows, summarise
from mien.data.summary_records import Brightness, DroppedPicture, Sizes

ANNOTATIONS: dict[str, tuple[str, ...]] = {"own": (), "ferplus": ("joy", "rage", "unknown")}


def row(number: int, label: str | None, split: str = "train", **values: Any) -> dict[str, Any]:
    """A kept picture of set `a`; what is not told is null."""
    return {
        "id": f"a/{number}",
        "set": "a",
        "source_file": "a.csv",
        "kept": True,
        "pack_row": number,
        "sha256": f"{number:064x}",
        "crop": "came_cropped",
        "split": split,
        "copies": 1 if split == "train" else None,
        "labels.own": label,
        **values,
    }


def dropped(number: int, label: str | None, reason: str, **values: Any) -> dict[str, Any]:
    gone = dict.fromkeys(("pack_row", "crop", "split", "copies"))
    return row(number, label, **{**gone, "kept": False, "drop_reason": reason, **values})


def manifest_of(rows: Sequence[dict[str, Any]], **info: Any) -> Manifest:
    frame = pl.DataFrame(
        {
            name: pl.Series([one.get(name) for one in rows], dtype=kind)
            for name, kind in schema_for(ANNOTATIONS).items()
        }
    )
    values: dict[str, Any] = {
        "labels": ("joy", "rage"),
        "annotations": ANNOTATIONS,
        "target": "own",
        "size": 4,
        "channels": 1,
        "pack_file": "pack.npy",
        "pack_count": 100_000,
        "pack_sha256": "0" * 64,
    }
    return Manifest(frame, ManifestInfo(**{**values, **info}))


def twins_of(*pairs: dict[str, Any]) -> pl.DataFrame:
    base = {"exact": False, "correlation": 0.99, "mirrored": False, "shift_x": 0, "shift_y": 0}
    schema = {
        **dict.fromkeys(TWIN_COLUMNS, pl.String),
        **{"exact": pl.Boolean, "mirrored": pl.Boolean, "correlation": pl.Float32},
        **{"shift_x": pl.Int8, "shift_y": pl.Int8},
    }
    filled = [{**base, **pair} for pair in pairs]
    return pl.DataFrame(
        {name: pl.Series([one.get(name) for one in filled], dtype=kind) for name, kind in schema.items()}
    )


def test_classes_by_set_and_split_before_and_after_the_plan() -> None:
    manifest = manifest_of(
        [
            row(0, "joy", copies=0),
            row(1, "joy", copies=2),
            row(2, "joy", "test"),
            row(3, "rage", set="b", copies=3),
            row(4, "rage", "validation", set="b"),
            row(5, None),
            dropped(6, "rage", "black"),
            dropped(7, "confused", "not an emotion"),
        ]
    )
    told = summarise(manifest, None, None)
    joy, rage = told.classes
    assert (joy.name, joy.read, joy.kept) == ("joy", {"a": 3, "b": 0}, {"a": 3, "b": 0})
    assert joy.splits == {"train": 2, "validation": 0, "test": 1}
    assert (joy.epoch, joy.copies, joy.left_out) == ({"a": 2, "b": 0}, (0, 2), 1)
    # The dropped picture is part of what was read and of nothing else.
    assert (rage.read, rage.kept) == ({"a": 1, "b": 2}, {"a": 0, "b": 2})
    assert rage.splits == {"train": 1, "validation": 1, "test": 0}
    assert (rage.epoch, rage.copies, rage.left_out) == ({"a": 0, "b": 3}, (3, 3), 0)
    assert (told.read, told.kept, told.labelled) == (8, 6, 5)
    assert told.split_counts == {"train": 3, "validation": 1, "test": 1}
    assert [(one.name, one.read, one.kept) for one in told.sets] == [("a", 6, 4), ("b", 2, 2)]
    assert told.manifest_hash == manifest.hash()
    assert labelled_rows(manifest)["label"].to_list() == ["joy"] * 3 + ["rage"] * 3


def test_the_label_is_the_first_that_the_target_names() -> None:
    rows = [row(0, "joy", **{"labels.ferplus": "rage"}), row(1, "joy"), row(2, "rage")]
    counted = summarise(manifest_of(rows, target="ferplus.votes+own"), None, None).classes
    assert [sum(one.kept.values()) for one in counted] == [1, 2]


def test_sizes_formats_channels_crops_and_faces_of_a_set() -> None:
    rows = [
        row(0, "joy", width=48, height=48, channels=1, format="PNG", brightness=10.0),
        row(1, "joy", width=48, height=48, channels=3, format="JPEG", brightness=20.0, faces_found=1),
        row(2, "joy", width=64, height=100, channels=3, format="JPEG", faces_found=4, crop="aligned"),
        dropped(
            3, "joy", "no face", width=30, height=20, channels=3, faces_found=0, brightness=60.0, crop="box"
        ),
        dropped(4, "joy", "not a picture"),
    ]
    (told,) = summarise(manifest_of(rows, templates={"a": {"count": 4}}), None, None).sets
    assert told.sizes == Sizes(commonest=(48, 48), share=0.5, smallest=20, median=48, largest=64)
    assert list(told.formats.items()) == [("JPEG", 2), ("PNG", 1)]
    assert told.grey_share == 0.25
    assert told.brightness_before == Brightness(30.0, round(float(np.std([10, 20, 60])), 2), 3)
    assert told.brightness_after is None
    assert told.crops == {"came_cropped": 2, "aligned": 1}
    assert told.faces_found == {"none": 1, "one": 1, "several": 1}
    assert told.template == {"count": 4}


def test_a_width_is_never_taken_for_a_height() -> None:
    (told,) = summarise(manifest_of([row(0, "joy", width=640, height=490)]), None, None).sets
    assert told.sizes is not None
    assert (told.sizes.commonest, told.sizes.largest) == ((640, 490), 490)


def test_a_set_of_which_nothing_is_known_or_kept() -> None:
    rows = [row(0, "joy"), dropped(1, None, "not a picture", set="b")]
    pack = np.full((1, 1, 4, 4), 9, dtype=np.uint8)
    told = summarise(manifest_of(rows, pack_count=1), pack, None).sets
    assert told[0].brightness_after == Brightness(9.0, 0.0, 1)
    for one in told:
        assert (one.sizes, one.grey_share, one.brightness_before, one.template) == (None,) * 4
        assert (one.formats, one.faces_found) == ({}, {})
    assert (told[1].read, told[1].kept, told[1].crops, told[1].brightness_after) == (1, 0, {}, None)


def test_brightness_of_packed_faces_is_that_of_the_sets_own_rows() -> None:
    pack = np.empty((5, 3, 4, 4), dtype=np.uint8)
    colours = [(200, 0, 0), (0, 255, 0), (0, 0, 100), (7, 7, 7), (99, 99, 99)]
    pack[:] = np.array(colours, dtype=np.uint8)[:, :, None, None]
    rows = [row(2, "joy"), row(0, "joy"), row(1, "joy", "test"), row(3, "rage", set="b"), row(4, None)]
    rows[4]["set"] = "b"
    told = summarise(manifest_of(rows, channels=3, pack_count=5), pack, None).sets
    # ITU-R BT.601: red, green and blue weigh 0.299, 0.587 and 0.114.
    grey = np.array([200 * 0.299, 255 * 0.587, 100 * 0.114])
    assert told[0].brightness_after == Brightness(
        round(float(grey.mean()), 2), round(float(grey.std()), 2), 3
    )
    assert told[1].brightness_after == Brightness(53.0, 46.0, 2)


@pytest.mark.parametrize(("limit", "value"), [("_FACES", 30), ("_BYTES", 30 * 16)])
def test_brightness_reads_a_bounded_sample_in_slices(
    monkeypatch: pytest.MonkeyPatch, limit: str, value: int
) -> None:
    monkeypatch.setattr(module, limit, value)
    monkeypatch.setattr(module, "_SLICE_BYTES", 100)
    rng = np.random.default_rng(0)
    pack = np.repeat(rng.integers(0, 256, 400, dtype=np.uint8), 16).reshape(400, 1, 4, 4)
    rows = [row(i, "joy") for i in range(400)]

    def measured(order: Sequence[int]) -> Brightness:
        manifest = manifest_of([rows[i] for i in order], pack_count=400, seed=3)
        after = summarise(manifest, pack, None).sets[0].brightness_after
        assert after is not None
        return after

    told = measured(range(400))
    assert told.count == 30
    # Four standard errors around the mean of all 400.
    assert told.mean == pytest.approx(pack[:, 0, 0, 0].mean(), abs=4 * 74 / np.sqrt(30))
    assert told.mean != pytest.approx(pack[:30].mean(), abs=0.01)
    assert measured(rng.permutation(400)) == told


def test_dropped_pictures_by_reason_and_set_with_the_first_of_each() -> None:
    rows = [row(0, "joy", set="b")]
    rows += [dropped(i, "joy", "black", source_row=i) for i in range(1, 31)]
    rows += [dropped(40, None, "no face", set="b", source_file="x/y.jpg", drop_detail="0 found")]
    told = summarise(manifest_of(rows), None, None).dropped
    assert [(one.reason, one.count) for one in told] == [("black", 30), ("no face", 1)]
    assert [dict(one.counts) for one in told] == [{"b": 0, "a": 30}, {"b": 1, "a": 0}]
    assert [one.source_row for one in told[0].examples] == list(range(1, 21))
    assert told[1].examples == (DroppedPicture("a/40", "b", "x/y.jpg", None, "no face", "0 found"),)


def test_twins_are_pairs_and_leaks_are_pictures() -> None:
    pairs = twins_of(
        {"id_a": "a/1", "id_b": "a/2", "exact": True},
        {"id_a": "a/3", "id_b": "a/1", "mirrored": True},
        {"id_a": "a/4", "id_b": "a/5", "shift_y": -1},
        {"id_a": "a/6", "id_b": "a/2", "shift_x": 2, "mirrored": True},
    )
    rows = [
        row(1, "joy", "test", twin_group="a/1"),
        row(2, "joy", twin_group="a/1"),
        dropped(3, "joy", "twin of a test image", twin_group="a/1", split="train"),
        row(4, "joy", twin_group="a/4"),
        row(5, None, twin_group="a/4"),
        dropped(6, "joy", "surplus of a balanced split", twin_group="a/1"),
        row(7, "joy", "validation"),
        dropped(8, "joy", "joined to another row", split="test", twin_group="a/4"),
    ]
    told = summarise(manifest_of(rows), None, pairs).twins
    assert told is not None
    assert (told.exact, told.near, told.mirrored, told.shifted) == (1, 3, 2, 2)
    # A picture counts once however many twins it has; one without a split, and a second row, count nowhere.
    assert told.across["test"] == {"train": 1, "validation": 0, "test": 0}
    assert told.across["train"] == {"train": 4, "validation": 0, "test": 2}
    assert told.across["validation"] == {"train": 0, "validation": 0, "test": 0}


def test_a_second_row_of_a_picture_is_no_picture() -> None:
    rows = [row(1, "joy"), dropped(2, "joy", "joined to another row"), dropped(3, "joy", "black")]
    told = summarise(manifest_of(rows), None, None)
    assert (told.read, told.kept) == (2, 1)
    assert told.classes[0].read == {"a": 2}
    assert {one.reason: one.counts for one in told.dropped}["joined to another row"] == {"a": 1}


def test_twins_with_different_labels_the_surest_first() -> None:
    def pair(name: str, one: str | None, other: str | None, **values: Any) -> dict[str, Any]:
        return {"id_a": name, "id_b": f"{name}'", "label_a": one, "label_b": other, **values}

    pairs = twins_of(
        pair("c", "joy", "rage", correlation=0.985),
        pair("b", "joy", "rage", correlation=None, exact=True),
        pair("a", "rage", "joy", correlation=0.995),
        pair("e", "joy", None),
        pair("f", "joy", "joy"),
        *(pair(f"z{i:02d}", "joy", "rage", correlation=0.981) for i in range(30)),
    )
    told = summarise(manifest_of([row(0, "joy")]), None, pairs).twins
    assert told is not None
    assert told.conflicting == 33
    assert [one.id_a for one in told.conflicts] == ["b", "a", "c", *(f"z{i:02d}" for i in range(17))]
    assert (told.conflicts[1].label_a, told.conflicts[1].label_b) == ("rage", "joy")


def test_facts_of_known_sets_and_of_the_labels_beside_them() -> None:
    rows = [row(0, "joy", set="fer2013"), row(1, "joy", set="holiday")]
    facts = summarise(manifest_of(rows), None, None).facts
    assert list(facts) == ["fer2013", "ferplus"]
    assert facts["fer2013"].licence


def test_the_summary_is_json() -> None:
    pairs = twins_of({"id_a": "1", "id_b": "2", "label_a": "joy", "label_b": "怒り"})
    rows = [row(0, "joy", set="fer2013", width=4, height=4), dropped(1, "rage", "黒い")]
    told = summarise(manifest_of(rows, pack_count=1), np.zeros((1, 1, 4, 4), dtype=np.uint8), pairs)
    values = json.loads(json.dumps(told.to_dict(), allow_nan=False))
    assert values["info"]["target"] == "own"
    assert values["sets"][0]["sizes"]["commonest"] == [4, 4]
    assert values["dropped"][0]["reason"] == "黒い"
    assert values["twins"]["conflicts"][0]["label_b"] == "怒り"
    assert values["facts"]["fer2013"]["title"] == told.facts["fer2013"].title
