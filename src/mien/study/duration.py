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


def seconds_left(out: Path, plan: Sequence[PlannedRun]) -> float | None:
    """Seconds that the epochs take which a study's runs still lack; None where no epoch was measured.

    An epoch is taken to cost what the median of those in the folder cost, in proportion to the passes of its
    optimizer (`mien.report.comparisons.passes_of`).

    Args:
        out: the study's folder.
        plan: its runs.
    """
    histories = [_history(out / run.name) for run in plan]
    # Passes and epochs of a run that has ended by its budget are not missing.
    missing = sum(
        passes_of(run.config.optim.sam) * (run.config.train.epochs - len(history))
        for run, history in zip(plan, histories, strict=True)
        if not (history and history[-1].get("last"))
    )
    rates = [
        _seconds_a_pass(run.config, history) for run, history in zip(plan, histories, strict=True) if history
    ]
    return float(np.median(rates)) * missing if rates else None


def duration_text(seconds: float) -> str:
    """`4 minutes` below an hour and a half, else `7.3 hours`."""
    minutes = max(1, round(seconds / 60))
    if minutes < 90:
        return f"{minutes} minute{'s' if minutes > 1 else ''}"
    return f"{seconds / 3600:.1f} hours"


def _seconds_a_pass(config: RunConfig, history: Sequence[dict[str, Any]]) -> float:
    """Of one epoch of the base optimizer, validation included."""
    # An entry's training seconds count from the start of the run, its validation seconds are its own.
    validation = sum(entry["validation_seconds"] for entry in history)
    epochs: float = len(history) * passes_of(config.optim.sam)
    return float(history[-1]["seconds"] + validation) / epochs


def _history(run: Path) -> list[dict[str, Any]]:
    path = run / HISTORY
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
