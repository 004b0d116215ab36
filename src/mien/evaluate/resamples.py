"""What a metric sees: one set of predictions and how often each of its images was drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

Float: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True)
class MetricRule:
    """How a metric is read."""

    higher_is_better: bool = True
    interval: Literal["percentile", "basic"] = "percentile"
    """Kind of bootstrap interval, see `mien.evaluate.bootstrap.bootstrap_intervals`."""
    of_class: bool = True
    """Whether it looks at the predicted class alone, and not at its probability."""


@dataclass(frozen=True)
class Resamples:
    """r resamples of N images of K classes; a single row of ones is the images themselves."""

    labels: npt.NDArray[np.int64]
    """int64 [N], 0 to K - 1."""
    log_probabilities: Float
    """float64 [N, K], natural logarithms."""
    counts: Float
    """float64 [r, N], how often each image was drawn; every row has a sum above 0."""
    confusion: Float
    """float64 [r, K, K], drawn images by class (rows) and by predicted class (columns)."""

    @property
    def recalls(self) -> Float:
        """float64 [r, K], the share of each class that is found; nan for a class that no drawn image has."""
        of_class = self.confusion.sum(2)
        hits = np.diagonal(self.confusion, axis1=1, axis2=2)
        shares: Float = np.divide(hits, of_class, out=np.full_like(of_class, np.nan), where=of_class > 0)
        return shares
