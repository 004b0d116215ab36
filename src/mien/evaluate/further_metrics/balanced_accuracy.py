"""Balanced accuracy: the mean recall of the classes that some image has (Brodersen et al., ICPR 2010)."""

from __future__ import annotations

from typing import Final

import numpy as np

from mien.evaluate.resamples import Float, MetricRule, Resamples

RULE: Final = MetricRule()


def value(drawn: Resamples) -> Float:
    """See `mien.evaluate.further_metrics.FurtherMetric`."""
    mean: Float = np.nanmean(drawn.recalls, axis=1)
    return mean
