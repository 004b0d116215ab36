"""Many clients at once: documented answers alone, within the deadline, in constant memory, after a kill too.

The clients are those of benchmarks/serve.py.
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

import pytest

from mien.config import ServeConfig

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
serve_benchmark = pytest.importorskip("serve", reason="the folder benchmarks is not beside the tests")
from serve_load import Server, serving  # noqa: E402


@pytest.mark.parametrize(
    "seconds", [20, pytest.param(600, marks=[pytest.mark.soak, pytest.mark.timeout(900)])]
)
def test_under_load_nothing_fails_and_memory_stays(seconds: int) -> None:
    samples: list[float] = []
    done = threading.Event()
    with serving() as server:

        def watch() -> None:
            while not done.wait(seconds / 60):
                samples.append(server.memory_mb)

        watcher = threading.Thread(target=watch)
        watcher.start()
        results = serve_benchmark.mixed_load(server, seconds)
        done.set()
        watcher.join()
        assert server.stop() == 0
    for name, seen in results.items():
        print(seen.say(name))  # noqa: T201
        assert not seen.unexplained
        assert seen.statuses[200] > seconds
        assert seen.percentile(99) <= 1000 * (ServeConfig().deadline + 1)
    third = len(samples) // 3
    middle, last = max(samples[third : 2 * third]), max(samples[2 * third :])
    print(f"{middle:.0f} MB at most in the middle third, {last:.0f} MB in the last")  # noqa: T201
    assert last - middle < serve_benchmark.GROWTH_MB


@pytest.mark.parametrize("kills", [2, pytest.param(10, marks=pytest.mark.soak)])
def test_killed_under_load_it_serves_again(kills: int) -> None:
    server = Server()
    results: dict = {}
    # A start takes a second or two more than is slept.
    seconds = 6.0 * kills + 4
    loaded = threading.Thread(
        target=lambda: results.update(serve_benchmark.mixed_load(server, seconds, forgiving=True))
    )
    loaded.start()
    starts = []
    for _ in range(kills):
        time.sleep(1.5)
        server.kill()
        server = Server(port=server.port)
        starts.append(server.began)
        time.sleep(1.5)
    loaded.join()
    assert server.stop() == 0
    server.kill()
    ends = sorted(end for seen in results.values() for end in seen.ends)
    waits = [next(end for end in ends if end > start) - start for start in starts]
    print("seconds to the first answer:", " ".join(f"{wait:.2f}" for wait in waits))  # noqa: T201
    assert max(waits) < 30
    assert not [problem for seen in results.values() for problem in seen.unexplained]
