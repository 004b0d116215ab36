from __future__ import annotations

import json

import numpy as np
import pytest

from mien.errors import InputError
from mien.evaluate.explain import (
    deletion,
    mean_maps,
    occlusion_maps,
)


def _faces(count: int = 3, size: int = 12, channels: int = 1) -> np.ndarray:
    shape = (count, size, size, channels)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def _corner(faces: np.ndarray) -> np.ndarray:
    """Two classes; the second's probability is the brightness of the upper left 4x4 pixels."""
    bright = faces[:, :4, :4].mean((1, 2, 3)) / 255
    return np.stack([1 - bright, bright], 1).astype(np.float32)


@pytest.mark.parametrize(("patch", "stride", "channels"), [(4, 4, 1), (5, 3, 3), (12, 1, 1), (3, 2, 1)])
def test_occlusion_by_brute_force(patch: int, stride: int, channels: int) -> None:
    faces, classes = _faces(channels=channels), np.array([0, 1, 0])
    starts = list(range(0, 12 - patch + 1, stride))
    starts += [12 - patch] if starts[-1] != 12 - patch else []
    for face, shown, found in zip(
        faces, classes, occlusion_maps(_corner, faces, classes, patch=patch, stride=stride), strict=True
    ):
        total, covers = np.zeros((12, 12)), np.zeros((12, 12))
        for top in starts:
            for left in starts:
                covered = face.copy()
                covered[top : top + patch, left : left + patch] = np.round(face.mean((0, 1)))
                drop = float(_corner(face[None])[0, shown]) - float(_corner(covered[None])[0, shown])
                total[top : top + patch, left : left + patch] += drop
                covers[top : top + patch, left : left + patch] += 1
        assert covers.min() >= 1
        np.testing.assert_allclose(found, total / covers, atol=1e-6)


def test_occlusion_finds_the_part_that_decides() -> None:
    faces = np.full((1, 12, 12, 1), 20, np.uint8)
    faces[:, :4, :4] = 250
    told: list[int] = []
    found = occlusion_maps(_corner, faces, np.array([1]), patch=4, stride=4, advance=told.append)[0]
    assert found[:4, :4].min() > 0.5
    assert np.abs(found).sum() == pytest.approx(found[:4, :4].sum(), abs=1e-5)
    # For the other class the same part spoke against it.
    assert occlusion_maps(_corner, faces, np.array([0]), patch=4, stride=4)[0, 0, 0] == -found[0, 0]
    assert told == [1]


def test_the_faces_stay_as_they_are() -> None:
    faces = _faces()
    before = faces.copy()
    maps = occlusion_maps(_corner, faces, np.zeros(3, int), patch=4, stride=2)
    deletion(_corner, faces, np.zeros(3, int), maps, cell=4)
    assert np.array_equal(faces, before)


def test_deletion_by_hand() -> None:
    faces = np.full((2, 8, 8, 1), 0, np.uint8)
    faces[:, :4, :4] = 240  # the mean of a face is 60
    maps = np.zeros((2, 8, 8), np.float32)
    maps[0, :4, :4] = 1  # the first map is right, the second's best cell is the last one
    maps[1, 4:, 4:] = 1
    found = deletion(_corner, faces, np.array([1, 1]), maps, cell=4, steps=4)
    full, gone = 240 / 255, 60 / 255
    # In the second map the other cells tie and keep their order: the corner goes second.
    expected = np.array([[full, gone, gone, gone, gone], [full, full, gone, gone, gone]])
    np.testing.assert_allclose(found.curve, expected.mean(0), rtol=1e-6)
    assert found.shares.tolist() == [0, 0.25, 0.5, 0.75, 1]
    areas = [np.trapezoid(curve, found.shares) for curve in expected]
    assert found.area == pytest.approx(np.mean(areas))
    assert found.random_area - found.area == pytest.approx(found.gain)
    assert found.random_curve[0] == found.curve[0]
    assert found.random_curve[-1] == pytest.approx(found.curve[-1])
    json.dumps(found.to_dict(), allow_nan=False)


def test_a_faithful_map_beats_chance_and_its_reverse_loses() -> None:
    faces = _faces(40)
    classes = _corner(faces).argmax(1)
    faces[np.arange(40), :4, :4] = np.where(classes == 1, 250, 5)[:, None, None, None]
    maps = occlusion_maps(_corner, faces, classes, patch=4, stride=4)
    found = deletion(_corner, faces, classes, maps, cell=4)
    assert found.gain_interval[0] > 0
    assert deletion(_corner, faces, classes, -maps, cell=4).gain_interval[1] < 0
    noise = np.random.default_rng(5).random(maps.shape).astype(np.float32)
    low, high = deletion(_corner, faces, classes, noise, cell=4).gain_interval
    assert low < 0 < high
    again = deletion(_corner, faces, classes, maps, cell=4)
    assert (again.gain, again.gain_interval) == (found.gain, found.gain_interval)


def test_mean_maps_show_no_single_face() -> None:
    maps = np.random.default_rng(0).normal(size=(45, 4, 6)).astype(np.float32)
    labels = np.array([0] * 25 + [1] * 19 + [2])
    found = mean_maps(maps, labels, ("a", "b", "c"))
    assert list(found) == ["a"]
    np.testing.assert_allclose(found["a"]["map"], maps[:25].mean(0), atol=1e-6)
    assert found["a"]["count"] == 25
    assert found["a"]["standard_error"] == pytest.approx(maps[:25].std(0, ddof=1).max() / 5, rel=1e-5)
    assert list(mean_maps(maps, labels, ("a", "b", "c"), at_least=1)) == ["a", "b"]


def test_what_does_not_fit_is_refused() -> None:
    faces = _faces()
    with pytest.raises(InputError, match="stride <= patch"):
        occlusion_maps(_corner, faces, np.zeros(3, int), patch=4, stride=5)
    with pytest.raises(InputError, match="stride <= patch"):
        occlusion_maps(_corner, faces, np.zeros(3, int), patch=13, stride=1)
    with pytest.raises(InputError, match="cells divide"):
        deletion(_corner, faces, np.zeros(3, int), np.zeros((3, 12, 12), np.float32), cell=5)
    with pytest.raises(InputError, match="as large"):
        deletion(_corner, faces, np.zeros(3, int), np.zeros((3, 6, 6), np.float32), cell=3)
