import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import convolve

from mien.data.synthetic import draw_faces
from mien.errors import InputError
from mien.evaluate.corruptions import CORRUPTIONS, SEVERITIES, corrupt, severity_parameters

GREY = draw_faces(24, size=48, seed=1).images
RGB = draw_faces(12, size=64, channels=3, seed=2).images


def _psnr(clean: np.ndarray, corrupted: np.ndarray) -> float:
    """Of all pixels together, in dB."""
    return float(10 * np.log10(255**2 / np.mean((clean.astype(float) - corrupted) ** 2)))


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("faces", [GREY, RGB], ids=["grey48", "rgb64"])
def test_each_severity_is_worse_than_the_one_before(name: str, faces: np.ndarray) -> None:
    before = faces.copy()
    psnr = []
    for severity in SEVERITIES:
        corrupted = corrupt(faces, name, severity)
        assert corrupted.shape == faces.shape
        assert corrupted.dtype == np.uint8
        psnr.append(_psnr(faces, corrupted))
    assert np.all(np.diff(psnr) < -0.05), psnr
    # Visible at the weakest, still a picture at the strongest.
    assert psnr[0] < 50
    assert psnr[-1] > 8
    assert np.array_equal(faces, before)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_seed_decides(name: str) -> None:
    first = corrupt(GREY, name, 3, seed=(5, 1))
    assert np.array_equal(first, corrupt(GREY, name, 3, seed=(5, 1)))
    is_random = name in {
        "gaussian_noise", "shot_noise", "impulse_noise", "motion_blur", "fog", "elastic_transform",
    }  # fmt: skip
    assert np.array_equal(first, corrupt(GREY, name, 3, seed=(5, 2))) != is_random
    if is_random:
        twins = corrupt(np.repeat(GREY[:1], 2, axis=0), name, 3)
        assert not np.array_equal(twins[0], twins[1])


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_severities_are_the_published_ones_at_both_ends_and_between_them_elsewhere(name: str) -> None:
    for severity in SEVERITIES:
        small, middle, large = (np.array(severity_parameters(name, severity, side)) for side in (32, 85, 224))
        assert np.all((middle - small) * (large - middle) >= -1e-9)
        assert severity_parameters(name, severity, 500) == pytest.approx(tuple(large))


def test_published_severities() -> None:
    # make_cifar_c.py and make_imagenet_c.py of github hendrycks/robustness.
    for name, severity, side, expected in (
        ("gaussian_noise", 1, 32, (0.04,)),
        ("gaussian_noise", 5, 224, (0.38,)),
        ("shot_noise", 5, 32, (50,)),
        ("impulse_noise", 4, 224, (0.17,)),
        ("defocus_blur", 5, 32, (1.5, 0.1)),
        ("motion_blur", 4, 224, (15, 12)),
        ("fog", 2, 32, (0.5, 3)),
        ("brightness", 5, 32, (0.3,)),
        ("contrast", 5, 224, (0.05,)),
        ("pixelate", 1, 32, (0.95,)),
        ("jpeg_compression", 5, 224, (7,)),
    ):
        assert severity_parameters(name, severity, side) == pytest.approx(expected)
    # Geometrically, by the logarithm of the side: half way at the geometric mean of the two sides.
    assert severity_parameters("gaussian_noise", 1, 85)[0] == pytest.approx((0.04 * 0.08) ** 0.5, rel=1e-2)


def test_noise_has_the_stated_size() -> None:
    grey = np.full((20, 48, 48, 1), 128, np.uint8)
    sigma = severity_parameters("gaussian_noise", 3, 48)[0]
    assert corrupt(grey, "gaussian_noise", 3).std() / 255 == pytest.approx(sigma, rel=0.03)
    photons = severity_parameters("shot_noise", 3, 48)[0]
    assert corrupt(grey, "shot_noise", 3).std() / 255 == pytest.approx((128 / 255 / photons) ** 0.5, rel=0.03)
    hit = corrupt(grey, "impulse_noise", 5)
    share = severity_parameters("impulse_noise", 5, 48)[0]
    assert np.mean(hit == 255) == pytest.approx(share / 2, rel=0.05)
    assert np.mean(hit == 0) == pytest.approx(share / 2, rel=0.05)
    assert np.isin(hit, (0, 128, 255)).all()


def test_brightness_keeps_hue_and_saturation() -> None:
    faces = np.array([[[[40, 80, 120], [0, 0, 0]]]], np.uint8).repeat(32, 1).repeat(16, 2)
    (added,) = severity_parameters("brightness", 3, 32)
    bright = corrupt(faces, "brightness", 3)[0, 0]
    hsv = np.asarray(Image.fromarray(np.stack([faces[0, 0], bright])).convert("HSV")).astype(int)
    assert np.abs(hsv[1, 0, :2] - hsv[0, 0, :2]).max() <= 2
    assert hsv[1, 0, 2] == pytest.approx(120 + 255 * added, abs=1)
    assert bright[-1].tolist() == [round(255 * added)] * 3


def test_contrast_keeps_each_faces_mean() -> None:
    flat = corrupt(GREY, "contrast", 5).astype(float)
    (factor,) = severity_parameters("contrast", 5, 48)
    assert np.allclose(flat.mean((1, 2)), GREY.mean((1, 2)), atol=0.6)
    assert np.allclose(flat.std((1, 2)), GREY.std((1, 2)) * factor, atol=0.5)


def test_blurs_of_a_point_are_what_they_say() -> None:
    point = np.zeros((1, 49, 49, 1), np.uint8)
    point[0, 24, 24] = 255
    disk = corrupt(np.repeat(point, 3, 3), "defocus_blur", 5)[0, ..., 0].astype(float)
    radius, _ = severity_parameters("defocus_blur", 5, 49)
    y, x = np.mgrid[-24:25, -24:25]
    inner = y**2 + x**2 <= radius**2
    reference = convolve(point[0, ..., 0] / 255.0, inner[20:29, 20:29] / inner.sum(), mode="mirror") * 255
    # The edge is softened by a Gaussian of 0.1 px, which changes next to nothing.
    assert np.abs(disk - reference).max() < 4

    trails = corrupt(np.repeat(point, 40, 0), "motion_blur", 5)[..., 0].astype(float)
    mass = trails.sum((1, 2))
    assert np.allclose(mass, 255, atol=12)
    angle = np.arctan2(*((trails * axis).sum((1, 2)) for axis in (y, x)))
    angle = np.rad2deg(np.arctan(np.tan(angle)))
    assert np.abs(angle).max() <= 50
    assert angle.std() > 15

    zoomed = corrupt(point, "zoom_blur", 5)[0, ..., 0].astype(float)
    assert np.allclose(zoomed, zoomed[::-1], atol=1)
    assert np.allclose(zoomed, zoomed.T, atol=1)


def test_pixelate_has_as_many_pixels_as_stated() -> None:
    (share,) = severity_parameters("pixelate", 5, 64)
    blocks = corrupt(RGB, "pixelate", 5)
    coarse = int(64 * share)
    box = Image.Resampling.BOX
    again = Image.fromarray(RGB[0]).resize((coarse, coarse), box).resize((64, 64), box)
    assert np.array_equal(blocks[0], np.asarray(again))


def test_fog_brightens_dark_pixels_and_is_cloudy() -> None:
    dark = np.zeros((4, 48, 48, 1), np.uint8)
    dark[:, 0, 0] = 255
    fog = corrupt(dark, "fog", 3).astype(float)
    assert fog.mean() > 20
    assert fog.std() > 10
    neighbours = np.abs(np.diff(fog[..., 0], axis=2)).mean()
    assert neighbours < np.abs(fog[..., 0] - np.roll(fog[..., 0], 20, axis=2)).mean() / 2


def test_what_cannot_be_corrupted_is_refused() -> None:
    with pytest.raises(InputError, match="corruption 'snow' is not one of gaussian_noise"):
        corrupt(GREY, "snow", 1)
    with pytest.raises(InputError, match="severity must be 1, 2, 3, 4 or 5, not 0"):
        corrupt(GREY, "fog", 0)
    with pytest.raises(InputError, match="faces must be uint8"):
        corrupt(GREY.astype(np.float32), "fog", 1)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="faces of 24 px are too small"):
        corrupt(GREY[:, :24], "fog", 1)
    assert corrupt(GREY[:0], "fog", 1).shape == (0, 48, 48, 1)
