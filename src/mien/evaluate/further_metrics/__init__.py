"""Metrics beside those of the paper's Table 2, one module each: its name is that of the figure.

A module in this folder is a metric by being there; what it has to offer is `FurtherMetric`. Its figure then
stands in what `mien evaluate` prints and keeps, can be resampled and compared
(`mien.evaluate.bootstrap`), and has a column with its interval in the report. CONTRIBUTING.md shows how to
add one.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from types import MappingProxyType
from typing import Protocol, cast

from mien.evaluate.resamples import Float, MetricRule, Resamples


class FurtherMetric(Protocol):
    """What each module here offers."""

    RULE: MetricRule

    def value(self, drawn: Resamples) -> Float:
        """The figure of each resample, float64 [r]; nan where it has no meaning."""


@cache
def further_metrics() -> Mapping[str, FurtherMetric]:
    """Each metric by its name, in alphabetical order."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return MappingProxyType(
        {name: cast("FurtherMetric", import_module(f"{__name__}.{name}")) for name in names}
    )
