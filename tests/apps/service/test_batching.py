"""Concurrent requests share runs of the network, each gets its own rows, and nothing is waited for."""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError, wait

import numpy as np
import pytest

from mien.apps.service.batching import Batcher


class Network:
    """Gives the sum of each face in two columns; holds every run until it is let go."""

    def __init__(self) -> None:
        self.runs: list[int] = []
        self.entered = threading.Semaphore(0)
        self.go = threading.Semaphore(0)

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        self.runs.append(len(inputs))
        self.entered.release()
        assert self.go.acquire(timeout=10)
        sums = inputs.reshape(len(inputs), -1).sum(1)
        return np.stack([sums, -sums], axis=1)


def faces(*values: float) -> np.ndarray:
    return np.stack([np.full((1, 2, 2), value, np.float32) for value in values])


def test_what_waits_during_a_run_goes_together_and_each_gets_its_own():
    network = Network()
    batcher = Batcher(network, most=8)
    first = batcher.submit(faces(1))
    assert network.entered.acquire(timeout=10)
    others = [batcher.submit(faces(*values)) for values in ((2, 3), (4,), (5, 6, 7))]
    network.go.release(2)
    wait([first, *others], timeout=10)
    batcher.close()
    assert network.runs == [1, 6]
    np.testing.assert_allclose(first.result(), [[4, -4]])
    got = [other.result()[:, 0].tolist() for other in others]
    assert got == [[8, 12], [16], [20, 24, 28]]


def test_a_run_takes_no_more_than_it_may_but_a_large_request_whole():
    network = Network()
    told: list[int] = []
    batcher = Batcher(network, most=4, tell=told.append)
    futures = [batcher.submit(faces(0))]
    assert network.entered.acquire(timeout=10)
    futures += [batcher.submit(faces(*range(count))) for count in (3, 1, 2, 9, 1)]
    network.go.release(9)
    wait(futures, timeout=10)
    batcher.close()
    assert network.runs == told == [1, 4, 2, 9, 1]


def test_batches_of_one_take_each_request_alone():
    network = Network()
    network.go.release(5)
    batcher = Batcher(network, most=1)
    wait([batcher.submit(faces(i)) for i in range(5)], timeout=10)
    batcher.close()
    assert network.runs == [1] * 5


def test_a_request_that_was_given_up_costs_no_run():
    network = Network()
    batcher = Batcher(network, most=8)
    first = batcher.submit(faces(1))
    assert network.entered.acquire(timeout=10)
    given_up, kept = batcher.submit(faces(2)), batcher.submit(faces(3))
    assert given_up.cancel()
    network.go.release(2)
    wait([first, kept], timeout=10)
    batcher.close()
    assert network.runs == [1, 1]
    np.testing.assert_allclose(kept.result(), [[12, -12]])


def test_what_fails_in_one_run_is_told_to_those_in_it_and_the_next_run_goes_on():
    def network(inputs: np.ndarray) -> np.ndarray:
        if (inputs < 0).any():
            raise ValueError("negative")
        return inputs.reshape(len(inputs), -1)

    batcher = Batcher(network, most=8)
    with pytest.raises(ValueError, match="negative"):
        batcher.submit(faces(-1)).result(timeout=10)
    assert batcher.submit(faces(1)).result(timeout=10).shape == (1, 4)
    batcher.close()


def test_closing_ends_the_run_under_way_and_cancels_what_waits():
    network = Network()
    batcher = Batcher(network, most=8)
    running = batcher.submit(faces(1))
    assert network.entered.acquire(timeout=10)
    waiting = batcher.submit(faces(2))
    closing = threading.Thread(target=batcher.close)
    closing.start()
    with pytest.raises(CancelledError):
        waiting.result(timeout=10)
    network.go.release()
    closing.join(timeout=10)
    assert not closing.is_alive()
    np.testing.assert_allclose(running.result(timeout=10), [[4, -4]])
    with pytest.raises(RuntimeError, match="closed"):
        batcher.submit(faces(3))


def test_many_threads_lose_nothing():
    batcher = Batcher(lambda inputs: inputs.reshape(len(inputs), -1)[:, :1] * 2, most=16)
    wrong: list[float] = []

    def ask(start: int) -> None:
        for i in range(start, start + 200):
            got = batcher.submit(faces(i, i + 0.5)).result(timeout=10)
            if got[:, 0].tolist() != [2 * i, 2 * i + 1]:
                wrong.append(i)

    threads = [threading.Thread(target=ask, args=(1000 * n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    batcher.close()
    assert not wrong
