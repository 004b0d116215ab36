"""Where a model fails: accuracy by slices of the images, with intervals and with many slices allowed for.

Columns come from `mien.evaluate.slice_columns`, or are any lists of values. The test of a slice against all
other images is Fisher's exact one, and Holm's correction (Scandinavian Journal of Statistics 6, 1979) keeps
the chance of a single false alarm over all slices together at 5 % at most, however they overlap.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest, fisher_exact, norm  # type: ignore[import-untyped]

from mien.errors import InputError
from mien.evaluate.bootstrap import resampled_counts
from mien.evaluate.metrics import RESAMPLES, check_predictions

Float: TypeAlias = npt.NDArray[np.float64]
Index: TypeAlias = npt.NDArray[np.int64]
Bool: TypeAlias = npt.NDArray[np.bool_]
SliceVerdict: TypeAlias = Literal["better", "worse", "no difference", "not tested"]

MISSING: Final = "missing"
"""Slice of the images without a value."""
LEAST_TESTED: Final = 10
"""Fewest images, or groups where there are groups, in a slice and in its rest that are tested; fewer are only
shown."""
ALARM: Final = 0.05
"""Most chance of any false alarm over all slices."""


@dataclass(frozen=True)
class SliceColumn:
    """What images are sliced by."""

    values: Sequence[str | None]
    """[N]; None is `MISSING`."""
    order: Sequence[str]
    """Every value, as the slices are to be listed; `MISSING` comes last."""


@dataclass(frozen=True)
class Slice:
    """One slice against all other images."""

    column: str
    value: str
    count: int
    accuracy: float
    low: float
    """Of the 95 % interval of the accuracy: Wilson's, widened to the bootstrap's where there are groups."""
    high: float
    expected: float
    """Accuracy that the slice's mix of classes would have at each class's accuracy over all images: what of a
    gap comes from the classes alone."""
    gap_to_whole: float
    """Accuracy less that of all images."""
    gap: float | None
    """Accuracy less that of all images outside the slice; None where there are none, like what follows."""
    gap_low: float | None
    """Of the 95 % interval of `gap`, for this slice alone."""
    gap_high: float | None
    p_value: float | None
    """Two-sided, of this slice alone; None where it is not tested."""
    p_adjusted: float | None
    """The same after Holm's correction over all tested slices."""
    verdict: SliceVerdict
    """`better` or `worse` only where the adjusted p-value is at most `ALARM`."""


def slice_figures(
    logits: npt.NDArray[np.floating],
    labels: npt.NDArray[np.integer],
    columns: Mapping[str, SliceColumn],
    *,
    groups: Index | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Any]:
    """Accuracy of each value of each column, and the gap to the rest.

    The gap's interval is a two-sample bootstrap: slice and rest are resampled apart, each with half an image
    right and half an image wrong added, so that a slice of one right image is not taken for certain. With
    groups, interval and p-value are at least as cautious as those of resampling whole groups.

    Args:
        logits: float [N, K].
        labels: int [N].
        columns: name to column. One in which all images have the same value makes no slice.
        groups: int64 [N], equal for images that belong together, such as `mien.data.splits.groups_of` gives.
        resamples: how many.
        seed: of the draws.

    Returns:
        JSON-ready: count, accuracy, tested (how many slices), note (one sentence on the correction), and
        slices, fields of `Slice`, in the order of the columns and of their values.

    Raises:
        InputError: predictions that do not fit or are not finite, a column of another length, or groups that
            do not fit.
    """
    check_predictions(logits, labels)
    correct = logits.argmax(1) == labels
    masks = _masks(columns, len(labels))
    recalls = np.array(
        [correct[labels == k].mean() if (labels == k).any() else 0.0 for k in range(logits.shape[1])]
    )
    expected = recalls[labels]
    by_group = None
    if groups is not None and masks:
        by_group = _group_draws(correct, np.stack(list(masks.values()), axis=1), groups, resamples, seed)
    slices: list[dict[str, Any]] = []
    for number, ((column, value), mask) in enumerate(masks.items()):
        grouped = None if by_group is None else by_group[:, :, number]
        entry = _slice(correct, mask, groups, grouped, resamples, seed)
        slices.append({"column": column, "value": value, "expected": float(expected[mask].mean())} | entry)
    _judge(slices)
    tested = sum(one["p_value"] is not None for one in slices)
    return {
        "count": len(labels),
        "accuracy": float(correct.mean()),
        "tested": tested,
        "note": f"{tested} slices were tested; by Holm's correction the chance that any verdict is a false "
        f"alarm is at most {ALARM:.0%}, while each interval is of its slice alone.",
        "slices": [asdict(Slice(**one)) for one in slices],
    }


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment of p-values, in their order."""
    order = np.argsort(p_values, kind="stable")
    sizes = np.arange(len(order), 0, -1)
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(np.asarray(p_values)[order] * sizes))
    return [float(value) for value in adjusted]


def _masks(columns: Mapping[str, SliceColumn], count: int) -> dict[tuple[str, str], Bool]:
    masks: dict[tuple[str, str], Bool] = {}
    for name, column in columns.items():
        if len(column.values) != count:
            raise InputError(
                f"column {name} has {len(column.values)} values for {count} images; give one an image."
            )
        shown = np.array([MISSING if value is None else value for value in column.values])
        known = set(shown.tolist())
        if lost := known - {*column.order, MISSING}:
            raise InputError(f"column {name} holds {min(lost)!r}, which its order does not name.")
        if len(known) > 1:
            order = dict.fromkeys([*column.order, MISSING])
            masks |= {(name, value): shown == value for value in order if value in known}
    return masks


def _slice(
    correct: Bool, mask: Bool, groups: Index | None, grouped: Float | None, resamples: int, seed: int
) -> dict[str, Any]:
    """What `Slice` says of one mask apart from its name, the mix of classes and the correction.

    Args:
        correct: bool [N].
        mask: bool [N], neither empty nor full.
        groups: int64 [N] or None.
        grouped: float64 [2, R], accuracy and gap on resamples of groups; NaN where one lacks the slice.
        resamples: R.
        seed: of the draws.
    """
    hits, count = int(correct[mask].sum()), int(mask.sum())
    rest_hits, rest = int(correct[~mask].sum()), int((~mask).sum())
    accuracy, gap = hits / count, hits / count - rest_hits / rest
    wilson = binomtest(hits, count).proportion_ci(method="wilson")
    low, high = float(wilson.low), float(wilson.high)
    random = np.random.default_rng(seed)
    inside, outside = (
        random.binomial(n, (k + 0.5) / (n + 1), resamples) / n for k, n in ((hits, count), (rest_hits, rest))
    )
    gap_low, gap_high = (float(edge) for edge in np.quantile(inside - outside, [0.025, 0.975]))
    p_value: float = float(fisher_exact([[hits, count - hits], [rest_hits, rest - rest_hits]]).pvalue)
    units = min(count, rest)
    if grouped is not None and groups is not None:
        edges = np.nanquantile(grouped, [0.025, 0.975], axis=1)
        low, high = min(low, float(edges[0, 0])), max(high, float(edges[1, 0]))
        gap_low, gap_high = min(gap_low, float(edges[0, 1])), max(gap_high, float(edges[1, 1]))
        spread = float(np.nanstd(grouped[1]))
        p_value = max(p_value, float(2 * norm.sf(abs(gap) / spread)) if spread > 0 else 0.0)
        units = min(len(np.unique(groups[mask])), len(np.unique(groups[~mask])))
    return {
        "count": count,
        "accuracy": accuracy,
        "low": low,
        "high": high,
        "gap_to_whole": accuracy - float(correct.mean()),
        "gap": gap,
        "gap_low": gap_low,
        "gap_high": gap_high,
        "p_value": p_value if units >= LEAST_TESTED else None,
    }


def _judge(slices: list[dict[str, Any]]) -> None:
    """Add the adjusted p-value and the verdict to each."""
    tested = [one for one in slices if one["p_value"] is not None]
    adjusted = iter(holm([one["p_value"] for one in tested]))
    for one in slices:
        if one["p_value"] is None:
            one |= {"p_adjusted": None, "verdict": "not tested"}
            continue
        p_value = next(adjusted)
        direction = "better" if one["gap"] > 0 else "worse"
        one |= {"p_adjusted": p_value, "verdict": direction if p_value <= ALARM else "no difference"}


def _group_draws(correct: Bool, masks: Bool, groups: Index, resamples: int, seed: int) -> Float:
    """Accuracy and gap of M slices on resamples of groups, float64 [2, R, M]; NaN where there is no image."""
    columns = masks.astype(np.float64)
    hit_columns = columns * correct[:, None]
    drawn = []
    for counts in resampled_counts(len(correct), groups=groups, resamples=resamples, seed=seed):
        inside, inside_hits = counts @ columns, counts @ hit_columns
        outside = counts.sum(1, keepdims=True) - inside
        outside_hits = (counts @ correct)[:, None] - inside_hits
        accuracy = _share(inside_hits, inside)
        drawn.append(np.stack([accuracy, accuracy - _share(outside_hits, outside)]))
    return np.concatenate(drawn, axis=1)


def _share(hits: Float, count: Float) -> Float:
    share: Float = np.divide(hits, count, out=np.full(count.shape, np.nan), where=count > 0)
    return share
