"""What the runtime answers about one face."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Face:
    """One face of a picture and the model's guess about its look."""

    box: tuple[float, float, float, float]
    """x0, y0, x1, y1 in pixels of the upright picture; the whole picture where it came as a crop."""
    landmarks: tuple[tuple[float, float], ...] | None
    """x, y of the eye on the left of the picture, the other eye, the nose, the left and right corner of the
    mouth, in pixels; None where the picture came as a crop."""
    detection_score: float | None
    """How sure the detector is, 0..1; None where the picture came as a crop."""
    probabilities: Mapping[str, float]
    """The probability of each class of the view; they sum to 1."""
    emotion: str
    """The class with the largest probability."""
    confidence: float
    """That probability, 0..1."""
    abstained: bool
    """True where the confidence is below the card's threshold: better said is nothing."""

    def to_dict(self) -> dict[str, Any]:
        """The face as plain JSON-ready values."""
        return {
            "box": list(self.box),
            "landmarks": None if self.landmarks is None else [list(point) for point in self.landmarks],
            "detection_score": self.detection_score,
            "emotion": self.emotion,
            "confidence": self.confidence,
            "abstained": self.abstained,
            "probabilities": dict(self.probabilities),
        }
