"""Metrics of many resamples of the same predictions at once, from how often each image was drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.special import log_softmax, softmax  # type: ignore[import-untyped]

from mien.errors import InputError
from mien.evaluate.calibration import BINS, bin_numbers, brier_scores, quantile_places
from mien.evaluate.further_metrics import further_metrics
from mien.evaluate.metrics import check_predictions
from mien.evaluate.resamples import Float, MetricRule, Resamples

METRICS: Final[Mapping[str, MetricRule]] = MappingProxyType(
    {
        "accuracy": MetricRule(),
        "macro_precision": MetricRule(),
        "macro_recall": MetricRule(),
        "macro_f1": MetricRule(),
        "weighted_f1": MetricRule(),
        "nll": MetricRule(higher_is_better=False, of_class=False),
        "brier": MetricRule(higher_is_better=False, of_class=False),
        "ece_equal_mass": MetricRule(higher_is_better=False, interval="basic", of_class=False),
        "ece_equal_width": MetricRule(higher_is_better=False, interval="basic", of_class=False),
        **{name: metric.RULE for name, metric in further_metrics().items()},
    }
)
"""Metrics that can be resampled, under the keys of `mien.evaluate.metrics.score` and
`mien.evaluate.calibration.calibration_figures`."""


class ImageStatistics:
    """One set of predictions, ready to be scored on resamples of its images.

    The macro figures are those of `mien.evaluate.metrics.score`: a class that no image has counts as 0. A
    class that only a resample lacks is left out of that resample's mean, since it is not the model's fault.

    Args:
        labels: int [N].
        logits: float [N, K].
        metrics: names in `METRICS`.

    Raises:
        InputError: predictions that do not fit or are not finite, or an unknown metric.
    """

    def __init__(
        self, labels: npt.NDArray[np.integer], logits: npt.NDArray[np.floating], metrics: Sequence[str]
    ) -> None:
        if unknown := [name for name in metrics if name not in METRICS]:
            raise InputError(f"metric {unknown[0]!r} is not one of {', '.join(METRICS)}.")
        check_predictions(logits, labels)
        self.metrics = tuple(metrics)
        scores = logits.astype(np.float64)
        classes = scores.shape[1]
        predicted = scores.argmax(1)
        probabilities = softmax(scores, axis=1)
        rows = np.arange(len(labels))
        self._confidence = probabilities[rows, predicted]
        self._correct = predicted == labels
        self._labels = labels.astype(np.int64)
        self._log_probabilities: Float = log_softmax(scores, axis=1)
        self._nll = -self._log_probabilities[rows, labels]
        self._brier = brier_scores(probabilities, labels)
        self._by_confidence = np.argsort(self._confidence, kind="stable")
        self._width_bin = bin_numbers(self._confidence, "equal_width")
        cell = labels.astype(np.int64) * classes + predicted
        self._by_cell = np.argsort(cell, kind="stable")
        self._cells, self._cell_starts = np.unique(cell[self._by_cell], return_index=True)
        self._classes = classes
        self._present = np.bincount(labels, minlength=classes) > 0

    def outcome(self, metric: str) -> Float:
        """What a metric sees of each image, float64 [N]: right or wrong, or the log-likelihood."""
        return self._correct.astype(np.float64) if METRICS[metric].of_class else self._nll

    def __call__(self, counts: Float) -> Float:
        """Score resamples.

        Args:
            counts: float64 [r, N], how often each image was drawn; every row has a sum above 0.

        Returns:
            float64 [r, M], one column a metric.
        """
        total = counts.sum(1)
        known: dict[str, Float] = {}
        further = further_metrics()
        if any(METRICS[name].of_class or name in further for name in self.metrics):
            confusion = self._confusion(counts)
            known |= self._of_confusion(confusion)
            drawn = Resamples(self._labels, self._log_probabilities, counts, confusion)
        for name in self.metrics:
            if name in further:
                known[name] = further[name].value(drawn)
            elif name == "nll":
                known[name] = counts @ self._nll / total
            elif name == "brier":
                known[name] = counts @ self._brier / total
            elif name == "ece_equal_width":
                known[name] = self._equal_width_error(counts) / total
            elif name == "ece_equal_mass":
                known[name] = self._equal_mass_error(counts) / total
        return np.stack([known[name] for name in self.metrics], axis=1)

    def _confusion(self, counts: Float) -> Float:
        cells = np.zeros((len(counts), self._classes**2))
        cells[:, self._cells] = np.add.reduceat(counts[:, self._by_cell], self._cell_starts, axis=1)
        return cells.reshape(-1, self._classes, self._classes)

    def _of_confusion(self, confusion: Float) -> dict[str, Float]:
        hits = np.diagonal(confusion, axis1=1, axis2=2)
        truth, predicted = confusion.sum(2), confusion.sum(1)
        precision, recall = _ratio(hits, predicted), _ratio(hits, truth)
        f1 = _ratio(2 * hits, truth + predicted)
        counted = (truth > 0) | ~self._present
        total = truth.sum(1)

        def macro(of_class: Float) -> Float:
            mean: Float = np.where(counted, of_class, 0.0).sum(1) / counted.sum(1)
            return mean

        return {
            "accuracy": hits.sum(1) / total,
            "macro_precision": macro(precision),
            "macro_recall": macro(recall),
            "macro_f1": macro(f1),
            "weighted_f1": (f1 * truth).sum(1) / total,
        }

    def _equal_width_error(self, counts: Float) -> Float:
        bins = np.eye(BINS)[self._width_bin]
        error: Float = np.abs(counts @ (bins * (self._correct - self._confidence)[:, None])).sum(1)
        return error

    def _equal_mass_error(self, counts: Float) -> Float:
        """As `mien.evaluate.calibration.bin_numbers` of the drawn images, whose quantiles are found by their
        place among the sorted ones."""
        order = self._by_confidence
        confidence = self._confidence[order]
        drawn = counts[:, order]
        places = np.cumsum(drawn, axis=1)
        gaps = np.cumsum(drawn * (self._correct[order] - confidence), axis=1)
        total = places[:, -1:].astype(np.int64)
        below, share = quantile_places(total)
        above = np.minimum(below + 1, total - 1)
        ends = np.empty((len(counts), BINS + 1), dtype=np.int64)
        ends[:, 0], ends[:, -1] = 0, len(confidence)
        for row, place in enumerate(places):
            low = confidence[np.searchsorted(place, below[row], side="right")]
            high = confidence[np.searchsorted(place, above[row], side="right")]
            edges = low + (high - low) * share[row]
            ends[row, 1:-1] = np.searchsorted(confidence, edges, side="right")
        sums = np.take_along_axis(np.pad(gaps, ((0, 0), (1, 0))), ends, axis=1)
        error: Float = np.abs(np.diff(sums, axis=1)).sum(1)
        return error


def _ratio(numerator: Float, denominator: Float) -> Float:
    """0 where nothing is divided, as scikit-learn's `zero_division=0`."""
    result: Float = np.divide(numerator, denominator, out=np.zeros_like(denominator), where=denominator > 0)
    return result
