"""Faces of a live picture: answers about each frame as it comes, at a camera's rate.

A whole frame is searched now and then; between, each known face is looked for around the place where it is
expected, which costs a fraction. `mien.runtime.following` is for films: it waits for the next search to know
better where a face was, which a live picture cannot.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mien.faces.detector import Detections, Detector
from mien.runtime.following import search_frame
from mien.runtime.tracking import Box, Tracker

SEARCH_SECONDS: Final = 0.5
"""The whole frame is searched this often, which is how long a face that comes in may stay unseen."""
_AROUND: Final = 0.6
"""Sides of its box that are looked at on each side of where a face is expected."""
_CLOSE_SIDE: Final = 112
"""Longer side in pixels of what is looked at around a face: the face itself is about half of it, and the
cascade's cost grows with the area."""
_MOST_FOLLOWED: Final = 4
"""With more faces one search of the whole frame costs less than looking for each."""


class LiveFollower:
    """Takes the frames of one live picture, in their order.

    Args:
        detector: finds the faces.
    """

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self._tracker = Tracker()
        self._searched = -math.inf
        self._time = -math.inf

    def find(self, rgb: NDArray[np.uint8], time: float) -> tuple[Detections, list[int]]:
        """The faces of a frame and the numbers of their tracks, from 1.

        Args:
            rgb: uint8 RGB [H,W,3].
            time: when the frame came, in seconds; not before the last one.
        """
        time = max(time, self._time)
        known = [track for track in self._tracker.tracks if track.time == self._time]
        found = None
        if known and len(known) <= _MOST_FOLLOWED and time - self._searched < SEARCH_SECONDS:
            found = self._look_around([track.at(time) for track in known], rgb)
        # A face that is lost is searched for at once: it may have jumped, or gone.
        if found is None or len(found) < len(known):
            found = search_frame(self._detector, rgb)
            self._searched = time
        numbers = self._tracker.update(found, time)
        self._time = time
        kept = [place for place, number in enumerate(numbers) if number is not None]
        chosen = Detections(found.boxes[kept], found.scores[kept], found.landmarks[kept])
        return chosen, [number for number in numbers if number is not None]

    def _look_around(self, boxes: Sequence[Box], rgb: NDArray[np.uint8]) -> Detections:
        parts = [part for box in boxes if (part := self._look_at(box, rgb)) is not None]
        if not parts:
            return Detections.none()
        return Detections(
            np.concatenate([part.boxes for part in parts]),
            np.concatenate([part.scores for part in parts]),
            np.concatenate([part.landmarks for part in parts]),
        )

    def _look_at(self, box: Box, rgb: NDArray[np.uint8]) -> Detections | None:
        """The face nearest to the middle of where one is expected."""
        height, width = rgb.shape[:2]
        margin = _AROUND * max(box[2] - box[0], box[3] - box[1])
        x0, y0 = max(0, math.floor(box[0] - margin)), max(0, math.floor(box[1] - margin))
        x1, y1 = min(width, math.ceil(box[2] + margin)), min(height, math.ceil(box[3] + margin))
        if x1 - x0 < 1 or y1 - y0 < 1:
            return None
        found = search_frame(self._detector, rgb[y0:y1, x0:x1], side=_CLOSE_SIDE)
        if not len(found):
            return None
        boxes = found.boxes + np.array([x0, y0, x0, y0], dtype=np.float32)
        middle = np.array([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2])
        centres = (boxes[:, :2] + boxes[:, 2:]) / 2
        best = int(np.linalg.norm(centres - middle, axis=1).argmin())
        landmarks = found.landmarks[best : best + 1] + np.array([x0, y0], dtype=np.float32)
        return Detections(boxes[best : best + 1], found.scores[best : best + 1], landmarks)
