"""Faces of concurrent requests share runs of the network."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future

import numpy as np
from numpy.typing import NDArray

Network = Callable[[NDArray[np.float32]], NDArray[np.float32]]


class Batcher:
    """One thread that runs the network on what waits.

    Nothing is waited for: while one run goes on, others' faces gather, and the next run takes them together.
    So a lone request is answered at once, and the batches grow with the load.

    Args:
        network: float32 [N,C,S,S] to float32 [N,K].
        most: faces of several requests that share a run; a request with more still runs in one.
        tell: called with the faces of each run, before it.
    """

    def __init__(
        self, network: Network, *, most: int, tell: Callable[[int], None] = lambda faces: None
    ) -> None:
        self._network, self._most, self._tell = network, most, tell
        self._waiting: deque[tuple[NDArray[np.float32], Future[NDArray[np.float32]]]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="mien-batcher", daemon=True)
        self._thread.start()

    def submit(self, inputs: NDArray[np.float32]) -> Future[NDArray[np.float32]]:
        """The logits of faces, in time; a future that is cancelled before its run costs nothing.

        Args:
            inputs: float32 [n,C,S,S].

        Raises:
            RuntimeError: the batcher was closed.
        """
        future: Future[NDArray[np.float32]] = Future()
        with self._changed:
            if self._closed:
                raise RuntimeError("the batcher is closed")
            self._waiting.append((inputs, future))
            self._changed.notify()
        return future

    def close(self) -> None:
        """End after the run that goes on; what still waits is cancelled."""
        with self._changed:
            self._closed = True
            for _, future in self._waiting:
                future.cancel()
            self._waiting.clear()
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while batch := self._next():
            inputs = [one for one, _ in batch]
            faces = sum(map(len, inputs))
            self._tell(faces)
            try:
                rows = self._network(np.concatenate(inputs) if len(inputs) > 1 else inputs[0])
            except Exception as error:
                for _, future in batch:
                    future.set_exception(error)
                continue
            start = 0
            for one, future in batch:
                future.set_result(rows[start : start + len(one)])
                start += len(one)

    def _next(self) -> list[tuple[NDArray[np.float32], Future[NDArray[np.float32]]]]:
        """What shares the next run; nothing once the batcher is closed."""
        with self._changed:
            batch: list[tuple[NDArray[np.float32], Future[NDArray[np.float32]]]] = []
            while not batch:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    return []
                faces = 0
                while self._waiting and (not batch or faces + len(self._waiting[0][0]) <= self._most):
                    inputs, future = self._waiting.popleft()
                    if future.set_running_or_notify_cancel():
                        batch.append((inputs, future))
                        faces += len(inputs)
            return batch
