"""Where a model fails: slices of the images, and the faces that it or its labels most likely have wrong.

Slices come from the manifest and the packed faces (`mien.evaluate.slice_columns`). The faces are of the model
that validation ranks best: chosen by the reported split, its figures would flatter it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from mien.evaluate.leaks import related_groups
from mien.evaluate.slice_columns import manifest_slices
from mien.evaluate.slices import SliceColumn, slice_figures
from mien.report.document import Block, Gallery, Section, Table, Text
from mien.report.face_sections import Judged, faces_section, votes_of
from mien.report.failure_figures import gap_drawing, slice_name
from mien.report.report_data import ReportData, answers_on
from mien.report.tables import Column
from mien.report.wording import joined, percent, percent_interval, points, points_interval

_MOST_NAMED: Final = 5
"""Slices that a sentence names."""


def failure_sections(
    columns: Sequence[Column], data: ReportData | None, *, pictures: bool = True
) -> tuple[Section, ...]:
    """Slices, and galleries of errors, doubtful labels and uncertain answers.

    Of a column with several seeds the first one is shown.

    Args:
        columns: of the report.
        data: the images; without them nothing can be said.
        pictures: whether faces of the data are embedded; else tables name them.

    Returns:
        Slices and faces of the column that validation ranks best, and the slices of the others, folded; empty
        where the data is not there, or no column kept its answers on it.
    """
    judged = _judged(columns, data)
    if data is None or not judged:
        return ()
    first, *others = judged
    sections = [_slices_section(first, data)]
    if others:
        sections.append(_others_section(others, data))
    sections.append(faces_section(first, data, pictures=pictures))
    return tuple(section for section in sections if section is not None)


def _judged(columns: Sequence[Column], data: ReportData | None) -> list[Judged]:
    """The columns that answered this data, the best on validation first, then in the report's order."""
    found = []
    for column in columns:
        answers = None if data is None else answers_on(column.runs[0], data)
        if answers is not None and len(answers.labels):
            found.append((_validation_accuracy(column), Judged(column.name, column.runs[0], answers)))
    best = max(range(len(found)), key=lambda i: found[i][0], default=0)
    return [one for _, one in [*found[best : best + 1], *found[:best], *found[best + 1 :]]]


def _validation_accuracy(column: Column) -> float:
    """Mean over seeds; -1 where a seed kept no answers of validation."""
    tensors = [run.validation for run in column.runs]
    right = [
        float((kept["logits"].argmax(1) == kept["labels"]).mean()) for kept in tensors if kept is not None
    ]
    return float(np.mean(right)) if len(right) == len(tensors) else -1.0


def _figures(one: Judged, data: ReportData) -> dict[str, Any]:
    """What `slice_figures` says of every column of the manifest."""
    answers, manifest = one.answers, data.prepared.manifest
    rows = data.targets.pack_rows[answers.places]
    columns: dict[str, SliceColumn] = manifest_slices(
        manifest.frame,
        rows,
        data.prepared.pack,
        answers.labels,
        one.run.labels,
        votes=votes_of(one, data),
    )
    groups = related_groups(manifest.frame, data.targets, answers.places)
    return slice_figures(answers.logits, answers.labels, columns, groups=groups)


def _slices_section(one: Judged, data: ReportData) -> Section | None:
    figures = _figures(one, data)
    if not figures["slices"]:
        return None
    blocks: list[Block] = [
        Text(_sentence(one, figures)),
        Gallery((gap_drawing(one.name, figures["slices"], key="slice-gaps"),), "Gaps with 95 % intervals"),
        _slices_table(one, figures),
    ]
    return Section("Where it fails", tuple(blocks), values={one.run.name: figures})


def _others_section(others: Sequence[Judged], data: ReportData) -> Section | None:
    figures = {one.run.name: (one, _figures(one, data)) for one in others}
    kept = [(one, found) for one, found in figures.values() if found["slices"]]
    blocks: list[Block] = []
    for one, found in kept:
        blocks += [Text(_sentence(one, found)), _slices_table(one, found)]
    if not kept:
        return None
    values = {one.run.name: found for one, found in kept}
    return Section("Where the others fail", tuple(blocks), folded=True, values=values)


def _sentence(one: Judged, figures: dict[str, Any]) -> str:
    by_gap = sorted(figures["slices"], key=lambda part: float(part["gap"]))
    worse = [_named(part) for part in by_gap if part["verdict"] == "worse"]
    better = [_named(part) for part in reversed(by_gap) if part["verdict"] == "better"]
    told = [
        f"{what} on {joined(names[:_MOST_NAMED])}{_more(names)}"
        for what, names in (("worse", worse), ("better", better))
        if names
    ]
    verdict = f"It is {'; '.join(told)}" if told else "No slice differs from the other images beyond chance"
    return (
        f"{one.name} ({one.which}) names the class of {percent(figures['accuracy'])} of "
        f"{figures['count']:,} {one.run.split} images. {verdict}."
    )


def _named(part: dict[str, Any]) -> str:
    return f"{slice_name(part)} ({points(part['gap'])} points)"


def _more(names: Sequence[str]) -> str:
    left = len(names) - _MOST_NAMED
    return f" and {left} more" if left > 0 else ""


def _slices_table(one: Judged, figures: dict[str, Any]) -> Table:
    rows = tuple(
        (
            slice_name(part),
            f"{part['count']:,}",
            percent(part["accuracy"]),
            percent_interval((part["low"], part["high"])),
            percent(part["expected"]),
            points(part["gap"]),
            points_interval((part["gap_low"], part["gap_high"])),
            part["verdict"],
        )
        for part in sorted(figures["slices"], key=lambda part: float(part["gap"]))
    )
    return Table(
        f"Accuracy of {one.name} by slice, the largest gap below the other images first",
        (
            "slice",
            "images",
            "accuracy",
            "95 % interval",
            "by its classes",
            "gap, points",
            "95 % interval of it",
            "verdict",
        ),
        rows,
        notes=(
            figures["note"],
            "By its classes: the accuracy that the slice's mix of classes would have at each class's "
            "accuracy over all images. Numbers are cut at their quartiles; brightness is the mean grey level "
            "(0 to 255), blur the variance of the Laplacian (low is blurred).",
        ),
        words=frozenset({7}),
    )
