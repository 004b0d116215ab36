"""Which face of a frame is which face of the frames before: tracks with numbers, from boxes alone.

Nothing is remembered of how a face looks, so a face that is away for longer than the gap comes back as
another track; `mien.runtime.people` joins tracks where a caller asks for it.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Final

from mien.faces.detector import Detections

GAP: Final = 1.0
"""Seconds a face may stay unseen before its track ends."""
_REACH, _REACH_PER_SECOND, _MOST_REACH = 0.6, 2.0, 2.0
"""How far a face may be from where it was expected, in sides of its box: at once, more for each second since
it was seen, and at most."""
_MOST_GROWTH: Final = 2.0
"""A box that is larger or smaller by more than this is another face."""
_STAYED: Final = 0.5
"""Sides of a box that are added to the distance from where a face was last seen. A face that turns round is
found there; one that walks on behind another is nearer to where its motion leads."""
_MEMORY: Final = 0.5
"""Weight of the velocity before in the new one."""

_TWICE: Final = 0.5
"""A new box that shares this much of the smaller one's area with another is the same face, found twice;
detectors do that to faces that are partly hidden."""

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Track:
    """A face that is being followed."""

    number: int
    """From 1, in the order of appearance; never given twice."""
    box: Box
    """x0, y0, x1, y1 in pixels, where it was last seen."""
    time: float
    """When that was, in seconds."""
    velocity: tuple[float, float]
    """Of the box's centre, in pixels a second."""

    def at(self, time: float) -> Box:
        """Where its box is expected at a time in seconds, moving on as before."""
        x, y = ((time - self.time) * part for part in self.velocity)
        x0, y0, x1, y1 = self.box
        return x0 + x, y0 + y, x1 + x, y1 + y


class Tracker:
    """Gives faces the numbers of their tracks, one search after another.

    Pairs of a track and a face are taken greedily, the nearest first, by one minus the intersection over
    union with the expected box, the distance of the centres in sides of a box, and the change in size.

    Args:
        gap: seconds a face may stay unseen before its track ends; however long ago it was, the last search is
            always looked back to.
    """

    def __init__(self, *, gap: float = GAP) -> None:
        self.gap = gap
        self.tracks: tuple[Track, ...] = ()
        """Those that may still go on."""
        self._last_number = 0
        self._last_time = -math.inf

    def update(self, found: Detections, time: float) -> list[int | None]:
        """The track of each face in the order of `found`; a face that fits none starts a new one, and None
        stands for a face that was found twice.

        Args:
            found: the faces of a frame.
            time: of the frame in seconds; not before the last one.
        """
        since = min(time - self.gap - 1e-6, self._last_time)
        alive = [track for track in self.tracks if track.time >= since]
        boxes: list[Box] = [(float(a), float(b), float(c), float(d)) for a, b, c, d in found.boxes]
        pairs = sorted(
            (cost, place, number)
            for number, track in enumerate(alive)
            for place, box in enumerate(boxes)
            if (cost := _cost(track, box, time)) is not None
        )
        taken: dict[int, int] = {}
        for _, place, number in pairs:
            if place not in taken and number not in taken.values():
                taken[place] = number
        now = {place: _moved(alive[number], boxes[place], time) for place, number in taken.items()}
        for place, box in enumerate(boxes):
            if place not in now and all(_shared(box, track.box) < _TWICE for track in now.values()):
                self._last_number += 1
                now[place] = Track(self._last_number, box, time, (0.0, 0.0))
        followed = {track.number for track in now.values()}
        self.tracks = (*now.values(), *(track for track in alive if track.number not in followed))
        self._last_time = time
        return [now[place].number if place in now else None for place in range(len(boxes))]

    def to_dict(self) -> dict[str, Any]:
        """The tracks as JSON-ready values, to go on from later."""
        return {
            "last_number": self._last_number,
            # JSON has no infinity.
            "last_time": None if self._last_time == -math.inf else self._last_time,
            "tracks": [asdict(track) for track in self.tracks],
        }

    def go_on(self, state: dict[str, Any]) -> None:
        """Take up what `to_dict` gave."""
        self._last_number = state["last_number"]
        self._last_time = -math.inf if state["last_time"] is None else state["last_time"]
        self.tracks = tuple(
            Track(one["number"], tuple(one["box"]), one["time"], tuple(one["velocity"]))
            for one in state["tracks"]
        )


def _moved(track: Track, box: Box, time: float) -> Track:
    passed = time - track.time
    if passed <= 0:
        return Track(track.number, box, time, track.velocity)
    shift = [(b - a) / passed for a, b in zip(_centre(track.box), _centre(box), strict=True)]
    # The first step has no velocity before it that could steady it.
    kept = 0.0 if track.velocity == (0.0, 0.0) else _MEMORY
    x, y = (kept * old + (1 - kept) * new for old, new in zip(track.velocity, shift, strict=True))
    return Track(track.number, box, time, (x, y))


def _cost(track: Track, box: Box, time: float) -> float | None:
    """How badly a face fits a track; None where it cannot be the same."""
    expected = track.at(time)
    side = math.sqrt(_side(track.box) * _side(box))
    growth = abs(math.log(_side(box) / _side(track.box)))
    ahead = math.dist(_centre(expected), _centre(box)) / side
    moved = math.dist(_centre(track.box), _centre(box)) / side
    reach = min(_MOST_REACH, _REACH + _REACH_PER_SECOND * (time - track.time))
    if min(ahead, moved) > reach or growth > math.log(_MOST_GROWTH):
        return None
    return min(ahead, moved + _STAYED) + (1 - _overlap(expected, box)) + growth


def _common(a: Box, b: Box) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return max(0.0, width) * max(0.0, height)


def _area(box: Box) -> float:
    return max(1.0, (box[2] - box[0]) * (box[3] - box[1]))


def _overlap(a: Box, b: Box) -> float:
    """Intersection over union, 0..1."""
    common = _common(a, b)
    return common / (_area(a) + _area(b) - common)


def _shared(a: Box, b: Box) -> float:
    """Intersection over the smaller of two boxes, 0..1."""
    return _common(a, b) / min(_area(a), _area(b))


def _centre(box: Box) -> tuple[float, float]:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def _side(box: Box) -> float:
    return max(1.0, box[2] - box[0], box[3] - box[1])
