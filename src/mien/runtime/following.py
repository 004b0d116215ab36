"""Faces of a video, frame by frame: searched for now and then, followed between, their emotions read in every
frame."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mien.errors import InputError
from mien.faces.align import crop_face
from mien.faces.detector import Detections, Detector
from mien.runtime.classifier import Model
from mien.runtime.embedder import identity_crops
from mien.runtime.people import Embedder, unit_rows
from mien.runtime.probabilities import Prior
from mien.runtime.sighting import SeenFrame, Sighting
from mien.runtime.tracking import GAP, Tracker
from mien.runtime.video_file import Frame

SEARCH_SECONDS: Final = 0.15
"""Faces are searched for in a frame that comes this much or more after the last search: each fifth of 30
frames a second. A face moves nearly straight in such a time, so its place between is interpolated."""
SEARCHED_SIDE: Final = 480
"""Longer side in pixels of the copy that is searched; the smallest face of the detector grows with the
shrinking."""
_MOST_WAITING: Final = 16
_MOST_BYTES: Final = 96 << 20
"""Of the frames that wait for the next search; many large ones bring it forward."""

Places = dict[int, tuple[NDArray[np.float32], NDArray[np.float32], float]]
"""Track to its box [4], landmarks [5,2] and score in one frame."""


class Follower:
    """Takes the frames of one video and gives back what is seen in them, some frames later.

    A track has a face in each frame in which it was found, and in those between two searches that both found
    it; there its box and landmarks lie on the straight line between the two.

    Args:
        model: reads the faces; it needs a detector.
        gap: seconds a face may stay unseen before its track ends.
        prior: as in `Model.read`.
        view: as in `Model.read`.
        embedder: sums up how the face of each track looks; none does not.

    Raises:
        InputError: the model has no detector.
    """

    def __init__(
        self,
        model: Model,
        *,
        gap: float = GAP,
        prior: Prior = "training",
        view: str | Sequence[str] = "all",
        embedder: Embedder | None = None,
    ) -> None:
        if model.detector is None:
            raise InputError("a video needs a face detector; one without is for pictures of cropped faces.")
        self._model, self._detector = model, model.detector
        self._prior, self._view, self._embedder = prior, view, embedder
        self._tracker = Tracker(gap=gap)
        self._waiting: list[Frame] = []
        self._before: Places = {}
        self._searched: float | None = None
        self.embeddings: dict[int, NDArray[np.float64]] = {}
        """Track to the sum of the unit vectors of its faces [D], where there is an embedder."""

    def push(self, frame: Frame) -> list[SeenFrame]:
        """Take the next frame; give the frames that became known by it, none of them twice.

        After a call that gave something no frame waits, and `state` holds all that is needed to go on.
        """
        self._waiting.append(frame)
        most = min(_MOST_WAITING, 1 + _MOST_BYTES // max(1, frame.rgb.nbytes))
        time = frame.position.time
        due = self._searched is None or time - self._searched >= SEARCH_SECONDS - 1e-6
        return self.flush() if due or len(self._waiting) >= most else []

    def flush(self) -> list[SeenFrame]:
        """What is seen in the frames that still wait; the last of them is searched."""
        if not self._waiting:
            return []
        last = self._waiting[-1]
        found = search_frame(self._detector, last.rgb)
        numbers = self._tracker.update(found, last.position.time)
        now: Places = {
            number: (found.boxes[i], found.landmarks[i], float(found.scores[i]))
            for i, number in enumerate(numbers)
            if number is not None
        }
        start = self._searched if self._searched is not None else last.position.time
        placed = [
            now if frame is last else _between(self._before, now, _part(start, frame, last))
            for frame in self._waiting
        ]
        self._embed(last.rgb, now)
        seen = self._read(placed)
        self._before, self._searched, self._waiting = now, last.position.time, []
        return seen

    def _read(self, placed: Sequence[Places]) -> list[SeenFrame]:
        card = self._model.card
        crops = [
            _crop(frame.rgb, box, landmarks, card.template, card.size)
            for frame, places in zip(self._waiting, placed, strict=True)
            for box, landmarks, _ in places.values()
        ]
        faces = np.stack(crops) if crops else np.zeros((0, card.size, card.size, 3), dtype=np.uint8)
        rows = iter(self._model.classify(faces, prior=self._prior, view=self._view))
        seen = []
        for frame, places in zip(self._waiting, placed, strict=True):
            shares = itertools.islice(rows, len(places))
            searched = frame is self._waiting[-1]
            sightings = [
                Sighting(number, _box(box), _known(score) if searched else None, tuple(map(float, row)))
                for (number, (box, _, score)), row in zip(places.items(), shares, strict=True)
            ]
            position = frame.position
            by_number = tuple(sorted(sightings, key=lambda one: one.track))
            seen.append(SeenFrame(position.index, position.time, by_number))
        return seen

    def _embed(self, rgb: NDArray[np.uint8], places: Places) -> None:
        if self._embedder is None or not places:
            return
        crops = identity_crops(rgb, np.stack([landmarks for _, landmarks, _ in places.values()]))
        vectors = unit_rows(self._embedder.embed(crops))
        for number, vector in zip(places, vectors, strict=True):
            self.embeddings[number] = self.embeddings.get(number, np.zeros(len(vector))) + vector

    def state(self) -> dict[str, Any]:
        """What is known, JSON-ready; to be asked for when no frame waits."""
        return {
            "tracker": self._tracker.to_dict(),
            "searched": self._searched,
            "before": [
                [number, box.tolist(), landmarks.tolist(), score]
                for number, (box, landmarks, score) in self._before.items()
            ],
            "embeddings": [[number, vector.tolist()] for number, vector in self.embeddings.items()],
        }

    def go_on(self, state: Mapping[str, Any]) -> None:
        """Take up what `state` gave."""
        self._tracker.go_on(state["tracker"])
        self._searched = state["searched"]
        self._before = {
            number: (np.array(box, dtype=np.float32), np.array(landmarks, dtype=np.float32), score)
            for number, box, landmarks, score in state["before"]
        }
        self.embeddings = {number: np.array(vector) for number, vector in state["embeddings"]}


def follow(follower: Follower, frames: Iterator[Frame]) -> Iterator[SeenFrame]:
    """What is seen in frames, in their order, in bounded memory."""
    for frame in frames:
        yield from follower.push(frame)
    yield from follower.flush()


def search_frame(detector: Detector, rgb: NDArray[np.uint8], *, side: int = SEARCHED_SIDE) -> Detections:
    """The faces of a frame, found in a copy of it that is no larger than need be.

    Args:
        detector: finds faces.
        rgb: uint8 RGB [H,W,3].
        side: longer side of that copy in pixels, at most.
    """
    height, width = rgb.shape[:2]
    shrink = max(width, height) / side
    if shrink <= 1:
        return detector.detect(rgb)
    size = (max(1, round(width / shrink)), max(1, round(height / shrink)))
    small = Image.fromarray(rgb).resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
    found = detector.detect(np.asarray(small))
    scale = np.array([width / size[0], height / size[1]], dtype=np.float32)
    return Detections(found.boxes * np.tile(scale, 2), found.scores, found.landmarks * scale)


def _part(start: float, frame: Frame, last: Frame) -> np.float32:
    """How far a frame is on the way from one search to the next, 0..1."""
    end = last.position.time
    return np.float32((frame.position.time - start) / (end - start) if end > start else 1)


def _between(before: Places, now: Places, part: np.float32) -> Places:
    """Where the faces that two searches found are on the way from one to the other."""
    return {
        number: (
            before[number][0] + part * (box - before[number][0]),
            before[number][1] + part * (landmarks - before[number][1]),
            score,
        )
        for number, (box, landmarks, score) in now.items()
        if number in before
    }


def _crop(
    rgb: NDArray[np.uint8], box: NDArray[np.float32], landmarks: NDArray[np.float32], template: Any, size: int
) -> NDArray[np.uint8]:
    crop, _ = crop_face(rgb, landmarks=landmarks, box=box, template=template, size=size)
    return crop


def _known(score: float) -> float | None:
    return None if math.isnan(score) else score


def _box(box: NDArray[np.float32]) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = (float(value) for value in box)
    return x0, y0, x1, y1
