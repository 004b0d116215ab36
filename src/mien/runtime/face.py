"""What the runtime answers about one face."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.card import ModelCard
from mien.faces.detector import Detections

PLACE_COLUMNS = ("x0", "y0", "x1", "y1")
"""The columns of a box in a table."""


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

    def to_row(self) -> dict[str, Any]:
        """The face as one flat row: `emotion`, `confidence`, `abstained`, `x0`, `y0`, `x1`, `y1`,
        `detection_score` and `p.<label>`; pixels to 0.01, shares to 0.000001."""
        places = (round(value, 2) for value in self.box)
        return {
            "emotion": self.emotion,
            "confidence": round(self.confidence, 6),
            "abstained": self.abstained,
            **dict(zip(PLACE_COLUMNS, places, strict=True)),
            "detection_score": None if self.detection_score is None else round(self.detection_score, 6),
            **{f"p.{name}": round(value, 6) for name, value in self.probabilities.items()},
        }

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


def faces_of(
    card: ModelCard, found: Detections, shares: NDArray[np.floating], view: str | Sequence[str]
) -> list[Face]:
    """The answers about faces that were found.

    Args:
        card: of the model.
        found: where they are.
        shares: float [N,K], probabilities in the order of the card's labels.
        view: the classes that are named.
    """
    return [
        face_of(
            card,
            row,
            view,
            box=found.boxes[i],
            # Not a number where a user gave the box: JSON has no NaN.
            landmarks=found.landmarks[i] if np.isfinite(found.landmarks[i]).all() else None,
            score=float(found.scores[i]) if np.isfinite(found.scores[i]) else None,
        )
        for i, row in enumerate(shares)
    ]


def face_of(
    card: ModelCard,
    shares: NDArray[np.floating],
    view: str | Sequence[str],
    *,
    box: Iterable[float],
    landmarks: NDArray[np.floating] | None = None,
    score: float | None = None,
) -> Face:
    """The answer about one face.

    Args:
        card: of the model.
        shares: float [K], probabilities in the order of the card's labels.
        view: the classes that are named.
        box: x0, y0, x1, y1 in pixels.
        landmarks: float [5,2] in pixels, where they are known.
        score: of the detection, where there is one.
    """
    kept = set(card.view(view))
    named = {name: float(p) for name, p in zip(card.labels, shares, strict=True) if name in kept}
    emotion = max(named, key=lambda name: named[name])
    x0, y0, x1, y1 = (float(value) for value in box)
    return Face(
        box=(x0, y0, x1, y1),
        landmarks=None if landmarks is None else tuple((float(x), float(y)) for x, y in landmarks),
        detection_score=score,
        probabilities=named,
        emotion=emotion,
        confidence=named[emotion],
        abstained=card.abstain_threshold is not None and named[emotion] < card.abstain_threshold,
    )
