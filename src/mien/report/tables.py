"""From runs to rows: Table 2 as measured, figures a class.

Runs that differ in nothing but the seed form one column of the paper's Table 2.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from mien.config import RunConfig, SEPosition, to_dict
from mien.evaluate.analysis_files import AnalysisName
from mien.evaluate.bootstrap import mean_interval
from mien.report.gains import Interval, answers_of_runs, seed_interval
from mien.report.published import SWIN, SWIN_SE, SWIN_SE_SAM, TABLE_2, PublishedColumn
from mien.report.runs import ReportedRun

VIEWS = ("all", "7")
"""The label views of a report, in order."""
POSITIONS = get_args(SEPosition)
"""Where the SE block may lie, `none` first."""
_SEED_KEYS = frozenset({"train.seed", "train.threads"})
_SAM_NAMES = {"sam": "SAM", "looksam": "LookSAM", "esam": "ESAM", "msam": "MSAM"}


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
    """One column of Table 2 as measured: a model trained with one or more seeds, or one that is no run."""

    name: str
    """Unlike any other column's of the report."""
    variant: str
    """What it is, such as `Swin-SE-SAM`, derived from the configs alone; a model that is no run has only its
    name."""
    runs: tuple[ReportedRun, ...]
    """One a seed."""
    parameters: int | None
    """Trained numbers; None where they are not known."""
    epochs: int | None
    """Epochs of the schedule; None where the model is no run of mien's."""
    minutes: float
    """Mean minutes of training, validation left out; nan where no history was kept."""
    kept_epochs: tuple[int, ...]
    """The epoch that validation chose, one a seed; 0 where no history was kept."""
    checkpoint_rule: str
    """How the epoch was chosen; empty where the model is no run of mien's."""
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
        return self.runs[0].record

    @property
    def config(self) -> RunConfig | None:
        """Config of the first seed; None where the model is no run of mien's."""
        return self.runs[0].config


def variant_of(config: RunConfig) -> str:
    """What a model is in the paper's words (Table 2), such as `Swin`, `Swin-SE (stem)-SAM`."""
    name = "Swin" if "swin" in config.model.name else config.model.name
    position = config.model.se.position
    if position != "none":
        name += "-SE" if position == "pooled" else f"-SE ({position.replace('_', ' ')})"
    sam = config.optim.sam
    if sam.rho > 0:
        name += f"-{'A' if sam.adaptive else ''}{_SAM_NAMES[sam.method]}"
    return name


def published_of(config: RunConfig) -> PublishedColumn | None:
    """The paper's column that a config repeats; any place of the SE block counts: the paper names two. ASAM
    and the cheaper relatives of SAM are not the paper's."""
    sam = config.optim.sam
    sharpness_aware = sam.rho > 0
    if "swin" not in config.model.name or (sharpness_aware and (sam.adaptive or sam.method != "sam")):
        return None
    excites = config.model.se.position != "none"
    return {(False, False): SWIN, (True, False): SWIN_SE, (True, True): SWIN_SE_SAM}.get(
        (excites, sharpness_aware)
    )


def is_lengthened(config: RunConfig, others: Sequence[RunConfig]) -> bool:
    """Whether another config is the same with fewer epochs, so that this one is its control."""
    return any(
        other.train.epochs < config.train.epochs and _without_length(other) == _without_length(config)
        for other in others
    )


def _without_length(config: RunConfig) -> RunConfig:
    return replace(
        config,
        optim=replace(config.optim, step_epochs=1),
        train=replace(config.train, epochs=1, seed=0, threads=0),
    )


def analyses_of(
    columns: Sequence[Column], name: AnalysisName, split: str | None = None
) -> dict[str, Mapping[str, Any]]:
    """Column name to the values of an analysis, of the first seed that has it; columns without it are left
    out.

    Args:
        columns: of the report.
        name: of the analysis.
        split: whose images it is of; none takes the reported one.
    """
    found: dict[str, Mapping[str, Any]] = {}
    for column in columns:
        values = next((v for run in column.runs if (v := run.analysis(name, split)) is not None), None)
        if values is not None:
            found[column.name] = values
    return found


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
    """Group runs by everything but the seed; the paper's three come first, in its order, and models that are
    no runs of mien's last, each a column of its own."""
    groups: dict[str, list[ReportedRun]] = {}
    for run in runs:
        key, occurrence = _group_key(run), 0
        # A seed that is there twice is no second seed: its copy becomes a column of its own.
        while run.seed in [other.seed for other in groups.get(f"{key}#{occurrence}", [])]:
            occurrence += 1
        groups.setdefault(f"{key}#{occurrence}", []).append(run)
    configs = [group[0].config for group in groups.values() if group[0].config is not None]
    members = _in_order(list(groups.values()), configs)
    variants = [_variant(group[0], configs) for group in members]
    columns = []
    for group, variant in zip(members, variants, strict=True):
        name = variant if variants.count(variant) == 1 else f"{variant} ({group[0].name})"
        columns.append(_column(group, variant, name, _published(group[0], configs)))
    return tuple(columns)


def _variant(run: ReportedRun, configs: Sequence[RunConfig]) -> str:
    if run.config is None:
        return run.name
    length = f" ({run.config.train.epochs} epochs)" if is_lengthened(run.config, configs) else ""
    return variant_of(run.config) + length


def _published(run: ReportedRun, configs: Sequence[RunConfig]) -> PublishedColumn | None:
    # A control that was trained longer is no column of the paper's.
    if run.config is None or not run.comparable or is_lengthened(run.config, configs):
        return None
    return published_of(run.config)


def _in_order(groups: list[list[ReportedRun]], configs: Sequence[RunConfig]) -> list[list[ReportedRun]]:
    """The first that repeats each of the paper's columns, in its order; then the others."""

    def key(group: list[ReportedRun]) -> tuple[int, bool, int]:
        config = group[0].config
        if config is None:
            return len(TABLE_2) + 1, False, 0
        position = POSITIONS.index(config.model.se.position)
        return _rank(config), is_lengthened(config, configs), position

    ordered = sorted(groups, key=key)
    ranks = [key(group)[0] for group in ordered]
    firsts = {ranks.index(rank) for rank in ranks if rank < len(TABLE_2)}
    rest = [i for i in range(len(ordered)) if i not in firsts]
    return [ordered[i] for i in [*sorted(firsts), *rest]]


def differing(columns: Sequence[Column]) -> dict[str, tuple[Any, ...]]:
    """Settings in which columns differ, the seed left out: dotted name to one value a column.

    Args:
        columns: at least one, all of runs.
    """
    settings = [flat(to_dict(column.config)) for column in columns if column.config is not None]
    return {
        key: tuple(values[key] for values in settings)
        for key in settings[0]
        if key not in _SEED_KEYS and any(values[key] != settings[0][key] for values in settings)
    }


def _group_key(run: ReportedRun) -> str:
    if run.config is None:
        return str(run.folder.resolve())
    settings = {k: v for k, v in flat(to_dict(run.config)).items() if k not in _SEED_KEYS}
    record = run.record
    return json.dumps(
        [settings, record.get("manifest_hash"), record["labels"], record.get("target")], sort_keys=True
    )


def _rank(config: RunConfig) -> int:
    published = published_of(config)
    return TABLE_2.index(published) if published else len(TABLE_2)


def _column(runs: list[ReportedRun], variant: str, name: str, published: PublishedColumn | None) -> Column:
    runs = sorted(runs, key=lambda run: run.seed)
    # An entry's seconds count from the start of the run.
    minutes = [run.history[-1]["seconds"] / 60 for run in runs if run.history]
    views = [view for view in VIEWS if all(view in run.figures for run in runs)]
    config = runs[0].config
    return Column(
        name=name,
        variant=variant,
        runs=tuple(runs),
        parameters=runs[0].record.get("parameters") or None,
        epochs=None if config is None else config.train.epochs,
        minutes=float(np.mean(minutes)) if minutes else float("nan"),
        kept_epochs=tuple(_kept_epoch(run) for run in runs),
        checkpoint_rule="" if config is None else _checkpoint_rule(config),
        figures={view: _view_figures(runs, view) for view in views},
        published=published,
    )


def _checkpoint_rule(config: RunConfig) -> str:
    rule = f"best validation {config.train.selection.replace('_', ' ')}"
    return f"{rule} of the running average" if config.train.ema else rule


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
    answers = answers_of_runs(runs, view)
    if not answers or len({len(part.correct) for part in answers.values()}) > 1:
        return None
    mean: npt.NDArray[np.float64] = np.mean([a.correct for a in answers.values()], axis=0, dtype=np.float64)
    return mean_interval(mean).interval
