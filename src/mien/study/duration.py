"""How long a study will take, from what epochs in its folder took."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mien.config import RunConfig
from mien.models.saved import HISTORY
from mien.progress import Reporter
from mien.report.comparisons import passes_of
from mien.study.ablation import PlannedRun
from mien.study.full import COPIES_FACTOR


class StudyReporter(Reporter):
    """A reporter that says once how long the rest of a study takes, as soon as the first epoch is measured.

    Args:
        reporter: whose console is written to.
        out: the study's folder.
        plan: its runs.
    """

    def __init__(self, reporter: Reporter, out: Path, plan: Sequence[PlannedRun]) -> None:
        super().__init__(reporter.console)
        self._out, self._plan = out, plan
        self._told = seconds_left(out, plan) is not None

    def say(self, text: str) -> None:
        """Print one line above any bar, and after it the study's time, where that has just become known."""
        super().say(text)
        if self._told:
            return
        left = seconds_left(self._out, self._plan)
        if left is not None:
            self._told = True
            super().say(f"what is left of the study takes about {duration_text(left)} at this speed.")


def seconds_left(
    out: Path, plan: Sequence[PlannedRun], *, seconds_a_pass: float | None = None
) -> float | None:
    """Seconds that the epochs take which a study's runs still lack; None where no epoch was measured.

    An epoch is taken to cost what the median of those in the folder cost, in proportion to the images that it
    draws and the passes of its optimizer (`mien.report.comparisons.passes_of`). A run with a budget of time
    takes its budget.

    Args:
        out: the study's folder.
        plan: its runs.
        seconds_a_pass: what `measured_rate` would give; None takes that.
    """
    passes, budgets = 0.0, 0.0
    for run in plan:
        history, train = _history(out / run.name), run.config.train
        # Passes and epochs of a run that has ended by its budget are not missing.
        if history and history[-1].get("last"):
            continue
        if train.max_minutes is None:
            passes += epoch_passes(run.config) * (train.epochs - len(history))
        else:
            budgets += max(0.0, 60 * train.max_minutes - _seconds(history))
    rate = seconds_a_pass or measured_rate(out, plan)
    return None if rate is None else rate * passes + budgets


def measured_rate(out: Path, plan: Sequence[PlannedRun]) -> float | None:
    """Seconds of a pass of the base optimizer over all training images, validation included: the median of
    what the runs of a plan took; None where no epoch was measured."""
    runs = [run for run in plan if run.config.train.max_minutes is None]
    histories = [(run.config, _history(out / run.name)) for run in runs]
    rates = [_seconds(h) / (len(h) * epoch_passes(config)) for config, h in histories if h]
    return float(np.median(rates)) if rates else None


def run_seconds(run: Path) -> float:
    """What a run's epochs took, validation included; 0 before the first."""
    return _seconds(_history(run))


def epoch_passes(config: RunConfig) -> float:
    """What an epoch costs in passes of the base optimizer over all training images."""
    training_set = config.training_set
    drawn = COPIES_FACTOR if training_set.balance == "copies" else training_set.share
    return passes_of(config.optim.sam) * drawn


def duration_text(seconds: float) -> str:
    """`4 minutes` below an hour and a half, else `7.3 hours`."""
    minutes = max(1, round(seconds / 60))
    if minutes < 90:
        return f"{minutes} minute{'s' if minutes > 1 else ''}"
    return f"{seconds / 3600:.1f} hours"


def _seconds(history: Sequence[dict[str, Any]]) -> float:
    """Of all epochs, validation included."""
    if not history:
        return 0.0
    # An entry's training seconds count from the start of the run, its validation seconds are its own.
    return float(history[-1]["seconds"] + sum(entry["validation_seconds"] for entry in history))


def _history(run: Path) -> list[dict[str, Any]]:
    path = run / HISTORY
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
