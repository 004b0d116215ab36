"""What happens to faces in particular: masks, sunglasses, hidden halves, few pixels, no colour.

Objects are drawn in the face's own frame: its origin lies between the eyes, `across` runs along the eyes and
`down` to the mouth, both in distances between the eyes. Landmarks, where there are any, place each face's own
frame, tilt and turn included; otherwise all faces take the template of the set's crops.

The mask reaches from the bridge of the nose over the cheeks to below the chin. Placed by the template alone,
it covers both corners of the mouth in 96 % of 355 pictures of FER+, as MTCNN finds them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from mien.card import CropTemplate
from mien.errors import InputError
from mien.evaluate.corruptions import Faces, check_faces, each_picture
from mien.faces.template import DEFAULT_TEMPLATE
from mien.images import to_grey

Landmarks: TypeAlias = npt.NDArray[np.floating]
_Outline: TypeAlias = tuple[tuple[float, float], ...]

MOUTH_DOWN: Final = 1.1
"""How far below the eyes the mouth lies, in distances between the eyes: the median of what MTCNN finds in 355
pictures of FER+ is 1.09. Where there are landmarks, the mouth's own place sets the scale instead."""

_SUPERSAMPLING: Final = 4
_AT_ONCE: Final = 16
"""Faces with a frame of their own that are drawn on at once; of 224 px they take about 400 MB."""
_MASK: Final[_Outline] = (
    (0.0, 0.38), (0.4, 0.46), (1.05, 0.62), (1.0, 1.15), (0.62, 1.75), (0.0, 2.05),
    (-0.62, 1.75), (-1.0, 1.15), (-1.05, 0.62), (-0.4, 0.46),
)  # fmt: skip
_LENS: Final = (0.46, 0.36)
"""Half width and half height of a lens."""
_GREY: Final = (127, 127, 127)
_COLOURS: Final = {
    "mouth_mask": (176, 206, 222), "sunglasses": (18, 18, 20), "left_half": _GREY, "right_half": _GREY,
}  # fmt: skip
_LOW_RESOLUTIONS: Final = {"low_resolution_24": 24, "low_resolution_16": 16, "low_resolution_12": 12}

FACE_CORRUPTIONS: Final[tuple[str, ...]] = (
    *_COLOURS, *_LOW_RESOLUTIONS, "grey",
)  # fmt: skip
"""Left and right are those of the picture, not of the person."""


def face_corruptions_for(shape: Sequence[int]) -> tuple[str, ...]:
    """Which of `FACE_CORRUPTIONS` change faces of a shape: grey needs colour, and a low resolution must be
    lower than the faces' own.

    Args:
        shape: N, H, W, C.
    """
    height, width, channels = shape[1:]
    return tuple(
        name
        for name in FACE_CORRUPTIONS
        if (name != "grey" or channels == 3) and _LOW_RESOLUTIONS.get(name, 0) < min(height, width)
    )


def corrupt_face(
    faces: Faces,
    name: str,
    *,
    template: CropTemplate | None = DEFAULT_TEMPLATE,
    landmarks: Landmarks | None = None,
) -> Faces:
    """Copies of some faces with one thing hidden or lost.

    Args:
        faces: uint8 [N,H,W,C], C = 1 (grey) or 3 (RGB).
        name: one of `FACE_CORRUPTIONS`.
        template: where the eyes lie in the crops; none takes FER-2013's.
        landmarks: float [N,5,2], x and y in pixels of the eye on the left of the picture, the other eye, the
            nose, the left and right corner of the mouth; they come before the template. A row that is not
            finite takes the template.

    Returns:
        uint8 [N,H,W,C].

    Raises:
        InputError: no such corruption, or `faces` or `landmarks` cannot be used.
    """
    check_faces(faces)
    if name not in FACE_CORRUPTIONS:
        raise InputError(f"face corruption {name!r} is not one of {', '.join(FACE_CORRUPTIONS)}.")
    if not len(faces):
        return faces.copy()
    if name == "grey":
        grey = to_grey(faces)[..., None] if faces.shape[3] == 3 else faces
        return np.broadcast_to(grey, faces.shape).copy()
    if name in _LOW_RESOLUTIONS:
        return _few_pixels(faces, _LOW_RESOLUTIONS[name])
    frames = _frames(faces.shape, template or DEFAULT_TEMPLATE, landmarks)
    if len(frames) == 1:
        return _painted(faces, _covered(name, faces.shape, frames), _COLOURS[name])
    changed = np.empty_like(faces)
    for start in range(0, len(faces), _AT_ONCE):
        some = slice(start, start + _AT_ONCE)
        changed[some] = _painted(faces[some], _covered(name, faces.shape, frames[some]), _COLOURS[name])
    return changed


def _few_pixels(faces: Faces, side: int) -> Faces:
    """Shrink the shorter side to `side` px and enlarge it again, as a small face in a large picture is."""
    height, width = faces.shape[1:3]
    scale = side / min(height, width)
    if scale >= 1:
        raise InputError(f"faces of {min(height, width)} px do not lose pixels at {side} px; leave it out.")
    few = (round(width * scale), round(height * scale))
    filter_ = Image.Resampling.BILINEAR
    return each_picture(faces, lambda picture: picture.resize(few, filter_).resize((width, height), filter_))


def _covered(name: str, shape: Sequence[int], frames: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """What an object hides, bool [len(frames), H*s, W*s], s times as fine as the faces."""
    height, width = (side * _SUPERSAMPLING for side in shape[1:3])
    y, x = (np.mgrid[:height, :width] + 0.5) / _SUPERSAMPLING
    away = np.stack([x, y]).astype(np.float32)[None] - frames[:, 0, :, None, None].astype(np.float32)
    inverse = np.linalg.inv(np.moveaxis(frames[:, 1:], 1, 2)).astype(np.float32)
    across, down = np.moveaxis(np.einsum("nij,njyx->niyx", inverse, away), 1, 0)
    if name == "mouth_mask":
        return _inside(across, down, _MASK)
    if name == "sunglasses":
        return _glasses(across, down)
    left: npt.NDArray[np.bool_] = across < 0
    return left if name == "left_half" else ~left


def _frames(
    shape: Sequence[int], template: CropTemplate, landmarks: Landmarks | None
) -> npt.NDArray[np.float64]:
    """Origin, across and down in pixels, float64 [N or 1, 3, 2]: one frame for all without landmarks."""
    count, height, width = shape[:3]
    eyes = np.array([template.left_eye, template.right_eye]) * [width, height]
    # Crops are upright or not, but never mirrored or sheared: down is across, turned by 90 degrees.
    axis = eyes[1] - eyes[0]
    frame = np.stack([eyes.mean(axis=0), axis, np.array([-axis[1], axis[0]])])[None]
    return frame if landmarks is None else _frames_of(landmarks, count, frame)


def _frames_of(
    landmarks: Landmarks, count: int, template: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Origin, across and down of each face in pixels, float64 [N, 3, 2]."""
    if landmarks.shape != (count, 5, 2):
        raise InputError(f"landmarks must be [{count},5,2] for these faces, not {list(landmarks.shape)}.")
    places = landmarks.astype(np.float64)
    origin = places[:, :2].mean(axis=1)
    across = places[:, 1] - places[:, 0]
    down = (places[:, 3:].mean(axis=1) - origin) / MOUTH_DOWN
    frames = np.stack([origin, across, down], axis=1)
    area = across[:, 0] * down[:, 1] - across[:, 1] * down[:, 0]
    # A profile has both eyes in one place; nothing can be drawn in such a frame.
    usable = np.isfinite(frames).all(axis=(1, 2)) & (np.abs(area) > 1)
    return np.where(usable[:, None, None], frames, template)


def _glasses(across: npt.NDArray[np.float32], down: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    half_width, half_height = _LENS
    # A superellipse of the fourth degree is a rectangle with round corners.
    squares = np.square((np.abs(across) - 0.5) / half_width), np.square((down - 0.04) / half_height)
    lenses = np.square(squares[0]) + np.square(squares[1]) <= 1
    bridge = (np.abs(across) < 0.12) & (np.abs(down + 0.08) < 0.06)
    temples = (np.abs(np.abs(across) - 1.05) < 0.15) & (np.abs(down + 0.12) < 0.05)
    covered: npt.NDArray[np.bool_] = lenses | bridge | temples
    return covered


def _inside(
    across: npt.NDArray[np.float32], down: npt.NDArray[np.float32], outline: _Outline
) -> npt.NDArray[np.bool_]:
    """Which places lie in an outline, by the parity of the edges that a ray to the right crosses."""
    inside = np.zeros(np.broadcast_shapes(across.shape, down.shape), dtype=bool)
    for (x0, y0), (x1, y1) in zip(outline, (*outline[1:], outline[0]), strict=True):
        if y0 == y1:
            continue
        crossed = (down >= min(y0, y1)) & (down < max(y0, y1))
        inside ^= crossed & (across < x0 + (down - y0) * ((x1 - x0) / (y1 - y0)))
    return inside


def _painted(faces: Faces, covered: npt.NDArray[np.bool_], colour: tuple[int, int, int]) -> Faces:
    """Faces with a colour where they are covered; `covered` is finer than the faces and sets how much."""
    height, width, channels = faces.shape[1:]
    fine = covered.reshape(len(covered), height, _SUPERSAMPLING, width, _SUPERSAMPLING)
    share = fine.mean(axis=(2, 4), dtype=np.float32)[..., None]
    paint = np.array(colour, dtype=np.uint8)
    if channels == 1:
        paint = to_grey(paint[None, None, None])[0, 0]
    mixed = faces + share * (paint.astype(np.float32) - faces)
    return np.rint(mixed).astype(np.uint8)
