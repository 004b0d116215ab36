"""The one model of the service, shared by all requests: a bounded queue, threads that find faces, a network.

A picture goes through a thread that decodes it, finds its faces and cuts them out, then with others' faces
through the network. The event loop only waits.
"""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mien.apps.service.batching import Batcher
from mien.apps.service.errors import Refused
from mien.apps.service.metrics import Metrics
from mien.card import ModelCard
from mien.config import ServeConfig
from mien.faces.detector import Detections
from mien.images import load_image
from mien.runtime.classifier import Model
from mien.runtime.face import Face, faces_of
from mien.runtime.probabilities import Prior, check_prior_and_view, probabilities

_REMEMBERED: Final = 0.9
"""Weight of the seconds a picture took before in what they are now."""


@dataclass(frozen=True)
class ReadOptions:
    """How faces are to be read.

    Raises:
        InputError: the view or the prior does not fit the model.
    """

    card: ModelCard
    """Of the model."""
    prior: Prior = "training"
    """As in `Model.read`."""
    view: str = "all"
    """As in `Model.read`."""
    threshold: float | None = None
    """Confidence below which an answer is marked as abstained; none takes the card's."""

    def __post_init__(self) -> None:
        check_prior_and_view(self.card, self.prior, self.view)

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes that are named."""
        return self.card.view(self.view)

    def faces(self, found: Detections, logits: NDArray[np.float32]) -> list[Face]:
        """The answers about faces, from the network's."""
        card = self.card
        if self.threshold is not None:
            card = replace(card, abstain_threshold=self.threshold)
        shares = probabilities(logits, card, prior=self.prior, view=self.view)
        return faces_of(card, found, shares, self.view)


@dataclass(frozen=True)
class ReadPicture:
    """What is known of one picture."""

    width: int
    """Of the upright picture, in pixels."""
    height: int
    faces: list[Face]
    faces_found: int
    """More than `faces` where the picture has more than are read."""


Find = Callable[[NDArray[np.uint8]], Detections]
"""The faces of uint8 RGB [H,W,3]."""


class Engine:
    """Reads pictures for many callers at once; made and closed in one event loop.

    Args:
        model: reads the faces.
        config: how much at a time.
        metrics: told what is done.
    """

    def __init__(self, model: Model, config: ServeConfig, metrics: Metrics) -> None:
        self.model, self.config, self.metrics = model, config, metrics
        self.stopping = False
        """Whether new work is refused, since the service is being stopped."""
        self._admitted = 0
        self._seconds = 0.0
        self._batcher = Batcher(model.run, most=config.batch, tell=metrics.batch_faces.observe)
        self._pool = ThreadPoolExecutor(config.workers or os.cpu_count() or 1, "mien-reader")

    def close(self) -> None:
        """Let threads and network go; what still waits is cancelled."""
        self.stopping = True
        self._pool.shutdown(cancel_futures=True)
        self._batcher.close()

    def check_room(self, pictures: int = 1) -> None:
        """Refuse where pictures would find no room in the queue, or the service is being stopped.

        Raises:
            Refused: so it is.
        """
        if self.stopping:
            raise Refused("stopping", "the service is being stopped; try again in a moment.", retry_after=1)
        if self._admitted + pictures > self.config.queue:
            raise Refused(
                "busy",
                f"{self._admitted} pictures are read or wait, of {self.config.queue} that there is room for; "
                "try again in a moment.",
                retry_after=self._retry_after(),
            )

    @contextmanager
    def admitted(self, pictures: int = 1) -> Iterator[None]:
        """Hold room in the queue for pictures.

        Raises:
            Refused: as `check_room`.
        """
        self.check_room(pictures)
        self._admitted += pictures
        self.metrics.waiting.set(self._admitted)
        try:
            yield
        finally:
            self._admitted -= pictures
            self.metrics.waiting.set(self._admitted)

    async def read(
        self,
        picture: bytes | NDArray[np.uint8],
        options: ReadOptions,
        *,
        find: Find | None = None,
        max_pixels: int | None = None,
    ) -> ReadPicture:
        """Read one picture within the deadline.

        Args:
            picture: the bytes of an image file.
            options: how.
            find: finds the faces; none takes the whole picture as one.
            max_pixels: a picture with more is refused; none takes the config's.

        Raises:
            UnreadableImage: the picture cannot be decoded, or is too large.
            Refused: the deadline has passed.
        """
        began = time.perf_counter()
        limit = self.config.pixels if max_pixels is None else max_pixels
        try:
            async with asyncio.timeout(self.config.deadline):
                size, found, count, inputs = await asyncio.wrap_future(
                    self._pool.submit(self._prepare, picture, find, limit)
                )
                logits = np.zeros((0, len(options.card.labels)), np.float32)
                if len(inputs):
                    logits = await asyncio.wrap_future(self._batcher.submit(inputs))
        except TimeoutError:
            raise Refused(
                "late",
                f"the picture was not read within {self.config.deadline:g} s, since others came before it; "
                "try again in a moment.",
                retry_after=self._retry_after(),
            ) from None
        faces = options.faces(found, logits)
        self._note(time.perf_counter() - began, len(faces))
        return ReadPicture(size[1], size[0], faces, count)

    def _prepare(
        self, picture: bytes | NDArray[np.uint8], find: Find | None, max_pixels: int
    ) -> tuple[tuple[int, int], Detections, int, NDArray[np.float32]]:
        """Size, faces, how many were found, and the faces as the network takes them; in a thread."""
        rgb = load_image(picture, max_pixels=max_pixels)
        height, width = rgb.shape[:2]
        if find is None:
            whole = Detections(
                np.array([[0, 0, width, height]], np.float32),
                np.full(1, np.nan, np.float32),
                np.full((1, 5, 2), np.nan, np.float32),
            )
            return (height, width), whole, 1, self.model.inputs(rgb[None])
        found = find(rgb)
        count, most = len(found), self.config.faces
        if count > most:
            found = Detections(found.boxes[:most], found.scores[:most], found.landmarks[:most])
        return (height, width), found, count, self.model.inputs(self.model.crops(rgb, found))

    def _note(self, seconds: float, faces: int) -> None:
        self.metrics.picture_seconds.observe(seconds)
        self.metrics.faces.inc(faces)
        self._seconds = _REMEMBERED * self._seconds + (1 - _REMEMBERED) * seconds

    def _retry_after(self) -> int:
        """Whole seconds in which a picture of late went from upload to answer."""
        return max(1, math.ceil(self._seconds))
