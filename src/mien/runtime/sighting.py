"""What was seen in one frame of a video."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mien.runtime.tracking import Box


@dataclass(frozen=True)
class Sighting:
    """One face in one frame."""

    track: int
    """Number of its track, from 1."""
    box: Box
    """x0, y0, x1, y1 in pixels of the upright frame."""
    score: float | None
    """How sure the detector was, 0..1; None between two searches, where the box lies between theirs."""
    probabilities: tuple[float, ...]
    """Of this frame alone, in the order of the card's labels."""


@dataclass(frozen=True)
class SeenFrame:
    """A frame that was looked at, and its faces by the number of their tracks."""

    index: int
    """Place among all frames of the file, from 0."""
    time: float
    """Seconds since the first frame."""
    faces: tuple[Sighting, ...]

    def to_json(self) -> dict[str, Any]:
        """JSON-ready and short, since a film has hundreds of thousands: pixels to 0.01, shares to 1e-6."""
        return {
            "i": self.index,
            "t": self.time,
            "f": [
                [
                    face.track,
                    [round(value, 2) for value in face.box],
                    None if face.score is None else round(face.score, 4),
                    [round(value, 6) for value in face.probabilities],
                ]
                for face in self.faces
            ],
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> SeenFrame:
        """What `to_json` gave."""
        faces = (Sighting(track, tuple(box), score, tuple(row)) for track, box, score, row in value["f"])
        return cls(value["i"], value["t"], tuple(faces))
