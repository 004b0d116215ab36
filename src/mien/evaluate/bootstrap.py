"""Intervals by resampling images, and whether one model is better than another on the same images.

A resample is a row of counts: how often each image was drawn. A statistic takes many such rows at once, so
that 2,000 resamples are a few array operations. Where images belong together (a subject, a set of twins)
whole groups are drawn. Where a model was trained with several seeds, seeds are drawn as well.

Sources: Efron and Tibshirani, "An introduction to the bootstrap" (1993), chapter 13 (percentile intervals);
Davison and Hinkley, "Bootstrap methods and their application" (1997), section 5.2 (basic intervals); Rao and
Wu, JASA 83 (1988), section 2 (n - 1 draws of a few units).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from mien.errors import InputError
from mien.evaluate.image_statistics import METRICS, ImageStatistics
from mien.evaluate.metrics import RESAMPLES

Float: TypeAlias = npt.NDArray[np.float64]
Index: TypeAlias = npt.NDArray[np.int64]
Logits: TypeAlias = npt.NDArray[np.floating]
Statistic: TypeAlias = Callable[[Float], Float]
"""Counts float64 [r, N], whole numbers from 0, to M figures of each resample, float64 [r, M]."""
Verdict: TypeAlias = Literal["better", "worse", "no difference"]

COMPARED: Final = ("accuracy", "macro_recall", "nll")
"""What two models are compared in unless a caller says otherwise."""
LEAST_DIFFERING: Final = 6
"""Fewest images (or groups) on which two models must differ before one is called better: even if one wins all
of five, a sign test gives p = 0.0625. The percentile interval alone would leave out 0 from four on."""
_CHUNK: Final = 1 << 20
"""Most counts held at once."""


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def interval(self) -> tuple[float, float]:
        """Its two ends."""
        return self.low, self.high

    def to_dict(self) -> dict[str, float]:
        """JSON-ready: value, low, high."""
        return asdict(self)


@dataclass(frozen=True)
class Comparison:
    """Model A against model B in one metric on the same images."""

    metric: str
    a: float
    """A's figure, the mean over its seeds."""
    b: float
    difference: float
    """A less B, in the metric's own unit: below 0 is better for A where lower is better."""
    low: float
    """Of the 95 % percentile interval of the difference."""
    high: float
    p_value: float
    """Twice the smaller share of resamples on either side of 0, 0..1. A bootstrap share, not an exact test;
    at least 2 / (resamples + 1)."""
    count: int
    """Images."""
    differing: int
    """Images, or groups where groups are resampled, on which the two differ."""
    seeds: tuple[int, int]
    """Of A and of B; with one each, the verdict is about these two trainings and not about the recipes."""
    verdict: Verdict
    """Of A. `no difference` where the interval holds 0, or fewer than `LEAST_DIFFERING` differ."""

    def sentence(self, a: str, b: str) -> str:
        """The verdict in words, with the names of the two models."""
        if self.verdict == "no difference":
            start = f"no difference in {self.metric} between {a} and {b}"
        else:
            start = f"{a} is {self.verdict} than {b} in {self.metric}"
        return (
            f"{start}: {self.a:.4f} and {self.b:.4f}, difference {self.difference:+.4f} "
            f"(95 % interval {self.low:+.4f} to {self.high:+.4f}; {self.count:,} images, "
            f"{self.seeds[0]} and {self.seeds[1]} seeds)."
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: the fields."""
        return asdict(self)


def bootstrap_intervals(
    labels: npt.NDArray[np.integer],
    logits: Logits | Sequence[Logits],
    metrics: Sequence[str] = tuple(METRICS),
    *,
    groups: Index | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Estimate]:
    """95 % intervals of metrics over images, and over seeds where there are several.

    With S seeds a resample draws images, and S - 1 of the seeds with replacement, which gives the variance of
    a mean over seeds its unbiased size (Rao and Wu); two or three seeds still say little about others.
    Intervals are percentile intervals. Those of the calibration errors are basic ones, cut at 0: an error
    that is a sum of absolute values is larger in a resample than in the whole, and percentiles would add to
    that bias. Basic ones take part of it back; whether an error is more than chance, `by_chance` of
    `mien.evaluate.calibration.calibration_figures` says.

    Args:
        labels: int [N].
        logits: float [N, K], or one such array a seed.
        metrics: names in `mien.evaluate.image_statistics.METRICS`.
        groups: int64 [N], equal for images that are drawn together, such as `mien.data.splits.groups_of`
            gives; none draws single images.
        resamples: how many.
        seed: of the draws.

    Returns:
        Metric to estimate, of which the value is the mean over seeds.

    Raises:
        InputError: predictions that do not fit or are not finite, an unknown metric, or a single group.
    """
    statistics = [ImageStatistics(labels, one, metrics) for one in _per_seed(logits)]
    whole = np.ones((1, len(labels)))
    values = np.mean([statistic(whole)[0] for statistic in statistics], axis=0)
    drawn = draws(statistics, len(labels), groups=groups, resamples=resamples, seed=seed)
    pooled = _pooled(drawn, _seed_weights(len(statistics), resamples, seed))
    found = {}
    for column, name in enumerate(metrics):
        value = float(values[column])
        low, high = (float(edge) for edge in np.quantile(pooled[:, column], [0.025, 0.975]))
        if METRICS[name].interval == "basic":
            low, high = max(0.0, 2 * value - high), max(0.0, 2 * value - low)
        found[name] = Estimate(value, low, high)
    return found


def mean_interval(values: Float, *, groups: Index | None = None) -> Estimate:
    """95 % percentile interval of a mean over images.

    Args:
        values: float64 [N], one value an image, such as a difference in correctness.
        groups: see `bootstrap_intervals`.
    """
    column = np.asarray(values, dtype=np.float64)[:, None]

    def mean(counts: Float) -> Float:
        result: Float = (counts @ column) / counts.sum(1, keepdims=True)
        return result

    if not len(column):
        raise InputError("there is no image to resample; take a split that has some.")
    drawn = draws([mean], len(column), groups=groups)[:, 0, 0]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Estimate(float(column.mean()), float(low), float(high))


def compare(
    labels: npt.NDArray[np.integer],
    a: Logits | Sequence[Logits],
    b: Logits | Sequence[Logits],
    metrics: Sequence[str] = COMPARED,
    *,
    groups: Index | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Comparison]:
    """Paired bootstrap: is A better than B?

    Each resample scores both on the same drawn images. As many seeds on both sides are taken for pairs (the
    first with the first) and drawn as pairs; otherwise each side's are drawn on their own.

    Args:
        labels: int [N].
        a: float [N, K] of model A, or one such array a seed.
        b: the same of model B, on the same images in the same order.
        metrics: names in `mien.evaluate.image_statistics.METRICS`.
        groups: see `bootstrap_intervals`.
        resamples: how many.
        seed: of the draws.

    Returns:
        Metric to comparison.

    Raises:
        InputError: see `bootstrap_intervals`.
    """
    sides = [[ImageStatistics(labels, one, metrics) for one in _per_seed(side)] for side in (a, b)]
    first = len(sides[0])
    whole = np.ones((1, len(labels)))
    value_a, value_b = (np.mean([one(whole)[0] for one in side], axis=0) for side in sides)
    drawn = draws([*sides[0], *sides[1]], len(labels), groups=groups, resamples=resamples, seed=seed)
    weights_a = _seed_weights(first, resamples, seed)
    paired = first == len(sides[1])
    weights_b = weights_a if paired else _seed_weights(len(sides[1]), resamples, seed + 1)
    change = _pooled(drawn[:, :first], weights_a) - _pooled(drawn[:, first:], weights_b)
    found = {}
    for column, name in enumerate(metrics):
        outcomes = [np.mean([one.outcome(name) for one in side], axis=0) for side in sides]
        differing = _units(outcomes[0] != outcomes[1], groups)
        low, high = (float(edge) for edge in np.quantile(change[:, column], [0.025, 0.975]))
        found[name] = Comparison(
            metric=name,
            a=float(value_a[column]),
            b=float(value_b[column]),
            difference=float(value_a[column] - value_b[column]),
            low=low,
            high=high,
            p_value=_two_sided(change[:, column]),
            count=len(labels),
            differing=differing,
            seeds=(first, len(sides[1])),
            verdict=_verdict(low, high, differing, METRICS[name].higher_is_better),
        )
    return found


def draws(
    statistics: Sequence[Statistic],
    count: int,
    *,
    groups: Index | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Float:
    """Statistics of the same resamples of images.

    Args:
        statistics: counts [r, N] to [r, M]; for a metric of another library see `of_rows`.
        count: N, images.
        groups: see `bootstrap_intervals`.
        resamples: how many, R.
        seed: of the draws.

    Returns:
        float64 [R, len(statistics), M].

    Raises:
        InputError: groups that do not fit the images, or fewer than two of them.
    """
    parts = [
        np.stack([statistic(counts) for statistic in statistics], axis=1)
        for counts in resampled_counts(count, groups=groups, resamples=resamples, seed=seed)
    ]
    return np.concatenate(parts)


def resampled_counts(
    count: int, *, groups: Index | None = None, resamples: int = RESAMPLES, seed: int = 0
) -> Iterator[Float]:
    """How often each image is drawn, float64 [r, N], some resamples at a time; arguments as of `draws`."""
    member: Index | None = None
    units = count
    if groups is not None:
        if len(groups) != count:
            raise InputError(f"{len(groups)} groups do not fit {count} images; give one number an image.")
        known, member = np.unique(groups, return_inverse=True)
        units = len(known)
        if units < 2:
            raise InputError("all images are of one group; resample images, or take data of two groups.")
    random = np.random.default_rng(seed)
    rows = max(1, _CHUNK // max(count, 1))
    for start in range(0, resamples, rows):
        size = min(rows, resamples - start)
        drawn = random.integers(0, units, size=(size, units)) + units * np.arange(size)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=size * units).reshape(size, units)
        yield (counts if member is None else counts[:, member]).astype(np.float64)


def of_rows(metric: Callable[[Index], float]) -> Statistic:
    """Any metric as a statistic, one call a resample.

    Args:
        metric: rows int64 [n], images that may come more than once, to a figure.
    """

    def statistic(counts: Float) -> Float:
        rows = np.arange(counts.shape[1])
        return np.array([[metric(np.repeat(rows, row.astype(np.int64)))] for row in counts])

    return statistic


def _per_seed(logits: Logits | Sequence[Logits]) -> Sequence[Logits]:
    single = [logits] if isinstance(logits, np.ndarray) else logits
    if not len(single):
        raise InputError("there are no predictions to resample; give the logits of one seed or more.")
    return single


def _seed_weights(seeds: int, resamples: int, seed: int) -> Float:
    """Share of each seed in each resample, float64 [R, S]."""
    if seeds == 1:
        return np.ones((resamples, 1))
    # A stream of its own, so that the images drawn do not depend on the number of seeds.
    random = np.random.default_rng([seed, seeds])
    return random.multinomial(seeds - 1, np.full(seeds, 1 / seeds), size=resamples) / (seeds - 1)


def _pooled(drawn: Float, weights: Float) -> Float:
    pooled: Float = np.einsum("rsm,rs->rm", drawn, weights)
    return pooled


def _units(images: npt.NDArray[np.bool_], groups: Index | None) -> int:
    return int(images.sum()) if groups is None else len(np.unique(groups[images]))


def _two_sided(change: Float) -> float:
    smaller = min(int((change <= 0).sum()), int((change >= 0).sum()))
    return min(1.0, 2 * (smaller + 1) / (len(change) + 1))


def _verdict(low: float, high: float, differing: int, higher_is_better: bool) -> Verdict:
    if low <= 0 <= high or differing < LEAST_DIFFERING:
        return "no difference"
    return "better" if (low > 0) == higher_is_better else "worse"
