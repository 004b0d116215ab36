"""Probabilities of a track steadied over time.

Source for the size of the gain: the ABAW entries of EmotiEffLib, where the mean over neighbouring frames took
the macro F1 on Aff-Wild2 from 0.384 to 0.424.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mien.runtime.sighting import SeenFrame

WINDOW: Final = 1.0
"""Seconds over which probabilities are averaged, half of it before a frame and half after."""
_ROUNDING: Final = 1e-6
"""Seconds by which the clock of a file may be off without a frame falling out of the window."""

Smoothed = tuple[SeenFrame, list[NDArray[np.float64]]]
"""A frame, and for each of its faces the smoothed probabilities, float64 [K]."""


def smooth(frames: Iterable[SeenFrame], window: float = WINDOW) -> Iterator[Smoothed]:
    """Centred moving mean of each track's probabilities.

    The mean is over the frames of the same track that lie at most half the window before or after; frames in
    which the track was not seen do not count, and at its ends the window is cut. A row that summed to 1 still
    does. Only the frames of one window are held.

    Args:
        frames: in the order of their time.
        window: seconds; 0 leaves every probability as it is.

    Returns:
        The same frames in the same order.
    """
    half = window / 2 + _ROUNDING
    waiting: deque[SeenFrame] = deque()
    tracks: dict[int, deque[tuple[float, NDArray[np.float64]]]] = {}

    def release() -> Smoothed:
        frame = waiting.popleft()
        for number, seen in list(tracks.items()):
            while seen and seen[0][0] < frame.time - half:
                seen.popleft()
            if not seen:
                del tracks[number]
        means = [
            np.mean([row for time, row in tracks[face.track] if time <= frame.time + half], axis=0)
            for face in frame.faces
        ]
        return frame, means

    for frame in frames:
        while waiting and waiting[0].time + half < frame.time:
            yield release()
        waiting.append(frame)
        for face in frame.faces:
            row = np.asarray(face.probabilities, dtype=np.float64)
            tracks.setdefault(face.track, deque()).append((frame.time, row))
    while waiting:
        yield release()
