"""Cohen's kappa: agreement with the labels beyond chance, at most 1 (Educational and Psychological
Measurement 20(1), 1960). Chance explains everything where only one class occurs."""

from __future__ import annotations

from typing import Final

import numpy as np

from mien.evaluate.resamples import Float, MetricRule, Resamples

RULE: Final = MetricRule()


def value(drawn: Resamples) -> Float:
    """See `mien.evaluate.further_metrics.FurtherMetric`."""
    truth, predicted = drawn.confusion.sum(2), drawn.confusion.sum(1)
    total = truth.sum(1)
    wrong = total - np.trace(drawn.confusion, axis1=1, axis2=2)
    by_chance = total - (truth * predicted).sum(1) / total
    kappa: Float = 1 - np.divide(wrong, by_chance, out=np.full_like(wrong, np.nan), where=by_chance > 0)
    return kappa
