"""How much better one column is than another, and whether that is more than chance (DESIGN section 3).

The interval is a paired bootstrap over images: both columns answered the same pictures, so that what is
resampled is each picture's difference in correctness. It says nothing about other seeds; with three seeds or
more, paired by seed, a t interval over the seeds is asked for as well, and a gain has to lie outside both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit  # type: ignore[import-untyped]

from mien.evaluate.bootstrap import LEAST_DIFFERING, mean_interval
from mien.labels import class_view
from mien.report.runs import ReportedRun

Interval: TypeAlias = tuple[float, float]
Verdict: TypeAlias = Literal["gain", "no difference", "loss", "not paired"]

SEEDS_FOR_INTERVAL = 3
"""Fewest seeds of which an interval is given."""


@dataclass(frozen=True)
class Answers:
    """What one run answered on the images of a view, ordered by the image's row in the pack."""

    pack_rows: npt.NDArray[np.int64]
    """int64 [m], ascending."""
    truth: npt.NDArray[np.int64]
    """int64 [m], index into the view's class names."""
    correct: npt.NDArray[np.bool_]
    """bool [m]."""


@dataclass(frozen=True)
class Gain:
    """The difference in accuracy of two columns on one label view."""

    view: str
    """`all` or `7`."""
    count: int
    """Images that were compared; 0 where the columns were not paired."""
    differing: int
    """Images on which the two were not right equally often; 0 where the columns were not paired."""
    seeds: tuple[int, ...]
    """Seeds that both columns have, of which the figures are means; empty where they share none, and the
    figures are means over each column's own."""
    difference: float
    """Mean accuracy of the later column less that of the earlier one, -1..1."""
    interval: Interval | None
    """95 % paired bootstrap interval over images; None where the columns were not paired."""
    seed_interval: Interval | None
    """95 % t interval over the seeds that both columns have; None below three of them."""
    verdict: Verdict
    """`gain` or `loss` only where every interval that there is leaves out 0, and not on fewer images than
    could tell the two apart."""
    reason: str = ""
    """Why there is no pairing."""

    @property
    def intervals(self) -> tuple[Interval, ...]:
        """Those that there are, over images first."""
        return tuple(one for one in (self.interval, self.seed_interval) if one is not None)

    @property
    def smallest_seen(self) -> float | None:
        """Half the width of the widest interval, 0..1: about the smallest true difference that half of such
        comparisons would call a gain or a loss. None where the columns were not paired, or differ on fewer
        images than give an interval that means anything."""
        if self.differing < LEAST_DIFFERING:
            return None
        return max((high - low) / 2 for low, high in self.intervals)


def answers_of(tensors: Mapping[str, npt.NDArray[Any]], names: Sequence[str], view: str) -> Answers:
    """The correctness of saved logits under a label view.

    Args:
        tensors: what `mien.evaluate.split.read_logits` gives: `labels` [M], `pack_rows` [M], `logits`
            float16 [M, K].
        names: the K class names.
        view: `all`, `7` or names; images of other classes are left out and their logits masked (section 3.7).
    """
    columns = np.array([list(names).index(name) for name in class_view(names, view)])
    order = np.argsort(tensors["pack_rows"], kind="stable")
    truth = tensors["labels"][order].astype(np.int64)
    kept = np.isin(truth, columns)
    predicted = columns[tensors["logits"][order][kept][:, columns].astype(np.float32).argmax(1)]
    rows = tensors["pack_rows"][order][kept].astype(np.int64)
    place = np.zeros(len(names), dtype=np.int64)
    place[columns] = np.arange(len(columns))
    return Answers(rows, place[truth[kept]], predicted == truth[kept])


def answers_of_runs(runs: Sequence[ReportedRun], view: str) -> dict[int, Answers]:
    """Seed to answers of a column's runs; empty unless every run kept its logits."""
    kept = {run.seed: answers_of(run.tensors, run.labels, view) for run in runs if run.tensors is not None}
    return kept if len(kept) == len(runs) else {}


def seed_interval(values: Sequence[float]) -> Interval | None:
    """95 % t interval of a mean over seeds; None below three seeds."""
    count = len(values)
    if count < SEEDS_FOR_INTERVAL:
        return None
    half = float(stdtrit(count - 1, 0.975)) * float(np.std(values, ddof=1)) / count**0.5
    mean = float(np.mean(values))
    return mean - half, mean + half


def compare(
    earlier: Mapping[int, Answers],
    later: Mapping[int, Answers],
    *,
    view: str,
    difference: float,
    reason: str = "",
) -> Gain:
    """Compare two columns.

    Where the columns share seeds only those are compared, so that a seed that one of them lacks is no
    difference between them.

    Args:
        earlier: seed to the answers of that seed's run.
        later: the same of the other column.
        view: the label view that the answers are of.
        difference: what the two columns' own accuracies differ by; used where the columns cannot be paired.
        reason: why they must not be paired, where that is known beforehand, such as other data.

    Returns:
        The gain; its difference and intervals are of the saved half-precision logits where the columns are
        paired.
    """
    reason = reason or _unpaired_reason(earlier, later)
    if reason:
        return Gain(view, 0, 0, (), difference, None, None, "not paired", reason)
    shared = tuple(sorted(set(earlier) & set(later)))
    if shared:
        earlier, later = ({seed: column[seed] for seed in shared} for column in (earlier, later))
    change = _mean_correct(later) - _mean_correct(earlier)
    interval = mean_interval(change).interval
    over_seeds = seed_interval([_accuracy(later[seed]) - _accuracy(earlier[seed]) for seed in shared])
    intervals = [interval] if over_seeds is None else [interval, over_seeds]
    differing = int(np.count_nonzero(change))
    verdict = verdict_of(intervals) if differing >= LEAST_DIFFERING else "no difference"
    return Gain(view, len(change), differing, shared, float(change.mean()), interval, over_seeds, verdict)


def verdict_of(intervals: Sequence[Interval]) -> Verdict:
    """`gain` where all intervals lie above 0, `loss` where all lie below, else `no difference`."""
    if all(low > 0 for low, _ in intervals):
        return "gain"
    if all(high < 0 for _, high in intervals):
        return "loss"
    return "no difference"


def _accuracy(answers: Answers) -> float:
    return float(answers.correct.mean())


def _mean_correct(column: Mapping[int, Answers]) -> npt.NDArray[np.float64]:
    mean: npt.NDArray[np.float64] = np.mean(
        [answers.correct for answers in column.values()], axis=0, dtype=np.float64
    )
    return mean


def _unpaired_reason(earlier: Mapping[int, Answers], later: Mapping[int, Answers]) -> str:
    if not earlier or not later:
        return "the logits of one were not kept"
    every = [*earlier.values(), *later.values()]
    first = every[0]
    for other in every[1:]:
        if not np.array_equal(first.pack_rows, other.pack_rows):
            return "they were evaluated on other images"
        if not np.array_equal(first.truth, other.truth):
            return "their images carry other labels"
    return ""
