"""Faces whose boxes a user gives: what is missing for an aligned crop is looked for inside each box."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mien.errors import InputError
from mien.faces.detector import Detections, Detector, check_picture

Boxes = NDArray[np.floating] | Sequence[Sequence[float]]
"""x0, y0, x1, y1 of each face in pixels of the upright picture."""

# Room around a box, as a share of its longer side: other people's boxes may end at the brows or the lips.
_ROOM = 0.5
# A detected face is the one that is meant if it and the box share this much of their union.
_SAME_FACE = 0.25


def faces_in_boxes(rgb: NDArray[np.uint8], boxes: Boxes, detector: Detector | None) -> Detections:
    """The faces in given boxes, in their order, with the landmarks that a detector finds in each.

    The boxes stay as they are given and have no score. Where the detector sees no face in a box, or none is
    given, its landmarks are NaN, and the face will be cut by its box.

    Args:
        rgb: uint8 RGB [H,W,3], upright.
        boxes: of the faces.
        detector: looks at each box with some room around it.

    Raises:
        InputError: `rgb` has another dtype or shape, or a box is not four finite numbers with an area inside
            the picture.
    """
    check_picture(rgb)
    given = _checked(boxes, rgb.shape[:2])
    landmarks = np.full((len(given), 5, 2), np.nan, dtype=np.float32)
    if detector is not None:
        for box, target in zip(given, landmarks, strict=True):
            target[...] = _landmarks_in(rgb, box, detector)
    return Detections(given.astype(np.float32), np.full(len(given), np.nan, dtype=np.float32), landmarks)


def _checked(boxes: Boxes, shape: tuple[int, ...]) -> NDArray[np.float64]:
    try:
        given = np.asarray(boxes, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError("the boxes must be numbers: x0, y0, x1, y1 of each face.") from None
    given = given.reshape(0, 4) if given.size == 0 else given
    if given.ndim != 2 or given.shape[1] != 4:
        raise InputError(f"the boxes must be [N,4], x0, y0, x1, y1 of each face, not {list(given.shape)}.")
    height, width = shape
    inside = np.clip(given, 0, [width, height, width, height])
    fits = np.isfinite(given).all(axis=1) & (inside[:, 2:] > inside[:, :2]).all(axis=1)
    if not fits.all():
        wrong = given[np.argmin(fits)]
        raise InputError(
            f"the box {', '.join(f'{value:g}' for value in wrong)} has no area inside the picture of "
            f"{width}x{height} pixels; give x0, y0, x1, y1."
        )
    return given


def _landmarks_in(
    rgb: NDArray[np.uint8], box: NDArray[np.float64], detector: Detector
) -> NDArray[np.float32]:
    """float32 [5,2] in pixels of the picture, NaN where no face is seen that covers the box."""
    room = _ROOM * float((box[2:] - box[:2]).max())
    height, width = rgb.shape[:2]
    left, top = (max(0, int(value - room)) for value in box[:2])
    right, bottom = (
        min(side, int(np.ceil(value + room))) for side, value in zip((width, height), box[2:], strict=True)
    )
    found = detector.detect(np.ascontiguousarray(rgb[top:bottom, left:right]))
    if len(found):
        corner = np.array([left, top], dtype=np.float32)
        overlaps = overlap(found.boxes + np.tile(corner, 2), box)
        best = int(np.argmax(overlaps))
        if overlaps[best] >= _SAME_FACE:
            return np.asarray(found.landmarks[best] + corner, dtype=np.float32)
    return np.full((5, 2), np.nan, dtype=np.float32)


def overlap(boxes: NDArray[np.floating], other: NDArray[np.floating]) -> NDArray[np.float64]:
    """What each box [N,4] shares with another [4], as a share of their union, float64 [N]."""
    low, high = np.maximum(boxes[:, :2], other[:2]), np.minimum(boxes[:, 2:], other[2:])
    shared = np.maximum(high - low, 0).prod(axis=1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) + (other[2:] - other[:2]).prod()
    return np.asarray(shared / (areas - shared), dtype=np.float64)
