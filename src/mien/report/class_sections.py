"""What each class is taken for, and how well it is found."""

from __future__ import annotations

from collections.abc import Sequence

from mien.report.document import MODELS_ABREAST, Drawing, Gallery, Section, Table, in_parts
from mien.report.figures import confusion_drawing
from mien.report.tables import Column
from mien.report.wording import percent


def classes_section(columns: tuple[Column, ...]) -> Section:
    """Precision, recall and F1 of each class, one table for columns of the same classes."""
    tables: list[Table] = []
    groups: dict[tuple[str, ...], list[Column]] = {}
    for column in columns:
        groups.setdefault(column.figures["all"].labels, []).append(column)
    for labels, members in groups.items():
        tables += [_class_table(labels, part) for part in in_parts(members, MODELS_ABREAST // 2)]
    return Section("Each class", tuple(tables))


def _class_table(labels: Sequence[str], columns: Sequence[Column]) -> Table:
    heads = [f"{column.name}: {name}" for column in columns for name in ("precision", "recall", "F1")]
    rows = []
    for label in labels:
        values = [column.figures["all"].per_class[label] for column in columns]
        cells = [percent(value[key]) for value in values for key in ("precision", "recall", "f1")]
        rows.append((label, f"{values[0]['count']:,.0f}", *cells))
    return Table(f"Each of {len(labels)} classes, means over seeds", ("class", "images", *heads), tuple(rows))


def confusion_section(columns: tuple[Column, ...]) -> Section:
    """A confusion matrix a column, on all classes."""
    drawings: list[Drawing] = [
        confusion_drawing(column.name, column.figures["all"], key=f"confusion-{i}", seeds=len(column.runs))
        for i, column in enumerate(columns)
    ]
    caption = "Rows are the labelled class, columns the predicted one; the shade is the share of the row"
    return Section("Confusion", (Gallery(tuple(drawings), caption),))
