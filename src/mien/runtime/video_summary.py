"""What a whole video came to: who was seen for how long, and the share of each emotion."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mien.runtime.shares import Share, ShareCounter
from mien.runtime.sighting import SeenFrame
from mien.runtime.timeline import Row

APART: Final = (
    "Tracks are not joined into people: a face that leaves and comes back counts as another track. Joining "
    "needs an embedder."
)
"""What a summary without an embedder says."""
_NOBODY: Final = "nobody"


@dataclass(frozen=True)
class SeenPerson:
    """One person, or one track where tracks are not joined."""

    number: int
    """Of the person, or of the track, from 1."""
    tracks: tuple[int, ...]
    first: float
    """Seconds at which they were first seen."""
    last: float
    frames: int
    """In which they were seen."""
    shares: Mapping[str, Share]
    """Of these frames by the emotion with the largest smoothed probability."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        shares = {name: share.to_dict() for name, share in self.shares.items()}
        return {**vars(self), "tracks": list(self.tracks), "shares": shares}


@dataclass(frozen=True)
class VideoSummary:
    """The answer to a whole video."""

    path: Path
    frames: int
    """That were looked at."""
    seconds: float
    """From the first frame to the last that was looked at."""
    damaged: int
    """Packets of the file that could not be decoded and were left out."""
    without_face: Share
    """Of the frames that were looked at."""
    people: tuple[SeenPerson, ...]
    """Those seen longest first; tracks where `joined` is False."""
    joined: bool
    """Whether tracks were joined into people."""
    window: float
    """Seconds of the smoothing, half of it before a frame and half after."""
    block: float
    """Seconds of a block of the intervals, which are 95 % block-bootstrap intervals over time."""
    files: tuple[Path, ...] = ()
    """That were written."""

    @property
    def note(self) -> str:
        """What a reader of the summary must know about its people."""
        return f"Tracks are joined into {len(self.people)} people by an embedder." if self.joined else APART

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            **vars(self),
            "path": str(self.path),
            "without_face": self.without_face.to_dict(),
            "people": [person.to_dict() for person in self.people],
            "note": self.note,
            "files": [str(file) for file in self.files],
        }


@dataclass(frozen=True)
class TrackSpans:
    """When each track was seen, over a whole video."""

    spans: Mapping[int, tuple[float, float]]
    """Track to the seconds at which it was first and last seen."""
    frames: Mapping[int, int]
    """Track to the frames in which it was seen."""
    seconds: float
    """Time of the last frame."""
    looked_at: int
    """Frames that were looked at."""


def track_spans(frames: Iterable[SeenFrame]) -> TrackSpans:
    """One pass over the frames of a video."""
    spans: dict[int, tuple[float, float]] = {}
    counts: dict[int, int] = {}
    seconds, looked_at = 0.0, 0
    for frame in frames:
        seconds = frame.time
        looked_at += 1
        for face in frame.faces:
            first, _ = spans.get(face.track, (frame.time, 0.0))
            spans[face.track] = first, frame.time
            counts[face.track] = counts.get(face.track, 0) + 1
    return TrackSpans(spans, counts, seconds, looked_at)


class Summarizer:
    """Counts the rows of a timeline into the shares of a summary.

    Args:
        labels: the classes that were allowed.
        block: seconds of a block of the intervals.
        column: what tells people apart in a row: `person` or `track`.
    """

    def __init__(self, labels: Sequence[str], block: float, column: str) -> None:
        self._places = {name: place for place, name in enumerate(labels)}
        self._emotions = ShareCounter(len(labels), block)
        self._faces = ShareCounter(2, block)
        self._column = column
        self._last_frame: int | None = None

    def add(self, row: Row) -> None:
        """Take the next row."""
        if row["frame"] != self._last_frame:
            self._last_frame = row["frame"]
            self._faces.add(_NOBODY, row["time"], int(row["track"] is None))
        if row["track"] is not None:
            self._emotions.add(row[self._column], row["time"], self._places[row["emotion"]])

    def without_face(self) -> Share:
        """Of the frames."""
        return self._faces.shares(_NOBODY)[1]

    def people(self, tracks: TrackSpans, people: Mapping[int, int] | None) -> tuple[SeenPerson, ...]:
        """The people, or tracks, those seen longest first."""
        groups: dict[int, list[int]] = {}
        for track in tracks.spans:
            groups.setdefault(track if people is None else people[track], []).append(track)
        seen = []
        for number, members in groups.items():
            counts: NDArray[np.int64] = self._emotions.counts(number)
            seen.append(
                SeenPerson(
                    number=number,
                    tracks=tuple(sorted(members)),
                    first=min(tracks.spans[track][0] for track in members),
                    last=max(tracks.spans[track][1] for track in members),
                    frames=int(counts.sum()),
                    shares=dict(zip(self._places, self._emotions.shares(number), strict=True)),
                )
            )
        return tuple(sorted(seen, key=lambda person: (-person.frames, person.number)))
