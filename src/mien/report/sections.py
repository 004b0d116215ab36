"""What the report says, in order: figures beside the paper's, gains, drawings, classes, making, limits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from mien.card import USE_WARNING
from mien.data.manifest import Manifest
from mien.data.prepared import MANIFEST_FILE
from mien.errors import InputError
from mien.report.document import Block, Document, Drawing, Gallery, Section, Table, Text
from mien.report.figures import class_count_drawings, confusion_drawing, curve_drawings
from mien.report.gains import SEEDS_FOR_INTERVAL
from mien.report.provenance import made_sections
from mien.report.published import TEST_IMAGES, TRAINING_ACCURACY, VALIDATION_ACCURACY
from mien.report.runs import ReportedRun, evaluated_splits
from mien.report.tables import Column, ColumnGain, ViewFigures, columns_of, gains_of
from mien.report.wording import (
    DASH,
    accuracy_sentence,
    classes_of,
    joined,
    percent,
    percent_interval,
    points,
    points_interval,
    published_cells,
    seeds_sentence,
    short_verdict,
    verdict_sentence,
)

SHORT_HASH = 12
"""Hexadecimal digits of a manifest's hash that are printed; "How it was made" holds the whole of it."""


def document_of(
    runs: Sequence[ReportedRun], *, title: str, data: Path | None = None, extra: Sequence[Section | str] = ()
) -> tuple[Document, tuple[Column, ...], tuple[ColumnGain, ...]]:
    """All that a report holds.

    Args:
        runs: at least one, all with figures of the same split.
        title: of the page.
        data: the prepared folder, for Fig. 2; none takes the runs' own where it is still there.
        extra: sections that stand before "How it was made"; sentences become one section, "Besides".

    Returns:
        The document, and the columns and gains that it was made from.

    Raises:
        InputError: `data` is no prepared folder, or not what the runs were trained on.
    """
    columns = columns_of(runs)
    steps = gains_of(columns)
    sentences = [
        accuracy_sentence(columns),
        *([_steps_sentence(steps)] if steps else []),
        _split_warning(runs),
    ]
    sections = [
        _figures_section(columns),
        *([_gains_section(steps)] if steps else []),
        _counts_section(columns, data),
        _curves_section(columns),
        _confusion_section(columns),
        _classes_section(columns),
        *_extra_sections(extra),
        *made_sections(columns),
        Section("Limits", (Text(USE_WARNING), Text(_worth(columns)))),
    ]
    return Document(title, " ".join(filter(None, sentences)), tuple(sections)), columns, steps


def _extra_sections(extra: Sequence[Section | str]) -> list[Section]:
    sentences = tuple(Text(item) for item in extra if isinstance(item, str))
    sections = [item for item in extra if isinstance(item, Section)]
    return [*sections, *([Section("Besides", sentences)] if sentences else [])]


def _steps_sentence(steps: Sequence[ColumnGain]) -> str:
    text = "; ".join(short_verdict(step) for step in steps) + "."
    if any(min(len(step.earlier.runs), len(step.later.runs)) < SEEDS_FOR_INTERVAL for step in steps):
        text += " Without three seeds each, this ranks the models that were trained, not the methods."
    return text


def _split_warning(runs: Sequence[ReportedRun]) -> str:
    if runs[0].split == "test":
        return ""
    lacking = [run.name for run in runs if "test" not in evaluated_splits(run.saved.folder)]
    return (
        f"These are validation figures, because the test split was not evaluated for {', '.join(lacking)}; "
        "the checkpoint was chosen on these same images, so they flatter the model."
    )


def _figures_section(columns: tuple[Column, ...]) -> Section:
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
                ", ".join(map(str, column.seeds)),
                f"{column.parameters:,}",
                f"{column.epochs} (kept {kept})",
                DASH if math.isnan(column.minutes) else f"{column.minutes:.1f}",
                column.checkpoint_rule,
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


def _gains_section(steps: tuple[ColumnGain, ...]) -> Section:
    rows, sentences = [], []
    for step in steps:
        for gain in step.gains:
            published = points(step.published) if step.published is not None and gain.view == "7" else DASH
            rows.append(
                (
                    f"{step.earlier.name} → {step.later.name}",
                    classes_of(step, gain),
                    points(gain.difference),
                    points_interval(gain.interval),
                    points_interval(gain.seed_interval),
                    gain.verdict,
                    published,
                    ", ".join(step.changed) or "nothing",
                )
            )
            sentences.append(Text(verdict_sentence(step, gain)))
    notes = [
        "Paired bootstrap over images, from the logits that the runs kept in half precision: both models "
        "answered the same images. A gain whose interval holds 0 is called no gain."
    ]
    table = Table(
        caption="Difference in accuracy between one model and the next, in percentage points",
        columns=(
            "step",
            "labels",
            "points",
            "95 % interval, images",
            "95 % interval, seeds",
            "verdict",
            "paper",
            "changed",
        ),
        rows=tuple(rows),
        notes=tuple(notes),
        words=frozenset({1, 5, 7}),
    )
    return Section("Gains", (*sentences, table))


def _counts_section(columns: tuple[Column, ...], data: Path | None) -> Section:
    record = columns[0].record
    folder = data or Path(str(record.get("data", "")))
    if not (folder / MANIFEST_FILE).is_file():
        if data is not None:
            raise InputError(
                f"{data}: no prepared folder (it has no {MANIFEST_FILE}); make one with mien data prepare."
            )
        return Section(
            "Class counts (Fig. 2)",
            (Text("Not drawn: the prepared data is no longer where it was; give --data."),),
        )
    manifest = Manifest.read(folder / MANIFEST_FILE)
    hashes = {column.record.get("manifest_hash") for column in columns}
    if manifest.hash() not in hashes:
        if data is not None:
            raise InputError(
                f"{data}: its manifest is not the one that the runs were trained on; give that data."
            )
        return Section(
            "Class counts (Fig. 2)", (Text("Not drawn: the prepared data has changed since; give --data."),)
        )
    drawings = class_count_drawings(manifest.target(record.get("target")))
    used = sorted({column.config.training_set.balance for column in columns})
    blocks: list[Block] = [
        Gallery(
            drawings, f"Images of each class, target {record.get('target')}; after balancing: images an epoch"
        ),
        Text(f"Balancing used by these runs: {', '.join(used)} (copies is the plan drawn here)."),
    ]
    if len(hashes) > 1:
        blocks.append(Text("Other runs of this report were trained on other data, which is not drawn."))
    return Section("Class counts (Fig. 2)", tuple(blocks))


def _curves_section(columns: tuple[Column, ...]) -> Section:
    drawings = curve_drawings(columns)
    if not drawings:
        return Section("Training curves (Fig. 5)", (Text("Not drawn: the runs kept no history."),))
    note = (
        "Training figures are of augmented images, before each step; validation is of whole images, "
        f"without augmentation. The paper prints {percent(TRAINING_ACCURACY.value)} training and "
        f"{percent(VALIDATION_ACCURACY.value, 2)} validation accuracy ({TRAINING_ACCURACY.place}), on other "
        "data."
    )
    return Section("Training curves (Fig. 5)", (Gallery(drawings, "One line a run"), Text(note)))


def _confusion_section(columns: tuple[Column, ...]) -> Section:
    drawings: list[Drawing] = [
        confusion_drawing(column.name, column.figures["all"], key=f"confusion-{i}", seeds=len(column.runs))
        for i, column in enumerate(columns)
    ]
    caption = "Rows are the labelled class, columns the predicted one; the shade is the share of the row"
    return Section("Confusion", (Gallery(tuple(drawings), caption),))


def _classes_section(columns: tuple[Column, ...]) -> Section:
    tables = []
    groups: dict[tuple[str, ...], list[Column]] = {}
    for column in columns:
        groups.setdefault(column.figures["all"].labels, []).append(column)
    for labels, members in groups.items():
        heads = [f"{column.name}: {name}" for column in members for name in ("precision", "recall", "F1")]
        rows = []
        for label in labels:
            values = [column.figures["all"].per_class[label] for column in members]
            cells = [percent(value[key]) for value in values for key in ("precision", "recall", "f1")]
            rows.append((label, f"{values[0]['count']:,.0f}", *cells))
        tables.append(
            Table(
                f"Each of {len(labels)} classes, means over seeds", ("class", "images", *heads), tuple(rows)
            )
        )
    return Section("Each class", tuple(tables))


def _worth(columns: tuple[Column, ...]) -> str:
    sets = sorted({name for column in columns for name in column.record.get("sets", ())})
    return (
        f"The figures hold for images like those of {', '.join(sets) or 'the data used'}, labelled as those "
        "were. They say nothing about other cameras, ages, skin tones or cultures, and a label is what "
        "people saw in a picture, not what the person felt."
    )
