import dataclasses
import math

import numpy as np
import pytest
import torch
from PIL import Image

from mien.config import AugmentConfig, ModelConfig
from mien.data.augment import augment_faces, mix_up
from mien.preprocess import to_input

NONE = AugmentConfig(rotation=0, autocontrast=0)
MODEL = ModelConfig()


def _faces(count: int = 4, channels: int = 1, size: int = 48) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, channels, 6, 6, generator=generator) * 255
    return (
        torch.nn.functional.interpolate(coarse, size=(size, size), mode="bicubic")
        .clamp(0, 255)
        .to(torch.uint8)
    )


def _run(
    faces: torch.Tensor, augment: AugmentConfig, model: ModelConfig = MODEL, seed: int = 0
) -> torch.Tensor:
    return augment_faces(faces, augment, model, torch.Generator().manual_seed(seed))


def _evaluation(faces: torch.Tensor, model: ModelConfig) -> torch.Tensor:
    x = to_input(
        faces.numpy().transpose(0, 2, 3, 1),
        size=model.size,
        channels=model.channels,
        mean=model.mean,
        std=model.std,
    )
    return torch.from_numpy(x)


def test_with_everything_off_training_sees_what_evaluation_sees() -> None:
    for channels, wanted in [(1, 1), (1, 3), (3, 3)]:
        model = ModelConfig(channels=wanted)
        faces = _faces(channels=channels)
        torch.testing.assert_close(_run(faces, NONE, model), _evaluation(faces, model), rtol=0, atol=2e-5)
    faces = _faces(channels=3)
    # The evaluation path rounds grey to whole levels, as BT.601 files do; training does not.
    torch.testing.assert_close(_run(faces, NONE), _evaluation(faces, MODEL), rtol=0, atol=1.1 / 255 / 0.5)


def test_other_sizes_are_close_to_the_evaluation_path() -> None:
    faces = _faces(size=48)
    for size in (32, 64):
        model = ModelConfig(size=size)
        difference = (_run(faces, NONE, model) - _evaluation(faces, model)).abs()
        assert float(difference[:, :, 2:-2, 2:-2].mean()) < 0.02


def test_flip_is_a_mirror_image() -> None:
    faces = _faces()
    torch.testing.assert_close(
        _run(faces, AugmentConfig(rotation=0, autocontrast=0, flip=1.0)),
        _evaluation(faces, MODEL).flip(-1),
        rtol=0,
        atol=2e-5,
    )


def test_rotation_agrees_with_pillow_and_stays_within_its_bound() -> None:
    size = 49
    blob = np.zeros((1, 1, size, size), np.uint8)
    blob[0, 0, 23:26, 40:43] = 255
    angles = []
    for seed in range(60):
        x = _run(
            torch.from_numpy(blob), AugmentConfig(rotation=10, autocontrast=0), ModelConfig(size=size), seed
        )
        weight = (x[0, 0] + 1).numpy()
        rows = np.mgrid[:size, :size][0]
        y = (weight * rows).sum() / weight.sum() - 24
        angles.append(math.degrees(math.asin(np.clip(y / 17, -1, 1))))
    assert max(map(abs, angles)) <= 10.5
    assert min(angles) < -5
    assert max(angles) > 5
    turned = Image.fromarray(blob[0, 0]).rotate(-10, Image.Resampling.BILINEAR)
    y = (np.asarray(turned) * np.mgrid[:size, :size][0]).sum() / np.asarray(turned).sum() - 24
    assert math.degrees(math.asin(y / 17)) == pytest.approx(10, abs=0.6)


def _dots(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Where the white dot of each black picture lies, in pixels right of and below the centre."""
    weight = (x[:, 0] + 1).double()
    places = torch.arange(x.shape[-1]) - (x.shape[-1] - 1) / 2
    total = weight.sum(dim=(1, 2))
    return (weight.sum(1) * places).sum(1) / total, (weight.sum(2) * places).sum(1) / total


def test_a_shift_is_at_most_the_share_of_the_side_along_each_axis() -> None:
    faces = torch.zeros(256, 1, 48, 48, dtype=torch.uint8)
    faces[:, :, 22:26, 22:26] = 255
    right, down = _dots(_run(faces, AugmentConfig(rotation=0, autocontrast=0, translation=0.25)))
    for moved in (right, down):
        assert float(moved.abs().max()) <= 12.01
        assert float(moved.min()) < -11
        assert float(moved.max()) > 11
    # Each axis is drawn for itself.
    assert abs(float(torch.corrcoef(torch.stack([right, down]))[0, 1])) < 0.2


def test_a_change_of_size_is_at_most_the_share() -> None:
    faces = torch.zeros(256, 1, 48, 48, dtype=torch.uint8)
    faces[:, :, 32:36, 32:36] = 255
    right, down = _dots(_run(faces, AugmentConfig(rotation=0, autocontrast=0, scale=0.5)))
    # The dot is 10 px right of and below the centre.
    sizes = right / 10
    assert float(sizes.min()) == pytest.approx(0.5, abs=0.03)
    assert float(sizes.max()) == pytest.approx(1.5, abs=0.03)
    torch.testing.assert_close(down, right, rtol=0, atol=0.01)


def test_brightness_moves_all_pixels_alike_by_at_most_its_share() -> None:
    faces = (_faces(256).float() * 0.3 + 90).to(torch.uint8)
    change = _run(faces, AugmentConfig(rotation=0, autocontrast=0, brightness=0.2)) - _run(faces, NONE)
    # The input's range is 2, so a share of 0.2 is 0.4.
    means = change.mean(dim=(1, 2, 3))
    torch.testing.assert_close(change, means[:, None, None, None].expand_as(change), rtol=0, atol=1e-5)
    assert float(means.abs().max()) <= 0.4001
    assert float(means.min()) < -0.37
    assert float(means.max()) > 0.37


def test_contrast_scales_around_the_mean_by_at_most_its_share() -> None:
    faces = (_faces(256).float() * 0.3 + 90).to(torch.uint8)
    x = _run(faces, AugmentConfig(rotation=0, autocontrast=0, contrast=0.5))
    plain = _run(faces, NONE)
    means = plain.mean(dim=(1, 2, 3), keepdim=True)
    factors = x.std(dim=(1, 2, 3), keepdim=True) / plain.std(dim=(1, 2, 3), keepdim=True)
    torch.testing.assert_close(x, means + factors * (plain - means), rtol=0, atol=1e-5)
    assert float(factors.min()) == pytest.approx(0.5, abs=0.03)
    assert float(factors.max()) == pytest.approx(1.5, abs=0.03)


def test_light_stays_within_the_range() -> None:
    x = _run(_faces(64), AugmentConfig(rotation=0, autocontrast=0, brightness=0.8, contrast=0.8))
    assert float(x.min()) == -1
    assert float(x.max()) == 1


@pytest.mark.parametrize("change", ["flip", "autocontrast"])
def test_a_probability_is_the_share_of_changed_pictures(change: str) -> None:
    faces = (_faces(256).float() * 0.3 + 90).to(torch.uint8)
    x = _run(faces, dataclasses.replace(NONE, **{change: 0.25}))
    changed = ((x - _run(faces, NONE)).abs() > 1e-4).flatten(1).any(1)
    assert float(changed.float().mean()) == pytest.approx(0.25, abs=0.08)


def test_autocontrast_stretches_to_the_full_range() -> None:
    faces = (_faces().float() * 0.3 + 50).to(torch.uint8)
    x = _run(faces, AugmentConfig(rotation=0, autocontrast=1.0))
    torch.testing.assert_close(x.amin(dim=(1, 2, 3)), torch.full((4,), -1.0))
    torch.testing.assert_close(x.amax(dim=(1, 2, 3)), torch.full((4,), 1.0))


def test_a_flat_picture_survives_autocontrast() -> None:
    flat = torch.full((2, 1, 48, 48), 77, dtype=torch.uint8)
    assert torch.isfinite(_run(flat, AugmentConfig(autocontrast=1.0))).all()


def test_erasing_changes_2_to_25_percent_of_the_chosen() -> None:
    faces = _faces(64)
    plain = _run(faces, NONE)
    changed = (
        (_run(faces, AugmentConfig(rotation=0, autocontrast=0, erasing=1.0)) != plain)
        .float()
        .mean(dim=(1, 2, 3))
    )
    assert float(changed.min()) > 0.01
    assert float(changed.max()) < 0.3
    half = _run(faces, AugmentConfig(rotation=0, autocontrast=0, erasing=0.5)) != plain
    assert 16 < int(half.flatten(1).any(1).sum()) < 48


def test_a_batch_depends_on_its_seed_alone() -> None:
    everything = AugmentConfig(
        translation=0.1, scale=0.1, flip=0.5, brightness=0.2, contrast=0.2, erasing=0.5
    )
    faces = _faces(8)
    torch.manual_seed(1)
    first = _run(faces, everything, seed=4)
    torch.manual_seed(2)
    assert torch.equal(first, _run(faces, everything, seed=4))
    assert not torch.equal(first, _run(faces, everything, seed=5))


def test_mix_up_blends_images_and_labels_alike() -> None:
    x = torch.arange(6.0)[:, None, None, None].expand(6, 1, 2, 2)
    targets = torch.nn.functional.one_hot(torch.arange(6), 6).float()
    mixed, labels = mix_up(x, targets, 0.4, torch.Generator().manual_seed(3))
    torch.testing.assert_close(labels.sum(1), torch.ones(6))
    torch.testing.assert_close(mixed[:, 0, 0, 0], labels @ torch.arange(6.0))
