"""What a face detector answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Detections:
    """The faces of one picture, the surest first.

    Coordinates are pixels of the picture as it was given, x to the right and y down from the top left corner;
    the first pixel covers 0..1. Boxes and landmarks may reach beyond the picture.
    """

    boxes: NDArray[np.float32]
    """float32 [N,4]: x0, y0, x1, y1."""
    scores: NDArray[np.float32]
    """float32 [N], 0..1."""
    landmarks: NDArray[np.float32]
    """float32 [N,5,2]: x, y of the eye on the left of the picture, the other eye, the nose, the left and the
    right corner of the mouth."""

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
