"""Table 2 as measured, beside what the paper prints, and what each of its rows is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from mien.report.document import Block, Section, Table, Text
from mien.report.published import TEST_IMAGES
from mien.report.tables import Column, ViewFigures
from mien.report.wording import DASH, joined, percent, percent_interval, published_cells, seeds_sentence

SHORT_HASH: Final = 12
"""Hexadecimal digits of a manifest's hash that are printed; "How it was made" holds the whole of it."""


def figures_section(columns: tuple[Column, ...]) -> Section:
    """The figures of every column: 7 classes beside the paper's, then all classes, then what each row is."""
    blocks: list[Block] = []
    split = columns[0].runs[0].split
    own = [column for column in columns if not column.runs[0].comparable]
    seven = [column for column in columns if column.runs[0].comparable and "7" in column.figures]
    if seven:
        blocks.append(_seven_table(seven, split))
    for labels in dict.fromkeys(tuple(column.record["labels"]) for column in own):
        names = joined([column.name for column in own if tuple(column.record["labels"]) == labels])
        blocks.append(
            Text(
                f"No comparison with the paper for {names}: its Table 2 is on seven of the paper's eight "
                f"emotions, and the classes here are {joined(labels)}."
            )
        )
    blocks += [_all_table(columns, split), _column_table(columns)]
    return Section("Table 2, measured", tuple(blocks))


def _seven_table(columns: Sequence[Column], split: str) -> Table:
    head = ("accuracy", "precision", "recall", "F1")
    rows = []
    for column in columns:
        figures = column.figures["7"]
        measured = (figures.accuracy, figures.precision, figures.recall, figures.f1)
        accuracy, *others = (percent(value, 2) for value in measured)
        rows.append(
            (
                column.name,
                accuracy,
                percent_interval(figures.interval),
                *others,
                *published_cells(column.published),
            )
        )
    return Table(
        caption=(
            "7 classes, contempt left out, as in the paper's Table 2: measured on "
            f"{columns[0].figures['7'].count:,} {split} images, beside what the paper prints"
        ),
        columns=("model", head[0], "95 % interval", *head[1:], *(f"paper: {name}" for name in head)),
        rows=tuple(rows),
        notes=(
            f"The paper's numbers are on other images ({TEST_IMAGES.value:,.0f} of AffectNet, 500 a class), "
            "from one run without an interval: they stand beside ours to be read, not to be subtracted. "
            "Precision, recall and F1 are weighted by class size. Weighted recall equals accuracy on one "
            "set of images; the paper prints two different numbers.",
        ),
    )


def _all_table(columns: tuple[Column, ...], split: str) -> Table:
    rows, notes = [], []
    for column in columns:
        figures = column.figures["all"]
        shares = (figures.macro_recall, figures.precision, figures.recall, figures.f1)
        rows.append(
            (
                column.name,
                f"{figures.count:,}",
                percent(figures.accuracy, 2),
                percent_interval(figures.interval),
                percent_interval(figures.seed_interval),
                *(percent(share, 2) for share in shares),
            )
        )
    notes.append(_majority_sentence(columns[0].figures["all"]))
    if seeds := seeds_sentence(columns):
        notes.append(seeds)
    return Table(
        caption=f"All {_class_count(columns)} classes, {split} split",
        columns=(
            "model",
            "images",
            "accuracy",
            "95 % interval, images",
            "95 % interval, seeds",
            "macro recall",
            "weighted precision",
            "weighted recall",
            "weighted F1",
        ),
        rows=tuple(rows),
        notes=tuple(notes),
    )


def _class_count(columns: tuple[Column, ...]) -> str:
    return " or ".join(map(str, sorted({len(column.figures["all"].labels) for column in columns})))


def _majority_sentence(figures: ViewFigures) -> str:
    label, values = max(figures.per_class.items(), key=lambda item: item[1]["count"])
    share = percent(values["count"] / figures.count)
    return f"Always answering {label}, the commonest class, would be right for {share}."


def _column_table(columns: tuple[Column, ...]) -> Table:
    rows = []
    for column in columns:
        record, run = column.record, column.runs[0]
        kept = ", ".join(str(epoch) if epoch else DASH for epoch in column.kept_epochs)
        rows.append(
            (
                column.name,
                ", ".join(run.name for run in column.runs),
                DASH if column.config is None else ", ".join(map(str, column.seeds)),
                DASH if column.parameters is None else f"{column.parameters:,}",
                DASH if column.epochs is None else f"{column.epochs} (kept {kept})",
                DASH if math.isnan(column.minutes) else f"{column.minutes:.1f}",
                column.checkpoint_rule or DASH,
                ", ".join(record.get("sets", ())) or DASH,
                str(record.get("manifest_hash", DASH))[:SHORT_HASH],
                f"{run.split}: {column.figures['all'].count:,}",
                str(run.figures["all"]["rule"]),
            )
        )
    return Table(
        caption="What each row is, and what its figures are of",
        columns=(
            "model",
            "runs",
            "seeds",
            "parameters",
            "epochs",
            "training minutes",
            "checkpoint",
            "data",
            "manifest",
            "images",
            "rule for ambiguous images",
        ),
        rows=tuple(rows),
        words=frozenset({1, 6, 7, 8, 9, 10}),
    )
