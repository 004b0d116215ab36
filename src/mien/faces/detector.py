"""What a face detector answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mien.errors import InputError

MIN_FACE = 24.0
"""Default side of the smallest face that is looked for, in pixels."""
MIN_SHARE = 0.01
"""The same as a share of the picture's longer side; the larger of the two counts."""

# Places are told in sixteenths of a pixel and scores in ten-thousandths: the last digits of a network differ
# between processors, and neither a crop nor a manifest should. A sixteenth is far below the landmarks' error.
_PARTS_OF_A_PIXEL = 16
_SCORE_DIGITS = 4


@dataclass(frozen=True, eq=False)
class Detections:
    """The faces of one picture, the surest first.

    Coordinates are pixels of the picture as it was given, x to the right and y down from the top left corner;
    the first pixel covers 0..1. Boxes and landmarks may reach beyond the picture.
    """

    boxes: NDArray[np.float32]
    """float32 [N,4]: x0, y0, x1, y1."""
    scores: NDArray[np.float32]
    """float32 [N], 0..1; NaN where a user gave the box."""
    landmarks: NDArray[np.float32]
    """float32 [N,5,2]: x, y of the eye on the left of the picture, the other eye, the nose, the left and the
    right corner of the mouth; NaN where none were found in a box that a user gave."""

    def __post_init__(self) -> None:
        count = len(self.boxes)
        if (
            self.boxes.shape != (count, 4)
            or self.scores.shape != (count,)
            or self.landmarks.shape != (count, 5, 2)
        ):
            raise ValueError(
                f"{self.boxes.shape}, {self.scores.shape}, {self.landmarks.shape} are not [N,4], [N], [N,5,2]"
            )

    def __len__(self) -> int:
        return len(self.boxes)

    @classmethod
    def rounded(
        cls,
        boxes: NDArray[np.floating],
        scores: NDArray[np.floating],
        landmarks: NDArray[np.floating],
    ) -> Detections:
        """Detections with coordinates rounded to 1/16 pixel and scores to four digits, which another
        processor gives as well."""
        return cls(_on_grid(boxes), np.round(scores, _SCORE_DIGITS).astype(np.float32), _on_grid(landmarks))

    @classmethod
    def none(cls) -> Detections:
        """No face at all."""
        return cls(
            np.zeros((0, 4), dtype=np.float32),
            np.zeros(0, dtype=np.float32),
            np.zeros((0, 5, 2), dtype=np.float32),
        )


class Detector(Protocol):
    """Anything that finds faces and their five landmarks."""

    def detect(self, rgb: NDArray[np.uint8]) -> Detections:
        """The faces of uint8 RGB [H,W,3], the surest first."""
        ...


def _on_grid(places: NDArray[np.floating]) -> NDArray[np.float32]:
    return np.asarray(np.rint(places * _PARTS_OF_A_PIXEL) / _PARTS_OF_A_PIXEL, dtype=np.float32)


def check_picture(rgb: NDArray[np.uint8]) -> None:
    """See that a picture is what detectors take.

    Raises:
        InputError: it is not uint8 [H,W,3].
    """
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
        raise InputError(f"the picture must be uint8 [H,W,3], not {rgb.dtype} {list(rgb.shape)}.")
