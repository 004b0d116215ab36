from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import scipy.ndimage  # type: ignore[import-untyped]
import scipy.stats  # type: ignore[import-untyped]
import torch
from PIL import Image, ImageOps

from mien.config import AugmentConfig, ModelConfig
from mien.data.augment import augment_faces
from mien.preprocess import to_input

NONE = AugmentConfig(rotation=0, autocontrast=0)
EVERYTHING = AugmentConfig(
    translation=0.1,
    scale=0.1,
    flip=0.5,
    brightness=0.2,
    contrast=0.2,
    low_resolution=0.5,
    noise=0.5,
    erasing=0.5,
)
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
    faces: torch.Tensor,
    augment: AugmentConfig,
    model: ModelConfig = MODEL,
    seed: int = 0,
    rotated: torch.Tensor | None = None,
) -> torch.Tensor:
    return augment_faces(faces, augment, model, torch.Generator().manual_seed(seed), rotated)


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
        model = ModelConfig(channels=wanted)  # type: ignore[arg-type]
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


def _affine_maps(
    augment: AugmentConfig, count: int, rotated: torch.Tensor | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """What the warp did to each face: matrix [B, 2, 2] and offset [B, 2] from an output (row, column) to the
    place in the face that it was read from.

    Interpolating a ramp is exact, so a ramp's value is its coordinate; the same seed warps both ramps alike.
    """
    ramp = (torch.arange(48) * 5).to(torch.uint8).expand(48, 48)
    read = [
        (_run(face.expand(count, 1, 48, 48).contiguous(), augment, rotated=rotated)[:, 0] + 1) * 127.5 / 5
        for face in (ramp.T, ramp)
    ]
    # Away from the border, where the source is not held fast at the edge.
    rows, columns = np.mgrid[16:32, 16:32].reshape(2, -1)
    known = np.stack([rows, columns, np.ones_like(rows)], 1)
    places = torch.stack(read, -1)[:, 16:32, 16:32].reshape(count, -1, 2).double().numpy()
    maps = np.stack([np.linalg.lstsq(known, place, rcond=None)[0].T for place in places])
    return maps[:, :, :2], maps[:, :, 2]


def _centre_moved(matrix: np.ndarray, offset: np.ndarray) -> np.ndarray:
    moved: np.ndarray = matrix @ np.array([23.5, 23.5]) + offset - 23.5
    return moved


def test_the_warp_is_scipys_bilinear_affine_transform() -> None:
    augment = AugmentConfig(rotation=30, autocontrast=0, translation=0.06, scale=0.1, flip=0.5)
    faces = _faces(32)
    matrix, offset = _affine_maps(augment, 32)
    warped = _run(faces, augment)
    for face, m, o, got in zip(faces[:, 0].double().numpy(), matrix, offset, warped[:, 0], strict=True):
        wanted = scipy.ndimage.affine_transform(face, m, o, order=1, mode="nearest") / 127.5 - 1
        np.testing.assert_allclose(got.numpy(), wanted, rtol=0, atol=2e-3)
    # Area changes by the square of the scale, mirrored for about half of the faces.
    determinants = np.linalg.det(matrix)
    assert np.abs(determinants).min() > 1 / 1.1**2 - 1e-4
    assert np.abs(determinants).max() < 1 / 0.9**2 + 1e-4
    assert 6 <= (determinants < 0).sum() <= 26


def test_a_rotation_is_rigid_around_the_centre_and_uniform_within_its_bound() -> None:
    matrix, offset = _affine_maps(AugmentConfig(rotation=10, autocontrast=0), 256)
    np.testing.assert_allclose(matrix @ matrix.transpose(0, 2, 1), np.eye(2)[None].repeat(256, 0), atol=1e-4)
    np.testing.assert_allclose(np.linalg.det(matrix), 1, atol=1e-4)
    np.testing.assert_allclose(
        [_centre_moved(m, o) for m, o in zip(matrix, offset, strict=True)], 0, atol=1e-3
    )
    degrees = np.degrees(np.arctan2(matrix[:, 1, 0], matrix[:, 0, 0]))
    assert np.abs(degrees).max() <= 10.001
    assert scipy.stats.kstest(degrees, scipy.stats.uniform(-10, 20).cdf).pvalue > 0.01


def test_a_rotation_is_pillows() -> None:
    faces = _faces(8)
    turned = _run(faces, AugmentConfig(rotation=10, autocontrast=0))
    matrix, _ = _affine_maps(AugmentConfig(rotation=10, autocontrast=0), 8)
    for face, m, got in zip(faces[:, 0].numpy(), matrix, turned[:, 0].numpy(), strict=True):
        degrees = math.degrees(math.atan2(m[0, 1], m[0, 0]))
        wanted = np.asarray(Image.fromarray(face).rotate(degrees, Image.Resampling.BILINEAR), np.float64)
        # Pillow rounds to whole levels, and fills what was outside with black.
        inside = np.s_[6:-6, 6:-6]
        np.testing.assert_allclose(got[inside], wanted[inside] / 127.5 - 1, rtol=0, atol=1.1 / 127.5)


def test_faces_that_may_not_be_rotated_are_still_shifted_and_scaled() -> None:
    rotated = torch.arange(64) % 2 == 0
    augment = AugmentConfig(rotation=20, autocontrast=0, translation=0.06, scale=0.1)
    matrix, offset = _affine_maps(augment, 64, rotated)
    degrees = np.degrees(np.arctan2(matrix[:, 1, 0], matrix[:, 0, 0]))
    np.testing.assert_allclose(degrees[1::2], 0, atol=0.01)
    assert np.abs(degrees[::2]).max() > 15
    moved = np.array([_centre_moved(m, o) for m, o in zip(matrix, offset, strict=True)])
    assert (np.abs(moved[1::2]) > 1).any(0).all()
    assert np.ptp(matrix[1::2, 0, 0]) > 0.1
    # The draws of the others do not depend on whom is spared.
    assert torch.equal(_run(_faces(64), augment, rotated=rotated)[::2], _run(_faces(64), augment)[::2])


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


@pytest.mark.parametrize("change", ["flip", "autocontrast", "low_resolution", "noise"])
def test_a_probability_is_the_share_of_changed_pictures(change: str) -> None:
    faces = (_faces(256).float() * 0.3 + 90).to(torch.uint8)
    x = _run(faces, dataclasses.replace(NONE, **{change: 0.25}))
    changed = ((x - _run(faces, NONE)).abs() > 1e-4).flatten(1).any(1)
    assert float(changed.float().mean()) == pytest.approx(0.25, abs=0.08)


def test_autocontrast_is_pillows() -> None:
    faces = torch.cat([(_faces(6).float() * 0.3 + 50).to(torch.uint8), _faces(2)])
    faces = torch.cat([faces, torch.full((1, 1, 48, 48), 77, dtype=torch.uint8)])
    x = _run(faces, AugmentConfig(rotation=0, autocontrast=1.0))
    stretched = [np.asarray(ImageOps.autocontrast(Image.fromarray(face))) for face in faces[:, 0].numpy()]
    # Pillow cuts to whole levels.
    np.testing.assert_allclose(x[:, 0].numpy(), np.stack(stretched) / 127.5 - 1, rtol=0, atol=1.01 / 127.5)
    torch.testing.assert_close(x[:6].amin(dim=(1, 2, 3)), torch.full((6,), -1.0))
    torch.testing.assert_close(x[:6].amax(dim=(1, 2, 3)), torch.full((6,), 1.0))


def test_autocontrast_keeps_the_hue() -> None:
    faces = (_faces(4, channels=3).float() * 0.3 + 50).to(torch.uint8)
    x = _run(faces, AugmentConfig(rotation=0, autocontrast=1.0), ModelConfig(channels=3))
    levels = faces.float().flatten(1)
    low, high = levels.amin(1, keepdim=True), levels.amax(1, keepdim=True)
    torch.testing.assert_close(x.flatten(1), (levels - low) / (high - low) * 2 - 1, rtol=0, atol=1e-5)


def test_a_flat_picture_that_was_resampled_survives_autocontrast() -> None:
    flat = torch.full((8, 1, 48, 48), 77, dtype=torch.uint8)
    x = _run(flat, AugmentConfig(autocontrast=1.0))
    torch.testing.assert_close(x, torch.full_like(x, 77 / 127.5 - 1), rtol=0, atol=1e-4)


def test_light_is_autocontrast_then_contrast_around_the_mean_then_brightness_then_the_range() -> None:
    # Light enough that the mean before autocontrast is another than the one after it.
    faces = (_faces(64).float() * 0.3 + 170).to(torch.uint8)
    x = _run(faces, AugmentConfig(rotation=0, autocontrast=1.0, contrast=0.3, brightness=0.2))
    y = (x.double().numpy()[:, 0] + 1) / 2
    clipped = 0
    shifts = []
    for face, got in zip(faces[:, 0].double().numpy(), y, strict=True):
        stretched = (face - face.min()) / (face.max() - face.min())
        free = (got > 1e-4) & (got < 1 - 1e-4)
        gain, offset = np.polyfit(stretched[free], got[free], 1)
        assert 0.7 - 1e-4 <= gain <= 1.3 + 1e-4
        shifts.append(gain * stretched.mean() + offset - stretched.mean())
        np.testing.assert_allclose(got, np.clip(gain * stretched + offset, 0, 1), rtol=0, atol=1e-4)
        clipped += int((~free).sum())
    assert clipped > 1000
    # Around the mean, contrast leaves the mean where it was, so what moves it is brightness alone.
    assert np.abs(shifts).max() <= 0.2 + 1e-4
    assert scipy.stats.kstest(shifts, scipy.stats.uniform(-0.2, 0.4).cdf).pvalue > 0.01


def test_lost_resolution_is_a_picture_that_was_shrunk_and_enlarged() -> None:
    faces = _faces(64)
    # Values of an evaluation path in float32, so that nothing but the resampling differs.
    plain = _run(faces, NONE)
    x = _run(faces, dataclasses.replace(NONE, low_resolution=1.0))
    found = []
    for picture, wanted in zip(x, plain, strict=True):
        image = Image.fromarray(wanted[0].numpy())
        shrunk = {
            side: np.asarray(
                image.resize((side, side), Image.Resampling.BILINEAR).resize(
                    (48, 48), Image.Resampling.BILINEAR
                )
            )
            for side in range(12, 49)
        }
        best = min(shrunk, key=lambda side: float(np.abs(shrunk[side] - picture[0].numpy()).mean()))
        assert np.abs(shrunk[best] - picture[0].numpy()).max() < 1e-4
        found.append(best)
    # A quarter of the side, all of it, and what lies between, alike often.
    assert scipy.stats.kstest(found, scipy.stats.uniform(12, 36).cdf).pvalue > 0.01


def test_noise_is_normal_and_its_strength_uniform_up_to_a_fifth_of_the_range() -> None:
    faces = torch.full((400, 1, 48, 48), 127, dtype=torch.uint8)
    noisy = _run(faces, dataclasses.replace(NONE, noise=1.0))
    assert float(noisy.min()) == -1
    assert float(noisy.max()) == 1
    x = noisy - _run(faces, NONE)
    # The range is 2 wide; half of it is more than five standard deviations of what is looked at here.
    weak = x[x.std(dim=(1, 2, 3)) < 0.2]
    assert (
        scipy.stats.kstest((weak / weak.std(dim=(1, 2, 3), keepdim=True)).flatten()[::50], "norm").pvalue
        > 0.01
    )
    assert scipy.stats.kstest(x.std(dim=(1, 2, 3)), scipy.stats.uniform(0, 0.4).cdf).pvalue > 0.01


def test_erasing_fills_rectangles_with_normal_noise_and_leaves_the_rest() -> None:
    faces, model = _faces(64), ModelConfig(channels=3)
    plain, x = _run(faces, NONE, model), _run(faces, dataclasses.replace(NONE, erasing=0.5), model)
    changed = x != plain
    assert torch.equal(changed.any(1), changed.all(1))
    erased = changed[:, 0].flatten(1).any(1)
    assert 20 <= int(erased.sum()) <= 44
    for mask in changed[erased, 0]:
        rows, columns = mask.any(1), mask.any(0)
        assert torch.equal(mask, rows[:, None] & columns[None, :])
        # Rows and columns are each one run.
        assert int(rows.int().diff().abs().sum()) <= 2
        assert int(columns.int().diff().abs().sum()) <= 2
    noise = x.permute(1, 0, 2, 3)[:, changed[:, 0]]
    assert scipy.stats.kstest(noise[:, :5000].flatten().numpy(), "norm").pvalue > 0.01
    # Each channel has noise of its own.
    assert float(torch.corrcoef(noise).tril(-1).abs().max()) < 0.05


def test_an_erased_area_is_uniform_and_lies_anywhere() -> None:
    size, count = 160, 200
    model = ModelConfig(size=size)
    faces = torch.full((count, 1, size, size), 255, dtype=torch.uint8)
    erased = _run(faces, dataclasses.replace(NONE, erasing=1.0), model)[:, 0] != 1
    area = erased.float().mean(dim=(1, 2)).numpy()
    tall = erased.any(2).sum(1).numpy()
    wide = erased.any(1).sum(1).numpy()
    assert scipy.stats.kstest(area, scipy.stats.uniform(0.02, 0.23).cdf).pvalue > 0.01
    log_ratio = np.log(tall / wide) / math.log(2.5)
    assert scipy.stats.kstest(log_ratio, scipy.stats.uniform(-1, 2).cdf).pvalue > 0.01
    # Where it starts is uniform over where it can start.
    top = erased.any(2).int().argmax(1).numpy()
    left = erased.any(1).int().argmax(1).numpy()
    for start, side in ((top, tall), (left, wide)):
        assert scipy.stats.kstest((start + 0.5) / (size - side + 1), "uniform").pvalue > 0.01


def test_what_is_off_draws_nothing() -> None:
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    augment_faces(_faces(), NONE, MODEL, generator)
    assert torch.equal(generator.get_state(), before)


@pytest.mark.parametrize(("channels", "wanted", "size"), [(1, 1, 48), (1, 3, 64), (3, 1, 32), (3, 3, 48)])
def test_faces_stay_on_their_device(channels: int, wanted: int, size: int) -> None:
    # The meta device refuses to be mixed with the CPU, as any accelerator does.
    faces = torch.zeros(8, channels, 48, 48, dtype=torch.uint8, device="meta")
    model = ModelConfig(channels=wanted, size=size)  # type: ignore[arg-type]
    x = _run(faces, EVERYTHING, model, rotated=torch.ones(8, dtype=torch.bool))
    assert x.device.type == "meta"
    assert x.shape == (8, wanted, size, size)
    assert x.dtype == torch.float32
    assert x.is_contiguous()


def test_a_batch_depends_on_its_seed_alone() -> None:
    faces = _faces(8)
    torch.manual_seed(1)
    first = _run(faces, EVERYTHING, seed=4)
    torch.manual_seed(2)
    assert torch.equal(first, _run(faces, EVERYTHING, seed=4))
    assert not torch.equal(first, _run(faces, EVERYTHING, seed=5))
