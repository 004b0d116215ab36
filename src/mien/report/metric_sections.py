"""The metrics beside those of Table 2, with their intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mien.evaluate.bootstrap import bootstrap_intervals
from mien.evaluate.further_metrics import further_metrics
from mien.report.document import Section, Table
from mien.report.tables import Column
from mien.report.wording import DASH

_Figure = dict[str, float | None]
"""`value`, `low`, `high`; None where there is none."""


def further_section(columns: Sequence[Column]) -> Section:
    """Each of `mien.evaluate.further_metrics`, on all classes."""
    names = tuple(further_metrics())
    values = {column.name: _figures(column, names) for column in columns}
    rows = [(column, *(_cell(figures[name]) for name in names)) for column, figures in values.items()]
    better = [name for name, metric in further_metrics().items() if not metric.RULE.higher_is_better]
    notes = ["In brackets the 95 % bootstrap interval over images (and seeds), where the logits were kept."]
    if better:
        notes.append(f"Lower is better in {', '.join(map(_words, better))}; higher in the others.")
    table = Table(
        "All classes, means over seeds",
        ("model", *map(_words, names)),
        tuple(rows),
        notes=tuple(notes),
    )
    return Section("Further metrics", (table,), values=values)


def _words(name: str) -> str:
    return name.replace("_", " ")


def _figures(column: Column, names: Sequence[str]) -> dict[str, _Figure]:
    """The figures as they were evaluated; of an evaluation older than a metric those of the kept logits."""
    resampled = _resampled(column, names)
    figures: dict[str, _Figure] = {}
    for name in names:
        found = [run.figures["all"].get(name) for run in column.runs]
        values = [float(value) for value in found if value is not None]
        estimate = resampled.get(name, {})
        value = float(np.mean(values)) if len(values) == len(found) else estimate.get("value")
        figures[name] = {"value": value, "low": estimate.get("low"), "high": estimate.get("high")}
    return figures


def _resampled(column: Column, names: Sequence[str]) -> Mapping[str, Mapping[str, float | None]]:
    """Metric to value, low and high; empty unless every run kept its logits, of the same images."""
    tensors: list[Mapping[str, Any]] = [run.tensors for run in column.runs if run.tensors is not None]
    labels = [one["labels"] for one in tensors]
    if len(tensors) < len(column.runs) or any(not np.array_equal(one, labels[0]) for one in labels):
        return {}
    found = bootstrap_intervals(labels[0].astype(np.int64), [one["logits"] for one in tensors], names)
    return {
        name: {key: None if math.isnan(number) else number for key, number in one.to_dict().items()}
        for name, one in found.items()
    }


def _cell(figure: _Figure) -> str:
    value, low, high = figure["value"], figure["low"], figure["high"]
    if value is None:
        return DASH
    return f"{value:.4f}" if low is None or high is None else f"{value:.4f} ({low:.4f} to {high:.4f})"
