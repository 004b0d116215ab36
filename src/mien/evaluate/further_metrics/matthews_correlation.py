"""Matthews' correlation of predictions and labels for several classes, -1..1 (Gorodkin, Computational Biology
and Chemistry 28, 2004): 0 where one of the two has one class only, without meaning where both have the same.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from mien.evaluate.resamples import Float, MetricRule, Resamples

RULE: Final = MetricRule()


def value(drawn: Resamples) -> Float:
    """See `mien.evaluate.further_metrics.FurtherMetric`."""
    truth, predicted = drawn.confusion.sum(2), drawn.confusion.sum(1)
    total = truth.sum(1)
    hits = np.trace(drawn.confusion, axis1=1, axis2=2)
    together = hits * total - (truth * predicted).sum(1)
    spread = np.sqrt((total**2 - (truth**2).sum(1)) * (total**2 - (predicted**2).sum(1)))
    correlation: Float = np.divide(together, spread, out=np.zeros_like(spread), where=spread > 0)
    one_class = ((truth + predicted) > 0).sum(1) == 1
    return np.where(one_class, np.nan, correlation)
