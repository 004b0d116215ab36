"""Drawn faces: an endless, licence-free stand-in for photographs in tests, tutorials and smoke runs.

Each face is a parametric head moved by facial action units (AUs) and seen under a random pose, light and
camera.  What an emotion looks like follows the EMFACS prototypes of Friesen & Ekman, "EMFACS-7: Emotional
Facial Action Coding System", unpublished manual, University of California, San Francisco, 1983; the action
units themselves are those of Ekman & Friesen, "Facial Action Coding System", 1978.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from mien.data import head_parameters
from mien.data.head_geometry import face_boxes, landmarks, shape_heads
from mien.data.portrait import render
from mien.labels import EMOTIONS

Float = npt.NDArray[np.float32]
Index = npt.NDArray[np.int64]
Pixels = npt.NDArray[np.uint8]

ACTION_UNITS: Final[tuple[int, ...]] = head_parameters.ACTION_UNITS
"""The AU numbers drawn, in the column order of `DrawnFaces.action_units`."""

PROTOTYPES: Final[dict[str, dict[int, float]]] = {
    "anger": {4: 1.0, 5: 0.6, 7: 0.8, 23: 0.9, 24: 0.5},
    "contempt": {12: 0.85, 14: 1.0},
    "disgust": {9: 1.0, 10: 0.7, 15: 0.5, 16: 0.6},
    "fear": {1: 0.9, 2: 0.6, 4: 0.7, 5: 0.9, 7: 0.4, 20: 0.9, 25: 0.7, 26: 0.35},
    "happiness": {6: 0.8, 12: 1.0, 25: 0.5},
    "neutral": {},
    "sadness": {1: 0.9, 4: 0.6, 15: 0.9, 17: 0.5},
    "surprise": {1: 1.0, 2: 1.0, 5: 0.8, 25: 0.6, 26: 0.9, 27: 0.5},
}
"""Emotion name to the AUs of its prototype and their intensity (0..1) in a full-strength expression."""

# An expression may lack these and still be its emotion; the others of a prototype are always present.
_OPTIONAL: Final[dict[str, tuple[int, ...]]] = {
    "anger": (5, 24),
    "contempt": (),
    "disgust": (15, 16),
    "fear": (7, 26),
    "happiness": (25,),
    "neutral": (),
    "sadness": (17,),
    "surprise": (27,),
}
_DISTRACTORS: Final[tuple[int, ...]] = (1, 2, 4, 7, 17, 25, 43)

# Weights put the full-strength prototypes near their places on the circumplex of Russell (1980).
_VALENCE: Final[dict[int, float]] = {
    1: -0.1, 2: 0.2, 4: -0.35, 5: -0.05, 6: 0.3, 7: -0.15, 9: -0.4, 10: -0.15, 12: 0.8, 14: -1.15,
    15: -0.5, 16: -0.15, 17: -0.1, 20: -0.35, 23: -0.3, 24: -0.15, 26: 0.05,
}  # fmt: skip
_AROUSAL: Final[dict[int, float]] = {
    1: -0.05, 2: 0.1, 4: 0.15, 5: 0.4, 6: 0.15, 7: 0.2, 9: 0.3, 10: 0.1, 12: 0.3, 15: -0.45, 16: 0.1,
    17: -0.1, 20: 0.2, 23: 0.2, 25: 0.05, 26: 0.25, 27: 0.3, 43: -0.5,
}  # fmt: skip


@dataclass(frozen=True)
class DrawnFaces:
    """Drawn faces with everything that is known about them; N faces of H x W pixels, H = W.

    Attributes:
        images: uint8 [N, H, W, C]; C is 1 (grey) or 3 (RGB).
        labels: int64 [N], index into `mien.labels.EMOTIONS`, with label noise applied.
        clean_labels: int64 [N], the emotion that was drawn.
        action_units: float32 [N, len(ACTION_UNITS)], intensity 0..1; of a one-sided AU, the stronger side.
        subjects: int64 [N], identity 0..subjects-1.
        boxes: float32 [N, 4], x0, y0, x1, y1 of brow-to-chin face in pixels, clipped to the image.
        landmarks: float32 [N, 5, 2], x and y in pixels of the eye on the image's left, the eye on its
            right, the nose tip, the mouth corner on the left, the mouth corner on the right.
        valence: float32 [N] in [-1, 1], tanh of a weighted sum of the action units.
        arousal: float32 [N] in [-1, 1], likewise.
        mattes: uint8 [N, H, W], opacity of the person in front of the background, 0 to 255.
    """

    images: Pixels
    labels: Index
    clean_labels: Index
    action_units: Float
    subjects: Index
    boxes: Float
    landmarks: Float
    valence: Float
    arousal: Float
    mattes: Pixels

    def __len__(self) -> int:
        return len(self.labels)


def draw_faces(
    count: int,
    *,
    size: int = 48,
    channels: int = 1,
    seed: int = 0,
    emotions: Sequence[str] | None = None,
    label_noise: float = 0.0,
    frontal: bool = False,
    subjects: int | None = None,
) -> DrawnFaces:
    """Draw faces showing emotions after their EMFACS prototypes (Friesen & Ekman 1983).

    Args:
        count: number of faces, at least 1.
        size: height and width in pixels, at least 24.
        channels: 1 for grey, 3 for RGB.
        seed: non-negative; the same arguments always draw the same faces.
        emotions: names to draw from uniformly; None draws from all of `mien.labels.EMOTIONS`.
        label_noise: probability (0..1) that a label names one of the seven emotions not drawn.
        frontal: small pose, no occlusion, even light, the whole head in view and full-strength
            prototypes, as test fixtures need.
        subjects: number of identities, 1..count; by default a tenth of `count`.  How a subject looks
            depends on `seed` and its number alone.

    Returns:
        The faces, in random order of emotions and subjects.

    Raises:
        ValueError: an argument is out of its range.
    """
    identities = max(1, count // 10) if subjects is None else subjects
    names = EMOTIONS if emotions is None else tuple(emotions)
    _check(count, size, channels, seed, names, label_noise, identities)
    rng = np.random.default_rng([seed, count, 1])
    classes = np.array([EMOTIONS.index(name) for name in names], dtype=np.int64)
    clean = classes[rng.integers(len(classes), size=count)]
    subject = rng.permutation(np.arange(count, dtype=np.int64) % identities)
    sided = _expressions(clean, frontal, rng)
    params = {**_identities(subject, identities, seed), **_conditions(count, frontal, rng)}
    geometry = shape_heads(params, sided, size)
    images, mattes = render(geometry, size, channels, rng)
    units = sided.max(axis=1)
    return DrawnFaces(
        images=images,
        labels=_noisy(clean, label_noise, np.random.default_rng([seed, count, 2])),
        clean_labels=clean,
        action_units=units,
        subjects=subject,
        boxes=face_boxes(geometry, size),
        landmarks=landmarks(geometry),
        valence=np.tanh(units @ _weights(_VALENCE)),
        arousal=np.tanh(units @ _weights(_AROUSAL)),
        mattes=mattes,
    )


def paste_faces(
    faces: DrawnFaces,
    *,
    width: int = 640,
    height: int = 480,
    seed: int = 0,
    background: Pixels | None = None,
) -> tuple[Pixels, Float, Float]:
    """Paste drawn faces side by side into one frame, each cut out along its matte.

    Args:
        faces: one or more faces; they must fit the frame in a grid of cells of their own size.
        width: of the frame, in pixels.
        height: of the frame, in pixels.
        seed: of the places and of the background's texture.
        background: uint8 [H, W, 3] RGB to paste into (it is copied; `width` and `height` are then
            ignored); None makes a textured one.

    Returns:
        The frame, uint8 [H, W, 3] RGB; boxes, float32 [N, 4]; and landmarks, float32 [N, 5, 2], both in
        pixels of the frame.

    Raises:
        ValueError: the faces do not fit, or the background is not uint8 RGB.
    """
    rgb = background is None or (background.shape[2:] == (3,) and background.dtype == np.uint8)
    if not rgb:
        raise ValueError("background must be a uint8 array of shape [H, W, 3]")
    rng = np.random.default_rng([seed, 3])
    frame = _texture(width, height, rng) if background is None else background.astype(np.float32)
    rows, columns = frame.shape[:2]
    size = faces.images.shape[1]
    across, down = columns // size, rows // size
    if across * down < len(faces):
        raise ValueError(f"{len(faces)} faces of {size} px do not fit a frame of {columns} x {rows} px")
    cell_w, cell_h = columns // max(across, 1), rows // max(down, 1)
    cells = rng.permutation(across * down)[: len(faces)]
    x0 = cells % across * cell_w + rng.integers(0, cell_w - size + 1, size=len(faces))
    y0 = cells // across * cell_h + rng.integers(0, cell_h - size + 1, size=len(faces))
    for image, matte, x, y in zip(faces.images, faces.mattes, x0, y0, strict=True):
        region = frame[y : y + size, x : x + size]
        region[:] = _blend(image, matte, region)
    offset = np.stack([x0, y0], axis=1).astype(np.float32)
    boxes = faces.boxes + np.tile(offset, (1, 2))
    return np.rint(frame).astype(np.uint8), boxes, faces.landmarks + offset[:, None, :]


def _check(
    count: int, size: int, channels: int, seed: int, names: Sequence[str], label_noise: float, subjects: int
) -> None:
    """Raise ValueError, in one sentence, for the first argument out of range."""
    if count < 1:
        raise ValueError(f"count must be at least 1, not {count}")
    if size < 24:
        raise ValueError(f"size must be at least 24 pixels, not {size}")
    if channels not in (1, 3):
        raise ValueError(f"channels must be 1 (grey) or 3 (RGB), not {channels}")
    if seed < 0:
        raise ValueError(f"seed must not be negative, not {seed}")
    if not names:
        raise ValueError("emotions must name at least one emotion")
    unknown = [name for name in names if name not in EMOTIONS]
    if unknown:
        raise ValueError(f"emotions has an unknown name, {unknown[0]!r}; known are {', '.join(EMOTIONS)}")
    if not 0.0 <= label_noise <= 1.0:
        raise ValueError(f"label_noise must be between 0 and 1, not {label_noise}")
    if not 1 <= subjects <= count:
        raise ValueError(f"subjects must be between 1 and count ({count}), not {subjects}")


def _weights(table: dict[int, float]) -> Float:
    return np.array([table.get(unit, 0.0) for unit in ACTION_UNITS], dtype=np.float32)


def _noisy(clean: Index, fraction: float, rng: np.random.Generator) -> Index:
    """Each label replaced, with the given probability, by another one chosen uniformly."""
    other = (clean + rng.integers(1, len(EMOTIONS), size=len(clean))) % len(EMOTIONS)
    return np.where(rng.random(len(clean)) < fraction, other, clean)


def _expressions(clean: Index, frontal: bool, rng: np.random.Generator) -> Float:
    """AU intensities of the left and right half of each face, float32 [N, 2, len(ACTION_UNITS)]."""
    count, width = len(clean), len(ACTION_UNITS)
    units = np.stack([_weights(PROTOTYPES[name]) for name in EMOTIONS])[clean]
    sides = np.ones((count, 2, width), dtype=np.float32)
    everyone, weak_side = np.arange(count), rng.integers(2, size=count)
    if not frontal:
        optional = np.array([[unit in _OPTIONAL[name] for unit in ACTION_UNITS] for name in EMOTIONS])
        units *= rng.uniform(0.6, 1.0, size=(count, 1)) * rng.uniform(0.75, 1.15, size=(count, width))
        units[optional[clean] & (rng.random((count, width)) < 0.35)] = 0.0
        distracts = np.isin(ACTION_UNITS, _DISTRACTORS) & (rng.random((count, width)) < 0.12)
        units = np.where(distracts, np.maximum(units, rng.uniform(0.05, 0.25, size=(count, width))), units)
        sides[everyone, weak_side] = rng.uniform(0.85, 1.0, size=(count, 1))
    # Contempt is one-sided: a trace is left on the other half, as faces do not move wholly apart.
    unilateral = np.where(np.isin(ACTION_UNITS, (12, 14)), 0.05, 1.0)
    contempt = clean == EMOTIONS.index("contempt")
    sides[everyone[contempt], weak_side[contempt]] *= unilateral
    return (np.clip(units, 0.0, 1.0)[:, None, :] * sides).astype(np.float32)


def _identities(subject: Index, identities: int, seed: int) -> dict[str, Float]:
    """Identity parameters, [N] each; a subject's depend on the seed and its number alone."""
    generators = (np.random.default_rng([seed, number, 4]) for number in range(identities))
    draws = np.stack([rng.random(head_parameters.IDENTITY_DRAWS) for rng in generators]).astype(np.float32)
    return head_parameters.identity_parameters(draws[subject])


def _conditions(count: int, frontal: bool, rng: np.random.Generator) -> dict[str, Float]:
    """Pose, framing, light and camera parameters, [N] each."""
    ranges = head_parameters.FRONTAL_CONDITIONS if frontal else head_parameters.CONDITIONS
    return {name: rng.uniform(*ends, size=count).astype(np.float32) for name, ends in ranges.items()}


def _texture(width: int, height: int, rng: np.random.Generator) -> Float:
    """A background of soft, muted colour patches and grain, float32 [height, width, 3] in 0..255."""
    frame: Float = np.full((height, width, 3), 118.0, dtype=np.float32)
    tint = rng.uniform(0.7, 1.3, size=(3, 3)).astype(np.float32)
    for layer, (cells, weight) in enumerate(((3, 34.0), (8, 13.0), (32, 4.0))):
        coarse = Image.fromarray(rng.standard_normal((cells, cells + cells // 3)).astype(np.float32))
        patches = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))[:, :, None]
        frame += patches * (weight * tint[layer])
    frame += rng.standard_normal((height, width, 1), dtype=np.float32) * 3.0
    return frame.clip(0.0, 255.0)


def _blend(image: Pixels, matte: Pixels, region: Float) -> Float:
    """What a frame's region shows, float32 [size, size, 3], once a drawn person is let into it.

    The person fades out towards the image's edges, where the image cuts shoulders and hair off.
    """
    place = (np.arange(len(image), dtype=np.float32) + 0.5) / len(image)
    across = np.clip(np.minimum(place, 1.0 - place) / 0.08, 0.0, 1.0)
    down = np.clip(np.minimum(place / 0.05, (1.0 - place) / 0.10), 0.0, 1.0)
    ramp = down[:, None] * across[None, :]
    alpha = ramp * ramp * (3.0 - 2.0 * ramp) * (matte.astype(np.float32) / 255.0)
    mixed: Float = region + alpha[:, :, None] * (image.astype(np.float32) - region)
    return mixed
