"""Where the eyes lie in a set of pictures that came cropped, found by running the detector on their enlarged
copies."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mien.card import CropTemplate
from mien.errors import InputError
from mien.faces.detector import Detector

DEFAULT_TEMPLATE = CropTemplate(
    left_eye=(0.31793, 0.38998), right_eye=(0.69496, 0.382), detected=0.8925, spread=0.14016, count=400
)
"""Where the eyes lie in FER-2013: what `measure_template` finds in 400 training pictures of FER+.

It is for data without cropped faces to measure: its faces then are cut as those of the set that most models
are compared on.
"""

_SIDE = 192
_PAD = 32
_LEAST_COUNT = 5
_LEAST_SHARE = 0.2


def measure_template(
    faces: NDArray[np.uint8], detector: Detector | None = None, *, limit: int = 2000
) -> CropTemplate | None:
    """The median place of the eyes in cropped faces.

    Args:
        faces: uint8 [N,H,W,C], C = 1 (grey) or 3 (RGB); each picture shows one face.
        detector: finds the eyes; none takes MTCNN, set to faces that fill at least a third of the picture.
        limit: at most so many pictures, evenly spread over `faces`, are measured.

    Returns:
        The template with the share detected and the spread, or None where fewer than a fifth of the pictures,
        or fewer than five, show a face that the detector finds: drawn faces, or pictures that are not cropped
        faces.

    Raises:
        InputError: `faces` has another dtype or shape.
    """
    if faces.dtype != np.uint8 or faces.ndim != 4 or faces.shape[3] not in (1, 3):
        raise InputError(f"faces must be uint8 [N,H,W,1 or 3], not {faces.dtype} {list(faces.shape)}.")
    if not len(faces):
        return None
    if detector is None:
        from mien.faces.mtcnn import MTCNNDetector

        detector = MTCNNDetector(min_face=_SIDE / 3)
    chosen = np.unique(np.linspace(0, len(faces) - 1, num=min(limit, len(faces))).round().astype(int))
    found = [eyes for index in chosen if (eyes := _eyes_of(faces[index], detector)) is not None]
    if len(found) < _LEAST_COUNT or len(found) < _LEAST_SHARE * len(chosen):
        return None
    eyes = np.stack(found)
    middle = np.median(eyes, axis=0)
    distance = float(np.hypot(*(middle[1] - middle[0])))
    away = np.hypot(*np.moveaxis(eyes - middle, -1, 0))
    return CropTemplate(
        left_eye=(round(float(middle[0, 0]), 5), round(float(middle[0, 1]), 5)),
        right_eye=(round(float(middle[1, 0]), 5), round(float(middle[1, 1]), 5)),
        detected=round(len(found) / len(chosen), 5),
        spread=round(float(np.median(away)) / distance, 5),
        count=len(chosen),
    )


def _eyes_of(face: NDArray[np.uint8], detector: Detector) -> NDArray[np.float64] | None:
    """The eyes [2,2] of the largest face as shares of the picture's sides, or None."""
    rgb = np.repeat(face, 3, axis=2) if face.shape[2] == 1 else face
    image = Image.fromarray(np.ascontiguousarray(rgb)).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)
    # A face that fills its picture is found more often with some room around it.
    framed = np.pad(np.asarray(image), ((_PAD, _PAD), (_PAD, _PAD), (0, 0)), mode="edge")
    found = detector.detect(framed)
    if not len(found):
        return None
    sides = found.boxes[:, 2:] - found.boxes[:, :2]
    eyes = found.landmarks[int(np.argmax(sides.prod(axis=1))), :2]
    return (eyes.astype(np.float64) - _PAD) / _SIDE
