"""From runs to rows: Table 2 as measured, the gain between its columns, figures a class.

Runs that differ in nothing but the seed form one column of the paper's Table 2.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from mien.config import RunConfig, to_dict
from mien.evaluate.bootstrap import mean_interval
from mien.report.gains import Answers, Gain, Interval, answers_of, compare, seed_interval
from mien.report.published import SWIN, SWIN_SE, SWIN_SE_SAM, PublishedColumn
from mien.report.runs import ReportedRun

VIEWS = ("all", "7")
"""The label views of a report, in order."""
_SEED_KEYS = frozenset({"train.seed", "train.threads"})


@dataclass(frozen=True)
class ViewFigures:
    """Figures of one column on one label view; means over the column's seeds, all shares 0..1."""

    view: str
    """`all` or `7`."""
    labels: tuple[str, ...]
    """The classes of the view."""
    count: int
    """Images."""
    accuracy: float
    """Share of images whose most probable class is the label."""
    interval: Interval | None
    """95 % bootstrap interval of the accuracy over images; None where several seeds kept no logits."""
    seed_interval: Interval | None
    """95 % t interval of the accuracy over seeds; None below three seeds."""
    macro_recall: float
    """Mean over classes of the share found."""
    precision: float
    """Weighted precision."""
    recall: float
    """Weighted recall; equals the accuracy."""
    f1: float
    """Weighted F1."""
    per_class: Mapping[str, Mapping[str, float]]
    """Class to precision, recall, f1 and count."""
    confusion: tuple[tuple[int, ...], ...]
    """Rows truth, columns prediction; summed over seeds."""


@dataclass(frozen=True)
class Column:
    """One column of Table 2 as measured: a model trained with one or more seeds."""

    name: str
    """Unlike any other column's of the report."""
    variant: str
    """What it is, such as `Swin-SE-SAM`; derived from the config alone."""
    runs: tuple[ReportedRun, ...]
    """One a seed."""
    parameters: int
    """Trained numbers."""
    epochs: int
    """Epochs of the schedule."""
    minutes: float
    """Mean minutes of training, validation left out; nan where no history was kept."""
    kept_epochs: tuple[int, ...]
    """The epoch that validation chose, one a seed; 0 where no history was kept."""
    checkpoint_rule: str
    """How the epoch was chosen."""
    figures: Mapping[str, ViewFigures]
    """Label view to figures."""
    published: PublishedColumn | None
    """The paper's column, where this is one of its three and the classes are the paper's."""

    @property
    def seeds(self) -> tuple[int, ...]:
        """One a run."""
        return tuple(run.seed for run in self.runs)

    @property
    def record(self) -> Mapping[str, Any]:
        """run.json of the first seed."""
        return self.runs[0].saved.record

    @property
    def config(self) -> RunConfig:
        """Config of the first seed."""
        return self.runs[0].saved.config


@dataclass(frozen=True)
class ColumnGain:
    """What the step from one column to the next brings."""

    earlier: Column
    """Compared from."""
    later: Column
    """Compared to."""
    changed: tuple[str, ...]
    """Config keys in which they differ, the seed left out."""
    gains: tuple[Gain, ...]
    """One a label view that both have."""
    published: float | None
    """The paper's difference in 7-class accuracy, where both columns are neighbours in its Table 2."""


def variant_of(config: RunConfig) -> str:
    """What a model is in the paper's words (Table 2), such as `Swin`, `Swin-SE (stem)-SAM`."""
    name = "Swin" if "swin" in config.model.name else config.model.name
    position = config.model.se.position
    if position != "none":
        name += "-SE" if position == "pooled" else f"-SE ({position.replace('_', ' ')})"
    if config.optim.sam.rho > 0:
        name += "-ASAM" if config.optim.sam.adaptive else "-SAM"
    return name


def published_of(config: RunConfig) -> PublishedColumn | None:
    """The paper's column that a config repeats; any place of the SE block counts: the paper names two."""
    if "swin" not in config.model.name or (config.optim.sam.adaptive and config.optim.sam.rho > 0):
        return None
    excites, sharpness_aware = config.model.se.position != "none", config.optim.sam.rho > 0
    return {(False, False): SWIN, (True, False): SWIN_SE, (True, True): SWIN_SE_SAM}.get(
        (excites, sharpness_aware)
    )


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as dotted names, such as `model.se.position`."""
    result: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            result |= flat(value, f"{prefix}{key}.")
        else:
            result[prefix + key] = value
    return result


def columns_of(runs: Sequence[ReportedRun]) -> tuple[Column, ...]:
    """Group runs by everything but the seed; the paper's three come first, in its order."""
    groups: dict[str, list[ReportedRun]] = {}
    for run in runs:
        key, occurrence = _group_key(run), 0
        # A seed that is there twice is no second seed: its copy becomes a column of its own.
        while run.seed in [other.seed for other in groups.get(f"{key}#{occurrence}", [])]:
            occurrence += 1
        groups.setdefault(f"{key}#{occurrence}", []).append(run)
    members = sorted(groups.values(), key=lambda group: _rank(group[0].saved.config))
    variants = [variant_of(group[0].saved.config) for group in members]
    return tuple(
        _column(group, variant, variant if variants.count(variant) == 1 else f"{variant} ({group[0].name})")
        for group, variant in zip(members, variants, strict=True)
    )


def gains_of(columns: Sequence[Column]) -> tuple[ColumnGain, ...]:
    """Each column against the one before it."""
    return tuple(_column_gain(earlier, later) for earlier, later in pairwise(columns))


def differing(columns: Sequence[Column]) -> dict[str, tuple[Any, ...]]:
    """Settings in which columns differ, the seed left out: dotted name to one value a column."""
    settings = [flat(to_dict(column.config)) for column in columns]
    return {
        key: tuple(values[key] for values in settings)
        for key in settings[0]
        if key not in _SEED_KEYS and any(values[key] != settings[0][key] for values in settings)
    }


def _group_key(run: ReportedRun) -> str:
    settings = {k: v for k, v in flat(to_dict(run.saved.config)).items() if k not in _SEED_KEYS}
    record = run.saved.record
    return json.dumps(
        [settings, record.get("manifest_hash"), record["labels"], record.get("target")], sort_keys=True
    )


def _rank(config: RunConfig) -> int:
    order = (SWIN, SWIN_SE, SWIN_SE_SAM)
    published = published_of(config)
    return order.index(published) if published else len(order)


def _column(runs: list[ReportedRun], variant: str, name: str) -> Column:
    runs = sorted(runs, key=lambda run: run.seed)
    config = runs[0].saved.config
    # An entry's seconds count from the start of the run.
    minutes = [run.history[-1]["seconds"] / 60 for run in runs if run.history]
    rule = f"best validation {config.train.selection.replace('_', ' ')}"
    if config.train.ema:
        rule += " of the running average"
    views = [view for view in VIEWS if all(view in run.figures for run in runs)]
    return Column(
        name=name,
        variant=variant,
        runs=tuple(runs),
        parameters=int(runs[0].saved.record.get("parameters", 0)),
        epochs=config.train.epochs,
        minutes=float(np.mean(minutes)) if minutes else float("nan"),
        kept_epochs=tuple(_kept_epoch(run) for run in runs),
        checkpoint_rule=rule,
        figures={view: _view_figures(runs, view) for view in views},
        published=published_of(config) if runs[0].comparable else None,
    )


def _kept_epoch(run: ReportedRun) -> int:
    return max((int(entry["epoch"]) for entry in run.history if entry.get("kept")), default=0)


def _view_figures(runs: Sequence[ReportedRun], view: str) -> ViewFigures:
    entries = [run.figures[view] for run in runs]

    def mean(key: str) -> float:
        return float(np.mean([entry[key] for entry in entries]))

    labels = tuple(entries[0]["labels"])
    return ViewFigures(
        view=view,
        labels=labels,
        count=int(entries[0]["count"]),
        accuracy=mean("accuracy"),
        interval=_interval(runs, view),
        seed_interval=seed_interval([entry["accuracy"] for entry in entries]),
        macro_recall=mean("macro_recall"),
        precision=mean("weighted_precision"),
        recall=mean("weighted_recall"),
        f1=mean("weighted_f1"),
        per_class={
            label: {
                key: float(np.mean([entry["per_class"][label][key] for entry in entries]))
                for key in ("precision", "recall", "f1", "count")
            }
            for label in labels
        },
        confusion=tuple(
            tuple(int(n) for n in row) for row in np.sum([entry["confusion"] for entry in entries], axis=0)
        ),
    )


def _interval(runs: Sequence[ReportedRun], view: str) -> Interval | None:
    if len(runs) == 1:
        low, high = runs[0].figures[view]["accuracy_interval"]
        return float(low), float(high)
    answers = _answers(runs, view)
    if not answers or len({len(part.correct) for part in answers.values()}) > 1:
        return None
    mean: npt.NDArray[np.float64] = np.mean([a.correct for a in answers.values()], axis=0, dtype=np.float64)
    return mean_interval(mean).interval


def _answers(runs: Sequence[ReportedRun], view: str) -> dict[int, Answers]:
    """Seed to answers; empty unless every run kept its logits."""
    kept = {
        run.seed: answers_of(run.tensors, run.saved.labels, view) for run in runs if run.tensors is not None
    }
    return kept if len(kept) == len(runs) else {}


def _column_gain(earlier: Column, later: Column) -> ColumnGain:
    views = [view for view in VIEWS if view in earlier.figures and view in later.figures]
    reason = ""
    if earlier.record["labels"] != later.record["labels"]:
        reason, views = "their classes differ", ["all"]
    elif earlier.record.get("manifest_hash") != later.record.get("manifest_hash"):
        reason = "their data differ (another manifest)"
    gains = []
    for view in views:
        difference = later.figures[view].accuracy - earlier.figures[view].accuracy
        before = {} if reason else _answers(earlier.runs, view)
        after = {} if reason else _answers(later.runs, view)
        gains.append(compare(before, after, view=view, difference=difference, reason=reason))
    published = None
    pair = (earlier.published, later.published)
    if pair in {(SWIN, SWIN_SE), (SWIN_SE, SWIN_SE_SAM)} and pair[0] and pair[1]:
        published = pair[1].accuracy - pair[0].accuracy
    return ColumnGain(earlier, later, tuple(differing([earlier, later])), tuple(gains), published)
