"""Columns of drawn and hand-made images against scipy's filters and poses by geometry."""

import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.ndimage import gaussian_filter, laplace

from mien.data.prepared import load_prepared
from mien.errors import InputError
from mien.evaluate import slice_columns
from mien.evaluate.slice_columns import (
    MOST_VALUES,
    OTHER,
    categories,
    cut,
    manifest_slices,
    measure_faces,
    pose,
)

FRONTAL = np.array([[30, 40], [70, 40], [50, 60], [35, 80], [65, 80]], dtype=float)


def turned(points: np.ndarray, degrees: float) -> np.ndarray:
    angle = math.radians(degrees)
    matrix = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    return (points - 50) @ matrix + 50


def test_blur_is_the_variance_of_the_laplacian() -> None:
    faces = np.random.default_rng(0).integers(0, 256, (5, 20, 16, 1), dtype=np.uint8)
    found = measure_faces(faces)
    grey = faces[..., 0].astype(float)
    wanted = [laplace(face)[1:-1, 1:-1].var() for face in grey]
    assert found["blur"] == pytest.approx(wanted)
    assert found["brightness"] == pytest.approx(grey.mean((1, 2)))
    soft = np.stack([gaussian_filter(face, 1.5) for face in grey]).astype(np.uint8)[..., None]
    assert (measure_faces(soft)["blur"] < found["blur"] / 10).all()


def test_colour_is_weighed_by_bt_601() -> None:
    faces = np.zeros((3, 8, 8, 3), np.uint8)
    for channel in range(3):
        faces[channel, ..., channel] = 200
    assert measure_faces(faces)["brightness"] == pytest.approx([59.8, 117.4, 22.8])
    assert measure_faces(faces)["blur"] == pytest.approx(0)


@pytest.mark.parametrize("bad", [np.zeros((1, 8, 8, 1), np.float32), np.zeros((1, 8, 8, 2), np.uint8)])
def test_other_faces_are_refused(bad: np.ndarray) -> None:
    with pytest.raises(InputError, match="faces must be uint8"):
        measure_faces(bad)


@pytest.mark.parametrize("roll", [0.0, 25.0, -40.0, 90.0])
def test_the_roll_is_measured_and_taken_out(roll: float) -> None:
    aside = FRONTAL.copy()
    aside[2] += (10, 5)
    found = pose(np.stack([turned(FRONTAL, roll), turned(aside, roll)]))
    assert found["roll"] == pytest.approx(abs(roll))
    assert found["yaw"] == pytest.approx([0, 10 / 40], abs=1e-9)
    assert found["pitch"] == pytest.approx([20 / 40, 25 / 40])


def test_a_pose_without_landmarks_or_with_coinciding_ones_is_unknown() -> None:
    same_eyes = FRONTAL.copy()
    same_eyes[1] = same_eyes[0]
    found = pose(np.stack([np.full((5, 2), np.nan), same_eyes]))
    assert all(np.isnan(values).all() for values in found.values())


def test_numbers_are_cut_at_quantiles_and_named_truly() -> None:
    values = np.random.default_rng(0).normal(50, 20, 1001)
    values[::10] = np.nan
    column = cut(values)
    assert len(column.order) == 4
    assert [name is None for name in column.values] == np.isnan(values).tolist()
    for value, name in zip(values, column.values, strict=True):
        if name is not None:
            words = name.split()
            low = -np.inf if words[0] == "below" else float(words[0])
            high = {"below": words[-1], "to": words[-1]}.get(words[-2], "inf")
            assert low <= value < float(high)
    counts = [column.values.count(name) for name in column.order]
    assert min(counts) > 200


def test_ties_and_few_numbers() -> None:
    assert cut(np.array([1.0, 2.5, np.nan, 1.0])).values == ["1", "2.5", None, "1"]
    assert cut(np.array([1.0, 2.5, np.nan, 10.0])).order == ["1", "2.5", "10"]
    tied = cut(np.array([0.0, 0.2, 0.4, 0.6] + [1.0] * 20))
    assert tied.order == ["below 1", "1"]
    assert tied.values == ["below 1"] * 4 + ["1"] * 20
    assert cut(np.full(3, np.nan)).values == [None] * 3


def test_texts_are_categories_the_rarest_put_together() -> None:
    many = [f"v{i:02d}" for i in range(MOST_VALUES + 3)] + ["v14", "v14", None, ""]
    column = categories(many)
    assert column.order == ["v14", *(f"v{i:02d}" for i in range(MOST_VALUES - 1)), OTHER]
    assert column.values[-4:] == ["v14", "v14", None, None]
    assert column.values.count(OTHER) == 3
    assert categories(many[::-1]).order == column.order


def test_texts_that_are_all_numbers_are_cut() -> None:
    ages = [str(age) for age in range(20, 60)]
    assert categories([*ages, None]).order == [
        "below 29.75",
        "29.75 to 39.5",
        "39.5 to 49.25",
        "49.25 or more",
    ]
    assert categories([*ages, "unknown"]).order[-1] == OTHER
    assert set(categories([*ages, "nan"]).order) >= {OTHER}
    assert categories(["1", "2", "1"]).order == ["1", "2"]


def test_the_columns_of_a_manifest(drawn_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = load_prepared(drawn_folder)
    targets = prepared.manifest.target().only("test")
    rows, labels = targets.pack_rows[::-1], targets.labels[::-1]
    faces = np.asarray(prepared.pack[rows]).transpose(0, 2, 3, 1)
    frame = prepared.manifest.frame
    age = pl.Series("user.age", [str(i % 50) for i in range(len(frame))])
    frame = frame.with_columns(age, pl.lit("x").alias("user.same")).sample(fraction=1, shuffle=True, seed=3)
    # Seven at a time, so that their order over the parts counts.
    monkeypatch.setattr(slice_columns, "_PIXELS_AT_ONCE", 7 * faces[0].size)
    found = manifest_slices(
        frame, rows, prepared.pack, labels, targets.classes, votes=targets.soft[::-1], columns=["subject"]
    )
    assert found["class"].values == [targets.classes[label] for label in labels]
    assert list(found["class"].order) == list(targets.classes)
    by_row = dict(zip(frame["pack_row"], frame["user.age"], strict=True))
    ages = np.array([float(by_row[row]) for row in rows])
    assert found["user.age"].values == cut(ages).values
    assert found["brightness"].values == cut(faces.astype(float).mean((1, 2, 3))).values
    assert found["blur"].values == cut(measure_faces(faces)["blur"]).values
    # One value makes no slice.
    assert not {"user.same", "channels", "set"} & set(found)
    assert all(len(column.values) == len(rows) for column in found.values())


def test_sizes_poses_and_votes_come_from_their_columns() -> None:
    count = 8
    frame = pl.DataFrame(
        {
            "pack_row": [None, *range(count)],
            "set": ["lost"] + ["a", "b"] * 4,
            "channels": [1] * 9, "format": ["png"] * 9,
            "crop": ["box"] + ["came_cropped"] * 2 + ["box"] * 6,
            "faces_found": [1] * 9, "detection_score": [0.9] * 9,
            "height": [500] * 9, "width": [40] * 9,
            "face_box": [None, None, None, *[[0.0, 0.0, 10.0 * i, 100.0] for i in range(1, 6)], None],
            "landmarks": [None, turned(FRONTAL, 30).ravel().tolist(), *[None] * 7],
        }
    )  # fmt: skip
    pack = np.zeros((count, 1, 4, 4), np.uint8)
    votes = np.array([[2, 2], [3, 1]] * 3 + [[0, 0]] * 2, np.float32)
    found = manifest_slices(frame, np.arange(count), pack, np.zeros(count, int), ("x", "y"), votes=votes)
    assert found["set"].values == ["a", "b"] * 4
    assert found["agreement"].values == ["0.5", "0.75"] * 3 + [None] * 2
    assert found["roll"].values == ["30"] + [None] * 7
    wanted = cut(np.array([40, 40, 10, 20, 30, 40, 50, np.nan]))
    assert found["face size"].values == wanted.values
    with pytest.raises(InputError, match="pack row 99 is not in this manifest"):
        manifest_slices(frame, np.array([99]), pack, np.zeros(1, int), ("x", "y"))
    with pytest.raises(InputError, match="column landmarks holds lists"):
        manifest_slices(frame, np.array([1]), pack, np.zeros(1, int), ("x",), columns=["landmarks"])
    with pytest.raises(InputError, match="the manifest has no column age"):
        manifest_slices(frame, np.array([1]), pack, np.zeros(1, int), ("x",), columns=["age"])
    with pytest.raises(InputError, match="do not fit"):
        manifest_slices(frame, np.array([1, 2]), pack, np.zeros(1, int), ("x",))
