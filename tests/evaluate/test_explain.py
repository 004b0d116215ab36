from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn

from mien.config import ModelConfig, RunConfig
from mien.errors import InputError
from mien.evaluate.explain import (
    deletion,
    grad_cam,
    mean_maps,
    occlusion_maps,
    torch_classify,
)
from mien.evaluate.predict import predict_logits
from mien.models.build import build_model


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


def test_grad_cam_by_hand() -> None:
    torch.manual_seed(1)
    config = ModelConfig(size=8, channels=1)
    convolution = nn.Conv2d(1, 3, 2, stride=2)
    model = nn.Sequential(convolution, nn.Flatten(), nn.Linear(48, 2)).eval()
    faces, classes = _faces(4, 8), np.array([0, 1, 1, 0])
    found = grad_cam(model, convolution, faces, classes, config, channels_last=False)
    x = torch.from_numpy((faces.transpose(0, 3, 1, 2) / 255 - 0.5) / 0.5).float()
    maps = convolution(x).detach().numpy()
    for row, shown in enumerate(classes):
        # The gradient of a linear head is its weights.
        weights = model[2].weight[shown].detach().numpy().reshape(3, 4, 4).mean((1, 2))
        cam = np.maximum((weights[:, None, None] * maps[row]).sum(0), 0)
        enlarged = nn.functional.interpolate(torch.from_numpy(cam)[None, None], size=8, mode="bilinear")
        np.testing.assert_allclose(found[row], enlarged[0, 0], atol=1e-5)
    assert found.max() > 0


def test_grad_cam_of_a_swin_leaves_it_as_it_was(tiny: RunConfig) -> None:
    model = build_model(tiny.model, 8).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    faces = _faces(2, 48)
    maps = grad_cam(
        model, model.encoder.layers[0], faces, np.array([1, 7]), tiny.model, channels_last=True
    )  # fmt: skip
    assert maps.shape == (2, 48, 48)
    assert maps.min() >= 0
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert not model.encoder.layers[0]._forward_hooks
    with pytest.raises(InputError, match="map of 4 axes"):
        grad_cam(model, model.head, faces, np.array([1, 7]), tiny.model, channels_last=True)
    assert not model.head._forward_hooks


def test_grad_cam_is_of_the_network_in_evaluation_mode() -> None:
    config = ModelConfig(size=8, channels=1)
    convolution = nn.Conv2d(1, 3, 2, stride=2)
    model = nn.Sequential(convolution, nn.BatchNorm2d(3), nn.Dropout(0.5), nn.Flatten(), nn.Linear(48, 2))
    faces, classes = _faces(4, 8), np.array([0, 1, 1, 0])
    model.train()
    mean = model[1].running_mean.clone()
    found = grad_cam(model, convolution, faces, classes, config, channels_last=False)
    assert model[1].training
    assert torch.equal(model[1].running_mean, mean)
    expected = grad_cam(model.eval(), convolution, faces, classes, config, channels_last=False)
    np.testing.assert_array_equal(found, expected)


def test_a_network_classifies_by_the_one_evaluation_path(tiny: RunConfig) -> None:
    model = build_model(tiny.model, 8).eval()
    faces = _faces(3, 48)
    logits = predict_logits(model, faces.transpose(0, 3, 1, 2), np.arange(3), tiny.model)
    np.testing.assert_allclose(
        torch_classify(model, tiny.model)(faces), torch.from_numpy(logits).softmax(1), atol=1e-6
    )


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
