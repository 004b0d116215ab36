"""Common corruptions at five severities (Hendrycks & Dietterich, ICLR 2019), for faces of 32 px and more.

Twelve of the benchmark's fifteen are here. Snow and frost are weather of whole scenes, and glass blur swaps
pixels one after the other; they are left out.

The authors published two sets of severities: ImageNet-C for 224 px and CIFAR-10-C for 32 px. Those for 224 px
wipe out a face of 48 px: a defocus with a radius of 10 px is as wide as its mouth. So each parameter is
interpolated between the two sets, geometrically, by the logarithm of the side: at 32 px the parameters are
those of CIFAR-10-C, at 224 px those of ImageNet-C, and at 48 px a fifth of the way from the one to the other.
The exceptions: elastic, whose published severities are not ordered at either size, has the authors' kind of
field with a strength of its own, in shares of the side; zoom blur averages a fixed number of zooms; and the
soft edge of the weakest defocus is that of CIFAR-10-C at every side, since below a radius of 1 px it alone
blurs. Motion starts at a pixel and trails off to the right, as in ImageMagick, which the authors used.

Random draws do not depend on the severity: severities differ in strength alone.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from types import MappingProxyType
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.ndimage import correlate, gaussian_filter, map_coordinates  # type: ignore[import-untyped]

from mien.errors import InputError

Faces = npt.NDArray[np.uint8]
Float = npt.NDArray[np.float32]
Family = Literal["noise", "blur", "weather", "digital"]
Seed = int | Sequence[int]

SEVERITIES: tuple[int, ...] = (1, 2, 3, 4, 5)
SMALLEST_SIDE = 32
"""Side in pixels of CIFAR-10-C; smaller faces are refused."""
LARGEST_SIDE = 224
"""Side in pixels of ImageNet-C, whose severities hold for larger faces as well."""

_ZOOMS = 11
_ELASTIC_SMOOTHING = 0.04


def corrupt(faces: Faces, name: str, severity: int, *, seed: Seed = 0) -> Faces:
    """Corrupted copies of some faces.

    It needs memory for about ten float32 copies; give many faces in parts, each with a seed of its own.

    Args:
        faces: uint8 [N,H,W,C], C = 1 (grey) or 3 (RGB), sides of 32 px and more.
        name: one of `CORRUPTIONS`.
        severity: 1 (weak) to 5 (strong).
        seed: of the random draws; the same arguments always give the same faces.

    Returns:
        uint8 [N,H,W,C].

    Raises:
        InputError: no such corruption or severity, or `faces` has another dtype or shape.
    """
    check_faces(faces)
    parameters = severity_parameters(name, severity, min(faces.shape[1:3]))
    if not len(faces):
        return faces.copy()
    words = [seed] if isinstance(seed, int) else list(seed)
    rng = np.random.default_rng([*words, zlib.crc32(name.encode())])
    return _CORRUPTIONS[name].apply(faces, parameters, rng)


def severity_parameters(name: str, severity: int, side: int) -> tuple[float, ...]:
    """What a severity means for faces of a side.

    Args:
        name: one of `CORRUPTIONS`.
        severity: 1 to 5.
        side: the shorter side of the faces in pixels, 32 or more.

    Returns:
        The parameters; the table in this file says what each stands for.

    Raises:
        InputError: no such corruption or severity, or the side is too small.
    """
    if name not in _CORRUPTIONS:
        raise InputError(f"corruption {name!r} is not one of {', '.join(_CORRUPTIONS)}.")
    if severity not in SEVERITIES:
        raise InputError(f"severity must be 1, 2, 3, 4 or 5, not {severity!r}.")
    if side < SMALLEST_SIDE:
        raise InputError(f"faces of {side} px are too small to corrupt; they need {SMALLEST_SIDE} px.")
    share = np.log(min(side, LARGEST_SIDE) / SMALLEST_SIDE) / np.log(LARGEST_SIDE / SMALLEST_SIDE)
    found = _CORRUPTIONS[name]
    pairs = zip(found.small[severity - 1], found.large[severity - 1], strict=True)
    return tuple(float(small ** (1 - share) * large**share) for small, large in pairs)


def check_faces(faces: Faces) -> None:
    """See that faces are uint8 [N,H,W,1 or 3].

    Raises:
        InputError: they are not.
    """
    if faces.dtype != np.uint8 or faces.ndim != 4 or faces.shape[3] not in (1, 3):
        raise InputError(f"faces must be uint8 [N,H,W,1 or 3], not {faces.dtype} {list(faces.shape)}.")


def each_picture(faces: Faces, change: Callable[[Image.Image], Image.Image]) -> Faces:
    """Faces, uint8 [N,H,W,C], changed one by one with Pillow; `change` keeps size and mode."""
    changed = np.empty_like(faces)
    for face, target in zip(faces, changed, strict=True):
        picture = Image.fromarray(np.ascontiguousarray(face[..., 0] if face.shape[2] == 1 else face))
        target[...] = np.asarray(change(picture)).reshape(target.shape)
    return changed


def _unit(faces: Faces) -> Float:
    return np.divide(faces, 255, dtype=np.float32)


def _pixels(unit: npt.NDArray[np.floating]) -> Faces:
    return np.rint(np.clip(unit, 0, 1) * 255).astype(np.uint8)


def _gaussian_noise(faces: Faces, parameters: tuple[float, ...], rng: np.random.Generator) -> Faces:
    return _pixels(_unit(faces) + rng.standard_normal(faces.shape, np.float32) * np.float32(parameters[0]))


def _shot_noise(faces: Faces, parameters: tuple[float, ...], rng: np.random.Generator) -> Faces:
    return _pixels(rng.poisson(_unit(faces) * parameters[0]) / parameters[0])


def _impulse_noise(faces: Faces, parameters: tuple[float, ...], rng: np.random.Generator) -> Faces:
    hit = rng.random(faces.shape, dtype=np.float32) < parameters[0]
    salt = rng.random(faces.shape, dtype=np.float32) < 0.5
    return np.where(hit, np.where(salt, np.uint8(255), np.uint8(0)), faces)


def _defocus_blur(faces: Faces, parameters: tuple[float, ...], rng: np.random.Generator) -> Faces:
    kernel = _disk(*parameters)[None, :, :, None]
    return _pixels(correlate(_unit(faces), kernel, mode="mirror"))


def _disk(radius: float, softness: float) -> Float:
    """A disk on the pixel grid, softened by a Gaussian of `softness` px cut at 3x3 (5x5 above 8 px)."""
    reach = 1 if radius <= 8 else 2
    half = int(radius) + reach
    place = np.arange(-half, half + 1)
    disk = (place[:, None] ** 2 + place**2 <= radius**2).astype(np.float32)
    soft: Float = gaussian_filter(disk / disk.sum(), softness, mode="constant", radius=reach)
    return soft


def _motion_blur(faces: Faces, parameters: tuple[float, ...], rng: np.random.Generator) -> Faces:
    radius, sigma = parameters
    count, height, width = faces.shape[:3]
    angle = np.deg2rad(rng.uniform(-45, 45, size=count))
    steps = np.arange(round(2 * radius) + 1)
    weights = np.exp(-(steps**2) / (2 * sigma**2)).astype(np.float32)
    weights /= weights.sum()
    blurred = np.zeros(faces.shape, dtype=np.float32)
    everyone = np.arange(count)[:, None, None]
    for step, weight in zip(steps, weights, strict=True):
        down, right = (np.rint(step * f(angle)).astype(int)[:, None] for f in (np.sin, np.cos))
        y = np.clip(np.arange(height) + down, 0, height - 1)[:, :, None]
        x = np.clip(np.arange(width) + right, 0, width - 1)[:, None, :]
        blurred += weight * faces[everyone, y, x]
    return _pixels(blurred / 255)


def _zoom_blur(faces: Faces, parameters: tuple[float, ...], rng: np.random.Generator) -> Faces:
    # Planes [N, C, H, W], so that each zoom is two products of matrices.
    planes = _unit(faces).transpose(0, 3, 1, 2)
    total = planes.copy()
    for zoom in np.linspace(1, parameters[0], _ZOOMS):
        total += _zoom_matrix(faces.shape[1], zoom) @ planes @ _zoom_matrix(faces.shape[2], zoom).T
    return _pixels((total / (_ZOOMS + 1)).transpose(0, 2, 3, 1))


def _zoom_matrix(side: int, zoom: float) -> Float:
    """float32 [side, side]: linear interpolation of a line enlarged about its middle."""
    middle = (side - 1) / 2
    source = middle + (np.arange(side) - middle) / zoom
    distance = np.abs(source[:, None] - np.arange(side))
    return np.clip(1 - distance, 0, 1).astype(np.float32)


def _fog(faces: Faces, parameters: tuple[float, ...], rng: np.random.Generator) -> Faces:
    strength, decay = parameters
    unit = _unit(faces)
    brightest = unit.max(axis=(1, 2, 3), keepdims=True)
    height, width = faces.shape[1:3]
    side = 1 << (max(height, width) - 1).bit_length()
    haze = _plasma(len(faces), side, decay, rng)[:, :height, :width, None]
    return _pixels((unit + strength * haze) * brightest / (brightest + strength))


def _plasma(count: int, side: int, decay: float, rng: np.random.Generator) -> Float:
    """Clouds by the diamond-square algorithm on a torus, float32 [count, side, side] in 0..1; `side` is a
    power of two, and detail of half the size is `decay` times weaker."""
    plasma = np.zeros((count, side, side), dtype=np.float32)
    step, amplitude = side, 1.0
    while step >= 2:
        half = step // 2
        corners = plasma[:, ::step, ::step]
        rows = corners + np.roll(corners, -1, axis=1)
        plasma[:, half::step, half::step] = _rough(rows + np.roll(rows, -1, 2), amplitude, rng)
        middles = plasma[:, half::step, half::step]
        beside = corners + np.roll(corners, -1, axis=2)
        plasma[:, ::step, half::step] = _rough(middles + np.roll(middles, 1, axis=1) + beside, amplitude, rng)
        plasma[:, half::step, ::step] = _rough(middles + np.roll(middles, 1, 2) + rows, amplitude, rng)
        step, amplitude = half, amplitude / decay
    plasma -= plasma.min(axis=(1, 2), keepdims=True)
    plasma /= plasma.max(axis=(1, 2), keepdims=True)
    return plasma


def _rough(sum_of_four: Float, amplitude: float, rng: np.random.Generator) -> Float:
    jitter = rng.uniform(-amplitude, amplitude, size=sum_of_four.shape)
    return (sum_of_four / 4 + jitter).astype(np.float32)


def _brightness(faces: Faces, parameters: tuple[float, ...], rng: np.random.Generator) -> Faces:
    unit = _unit(faces)
    # Raising V in HSV, with H and S as they are, multiplies the three channels alike; black has no hue.
    value = unit.max(axis=3, keepdims=True)
    raised = np.minimum(value + np.float32(parameters[0]), 1)
    return _pixels(np.where(value > 0, unit * (raised / np.where(value > 0, value, 1)), raised))


def _contrast(faces: Faces, parameters: tuple[float, ...], rng: np.random.Generator) -> Faces:
    unit = _unit(faces)
    mean = unit.mean(axis=(1, 2), keepdims=True)
    return _pixels(mean + (unit - mean) * np.float32(parameters[0]))


def _elastic_transform(faces: Faces, parameters: tuple[float, ...], rng: np.random.Generator) -> Faces:
    count, height, width, channels = faces.shape
    side = min(height, width)
    field = rng.standard_normal((2, count, height, width), dtype=np.float32)
    smoothing = _ELASTIC_SMOOTHING * side
    field = gaussian_filter(field, (0, 0, smoothing, smoothing), mode="reflect", truncate=3)
    spread = np.sqrt((field**2).mean(axis=(0, 2, 3), keepdims=True))
    field *= parameters[0] * side / spread
    places = field + np.mgrid[:height, :width][:, None]
    moved = np.empty_like(faces)
    for index, channel in np.ndindex(count, channels):
        plane = faces[index, ..., channel].astype(np.float32)
        moved[index, ..., channel] = np.rint(
            map_coordinates(plane, places[:, index], order=1, mode="reflect")
        )
    return moved


def _pixelate(faces: Faces, parameters: tuple[float, ...], rng: np.random.Generator) -> Faces:
    width, height = faces.shape[2], faces.shape[1]
    coarse = (int(width * parameters[0]), int(height * parameters[0]))
    box = Image.Resampling.BOX
    return each_picture(faces, lambda picture: picture.resize(coarse, box).resize((width, height), box))


def _jpeg_compression(faces: Faces, parameters: tuple[float, ...], rng: np.random.Generator) -> Faces:
    quality = round(parameters[0])

    def compressed(picture: Image.Image) -> Image.Image:
        file = BytesIO()
        picture.save(file, "JPEG", quality=quality)
        return Image.open(file)

    return each_picture(faces, compressed)


@dataclass(frozen=True)
class _Corruption:
    family: Family
    apply: Callable[[Faces, tuple[float, ...], np.random.Generator], Faces]
    small: Sequence[tuple[float, ...]]
    """Parameters of each severity at 32 px."""
    large: Sequence[tuple[float, ...]]
    """Parameters of each severity at 224 px."""


def _each(*values: float) -> tuple[tuple[float, ...], ...]:
    return tuple((value,) for value in values)


_ELASTIC = _each(0.006, 0.009, 0.012, 0.016, 0.020)
_CORRUPTIONS: Mapping[str, _Corruption] = {
    # Standard deviation of intensities in 0..1.
    "gaussian_noise": _Corruption(
        "noise", _gaussian_noise, _each(0.04, 0.06, 0.08, 0.09, 0.10), _each(0.08, 0.12, 0.18, 0.26, 0.38)
    ),
    # Photons of a white pixel.
    "shot_noise": _Corruption("noise", _shot_noise, _each(500, 250, 100, 75, 50), _each(60, 25, 12, 5, 3)),
    # Share of the values that become black or white.
    "impulse_noise": _Corruption(
        "noise", _impulse_noise, _each(0.01, 0.02, 0.03, 0.05, 0.07), _each(0.03, 0.06, 0.09, 0.17, 0.27)
    ),
    # Radius of the disk and standard deviation of its edge, in pixels.
    "defocus_blur": _Corruption(
        "blur",
        _defocus_blur,
        ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
        ((3, 0.4), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
    ),
    # Half the length and standard deviation of the trail, in pixels.
    "motion_blur": _Corruption(
        "blur",
        _motion_blur,
        ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
        ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
    ),
    # Largest zoom.
    "zoom_blur": _Corruption(
        "blur", _zoom_blur, _each(1.05, 1.10, 1.15, 1.20, 1.25), _each(1.10, 1.15, 1.20, 1.25, 1.30)
    ),
    # Weight of the haze, and how much weaker detail of half the size is.
    "fog": _Corruption(
        "weather",
        _fog,
        ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
        ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
    ),
    # Added to the value of HSV, 0..1.
    "brightness": _Corruption(
        "weather", _brightness, _each(0.05, 0.10, 0.15, 0.20, 0.30), _each(0.1, 0.2, 0.3, 0.4, 0.5)
    ),
    # Factor of the distance from the mean.
    "contrast": _Corruption(
        "digital", _contrast, _each(0.75, 0.5, 0.4, 0.3, 0.15), _each(0.4, 0.3, 0.2, 0.1, 0.05)
    ),
    # Root mean square shift along an axis, as a share of the side.
    "elastic_transform": _Corruption("digital", _elastic_transform, _ELASTIC, _ELASTIC),
    # Side of the coarse picture, as a share.
    "pixelate": _Corruption(
        "digital", _pixelate, _each(0.95, 0.9, 0.85, 0.75, 0.65), _each(0.6, 0.5, 0.4, 0.3, 0.25)
    ),
    # Quality, of 100.
    "jpeg_compression": _Corruption(
        "digital", _jpeg_compression, _each(80, 65, 58, 50, 40), _each(25, 18, 15, 10, 7)
    ),
}

CORRUPTIONS: Mapping[str, Family] = MappingProxyType(
    {name: corruption.family for name, corruption in _CORRUPTIONS.items()}
)
"""The corruptions' names and the family of each."""
