"""A found face becomes the crop that the model was trained on.

The training sets came cropped by other people's rules, so the rule is a measured template
(`faces/template.py`): the picture is turned, scaled and shifted until the eyes lie where they lie in the
training crops.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mien.card import CropTemplate
from mien.errors import InputError

BOX_MARGIN = 0.1
"""What a crop by the box adds on each side, as a share of the box's longer side."""

# Below this share of the box's side the eyes lie one behind the other (a profile) and say nothing about the
# scale.
_LEAST_EYE_DISTANCE = 0.15
_MOST_SUPERSAMPLING = 4
# A shrinking by exactly two must not become three because landmarks are float32.
_ROUNDING = 1e-3


def eye_transform(
    left_eye: NDArray[np.floating], right_eye: NDArray[np.floating], template: CropTemplate, size: int
) -> NDArray[np.float64]:
    """The similarity transform that takes two eyes [2] in picture pixels to the template's places.

    Returns:
        float64 [2,3]: crop point = matrix @ (x, y, 1), both in pixels from the top left corner.

    Raises:
        InputError: the two eyes are in one place.
    """
    source = complex(*map(float, left_eye)), complex(*map(float, right_eye))
    target = complex(*template.left_eye) * size, complex(*template.right_eye) * size
    if abs(source[1] - source[0]) < 1e-6:
        raise InputError("the two eyes are in one place, so the face cannot be aligned by them.")
    # A similarity of the plane is multiplication by one complex number and addition of another.
    turn = (target[1] - target[0]) / (source[1] - source[0])
    shift = target[0] - turn * source[0]
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def landmark_transform(landmarks: NDArray[np.floating], places: NDArray[np.floating]) -> NDArray[np.float64]:
    """The similarity transform that takes points [P,2] nearest to their places [P,2], by least squares.

    Without a mirroring the optimum is a ratio of two sums over complex numbers (Umeyama, IEEE TPAMI 13(4),
    1991, section 3).

    Args:
        landmarks: in picture pixels.
        places: where they belong, in crop pixels.

    Returns:
        float64 [2,3], as `eye_transform`.

    Raises:
        InputError: the points are in one place, or one of them is not finite.
    """
    source = landmarks[:, 0].astype(np.float64) + 1j * landmarks[:, 1].astype(np.float64)
    target = places[:, 0] + 1j * places[:, 1]
    away = source - source.mean()
    spread = float((away * away.conj()).real.sum())
    if not (np.isfinite(spread) and spread > 1e-6):
        raise InputError(
            "the landmarks are in one place or not known, so the face cannot be aligned by them."
        )
    turn = complex((away.conj() * (target - target.mean())).sum()) / spread
    shift = complex(target.mean()) - turn * complex(source.mean())
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def box_transform(box: NDArray[np.floating], size: int, *, margin: float = BOX_MARGIN) -> NDArray[np.float64]:
    """The transform that takes the square around a box [4] (x0, y0, x1, y1), with a margin, to the whole
    crop.

    Returns:
        float64 [2,3], as `eye_transform`.

    Raises:
        InputError: the box has no area.
    """
    x0, y0, x1, y1 = (float(value) for value in box)
    longer = max(x1 - x0, y1 - y0)
    if not (longer > 0 and math.isfinite(longer)):
        raise InputError(f"the box {x0:g}, {y0:g}, {x1:g}, {y1:g} has no area.")
    side = longer * (1 + 2 * margin)
    scale = size / side
    left, top = (x0 + x1 - side) / 2, (y0 + y1 - side) / 2
    return np.array([[scale, 0.0, -left * scale], [0.0, scale, -top * scale]])


def crop_face(
    rgb: NDArray[np.uint8],
    *,
    landmarks: NDArray[np.floating] | None = None,
    box: NDArray[np.floating] | None = None,
    template: CropTemplate | None = None,
    size: int,
    margin: float = BOX_MARGIN,
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Cut one face out, by its eyes where there are a template and landmarks, else by the square around its
    box.

    A profile, whose eyes nearly coincide, is cut by its box as well. What lies outside the picture repeats
    its edge.

    Args:
        rgb: uint8 RGB [H,W,3].
        landmarks: [5,2], or [2,2] with the eyes alone, in pixels; the eye on the left of the picture first.
        box: [4], x0, y0, x1, y1 in pixels.
        template: where the eyes belong.
        size: side of the crop in pixels.
        margin: what a crop by the box adds on each side, as a share of the box's longer side.

    Returns:
        The crop, uint8 RGB [size,size,3], and the transform float64 [2,3] from picture pixels to crop pixels.

    Raises:
        InputError: there is nothing to cut by: no box, and no landmarks or no template.
    """
    matrix: NDArray[np.float64]
    if template is not None and landmarks is not None and eyes_apart(landmarks, box):
        matrix = eye_transform(landmarks[0], landmarks[1], template, size)
    elif box is not None:
        matrix = box_transform(box, size, margin=margin)
    else:
        raise InputError(
            "a face can be cut by its box, or by its eyes and a crop template; neither was given."
        )
    return warp(rgb, matrix, size), matrix


def eyes_apart(landmarks: NDArray[np.floating], box: NDArray[np.floating] | None) -> bool:
    """Whether a face can be cut by its eyes: they are not one behind the other, as in a profile.

    Args:
        landmarks: [5,2] or [2,2], as in `crop_face`.
        box: the face's box [4]; without one, any two eyes that are not in one place will do.
    """
    distance = float(np.hypot(*(landmarks[1] - landmarks[0])))
    if box is None:
        return distance > 0
    return distance >= _LEAST_EYE_DISTANCE * float(max(box[2] - box[0], box[3] - box[1]))


def warp(rgb: NDArray[np.uint8], matrix: NDArray[np.float64], size: int) -> NDArray[np.uint8]:
    """A square part of uint8 RGB [H,W,3] under a similarity transform, antialiased, as uint8 [size,size,3].

    Args:
        rgb: the picture; beyond it, its edge is repeated.
        matrix: float64 [2,3] from picture pixels to crop pixels, as `eye_transform` gives it.
        size: side of the crop in pixels.
    """
    inverse = _inverse(matrix)
    shrink = math.hypot(inverse[0, 0], inverse[1, 0])
    # Far shrinking first averages whole blocks of pixels, so that supersampling stays small.
    block = max(1, int(shrink / 2 + _ROUNDING))
    region, left, top = _region(rgb, inverse, size, pad=2 * block + 2)
    image = Image.fromarray(region)
    if block > 1:
        image = image.reduce(block)
    finer = min(_MOST_SUPERSAMPLING, max(1, math.ceil(shrink / block - _ROUNDING)))
    # From supersampled crop pixels to pixels of the reduced region; Pillow samples at pixel centres by
    # itself.
    lookup = inverse.copy()
    lookup[:, :2] /= finer
    lookup[:, 2] -= (left, top)
    lookup /= block
    side = size * finer
    sampled = image.transform(
        (side, side), Image.Transform.AFFINE, tuple(lookup.ravel().tolist()), Image.Resampling.BILINEAR
    )
    return np.array(sampled.reduce(finer) if finer > 1 else sampled, dtype=np.uint8)


def _inverse(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    # By hand, since a library for linear algebra may round otherwise on another processor.
    (a, b, c), (d, e, f) = matrix.tolist()
    area = a * e - b * d
    rows = [[e, -b, b * f - c * e], [-d, a, c * d - a * f]]
    return np.array([[value / area for value in row] for row in rows])


def _region(
    rgb: NDArray[np.uint8], inverse: NDArray[np.float64], size: int, *, pad: int
) -> tuple[NDArray[np.uint8], int, int]:
    """The part of the picture that the crop touches, its edges repeated outside, and its left and top in
    pixels."""
    corners = np.array([[0, 0], [size, 0], [0, size], [size, size]], dtype=np.float64)
    places = corners[:, :1] * inverse[:, 0] + corners[:, 1:] * inverse[:, 1] + inverse[:, 2]
    left, top = (int(value) for value in np.floor(places.min(axis=0)) - pad)
    right, bottom = (int(value) for value in np.ceil(places.max(axis=0)) + pad)
    height, width = rgb.shape[:2]
    if left >= 0 and top >= 0 and right <= width and bottom <= height:
        return rgb[top:bottom, left:right], left, top
    rows = np.clip(np.arange(top, bottom), 0, height - 1)
    columns = np.clip(np.arange(left, right), 0, width - 1)
    return rgb.take(rows, axis=0).take(columns, axis=1), left, top
