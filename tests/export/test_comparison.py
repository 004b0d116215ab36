"""Files side by side: ratios are of the same round, and what is printed is what was measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mien.export import comparison
from mien.export.comparison import BATCHES, compare_files, comparison_table


class Clock:
    """Time as the models below let it pass."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


class Timed:
    """Takes `once` seconds a call and `each` a face, times whatever slows the whole machine down."""

    def __init__(self, clock: Clock, slowness: list[float], path: Path, once: float, each: float) -> None:
        self.path, self._clock, self._slowness = path, clock, slowness
        self._once, self._each = once, each

    def logits(self, faces: np.ndarray) -> None:
        self._slowness[0] *= 1.05
        self._clock.now += self._slowness[0] ** 0.02 * (self._once + self._each * len(faces))


def test_ratios_and_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, slowness = Clock(), [1.0]
    monkeypatch.setattr(comparison, "time", clock)
    for name, length in (("a", 4_000_000), ("b", 1_000_000)):
        (tmp_path / name).write_bytes(bytes(length))
    models: Any = [
        Timed(clock, slowness, tmp_path / "a", once=0.004, each=0.004),
        Timed(clock, slowness, tmp_path / "b", once=0.003, each=0.001),
    ]
    faces = np.zeros((5, 4, 4, 1), dtype=np.uint8)
    slow, quick = compare_files(["fp32", "int8"], models, [0.75, 0.5], faces)
    assert slow.speed == (1.0, 1.0)
    assert quick.speed[0] == pytest.approx(0.008 / 0.004, rel=0.02)
    assert quick.speed[1] == pytest.approx((0.004 + 32 * 0.004) / (0.003 + 32 * 0.001), rel=0.02)
    assert [len(file.milliseconds) for file in (slow, quick)] == [len(BATCHES)] * 2
    assert slow.milliseconds[0] / quick.milliseconds[0] == pytest.approx(2, rel=0.1)
    lines = comparison_table((slow, quick)).splitlines()
    assert lines[1].split()[:3] == ["fp32", "4.00", "0.7500"]
    assert lines[2].split()[:3] == ["int8", "1.00", "0.5000"]
    assert f"({quick.speed[1]:.2f}x)" in lines[2]
    assert len({len(line) for line in lines}) == 1
