"""Numbers as words: one way to write a share, a difference, an interval."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mien.evaluate.analysis_files import AnalysisName
from mien.report.document import Text
from mien.report.gains import SEEDS_FOR_INTERVAL, Interval
from mien.report.published import PublishedColumn
from mien.report.tables import Column

DASH = "–"
"""What stands where there is no number."""


def percent(share: float, digits: int = 1) -> str:
    """0.5310 -> `53.1 %`."""
    return DASH if math.isnan(share) else f"{100 * share:.{digits}f} %"


def points(difference: float) -> str:
    """0.0183 -> `+1.83`, in percentage points."""
    return f"{100 * difference:+.2f}".replace("-", "−")


def percent_interval(interval: Interval | None) -> str:
    """(0.51, 0.55) -> `51.0 to 55.0 %`."""
    return DASH if interval is None else f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f} %"


def points_interval(interval: Interval | None) -> str:
    """(-0.004, 0.011) -> `−0.40 to +1.10`."""
    return DASH if interval is None else f"{points(interval[0])} to {points(interval[1])}"


def joined(names: list[str] | tuple[str, ...]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else ""


def accuracy_sentence(columns: tuple[Column, ...]) -> str:
    """What was found, in one sentence: images, classes, each column's accuracy with its interval."""
    first = columns[0]
    figures = first.figures["all"]
    what = f"{figures.count:,} {first.runs[0].split} images of {len(figures.labels)} classes"
    same = all(
        c.figures["all"].count == figures.count and c.record["labels"] == first.record["labels"]
        for c in columns
    )
    told = [
        f"{column.name} {percent(column.figures['all'].accuracy)}"
        + (
            ""
            if same
            else f" (of {column.figures['all'].count:,}, {len(column.figures['all'].labels)} classes)"
        )
        + f" ({'' if i else '95 % interval '}{percent_interval(column.figures['all'].interval)})"
        for i, column in enumerate(columns)
    ]
    where = f"On {what}, the" if same else "The"
    return f"{where} labelled class was named for this share of images: {joined(told)}."


def seeds_sentence(columns: tuple[Column, ...]) -> str:
    """What the number of seeds allows to say; empty where every column has three or more."""
    fewest = min(len(column.runs) for column in columns)
    if fewest >= SEEDS_FOR_INTERVAL:
        return ""
    seeds = "one seed" if fewest == 1 else "two seeds"
    return (
        f"With {seeds} a column the interval over seeds is missing: the intervals tell how the figures "
        "would differ on other images of the same kind, not how they would differ had training begun from "
        "another seed."
    )


def seed_notes(
    columns: Sequence[Column], name: AnalysisName, what: str, *, split: str | None = None
) -> list[Text]:
    """Which seed an analysis is shown of, for each column that has several.

    Args:
        columns: of the report.
        name: of the analysis.
        what: begins the sentence, such as `The surface is`.
        split: whose images the analysis is of; none takes the reported one.
    """
    notes = []
    for column in columns:
        seeds = [run.seed for run in column.runs if run.analysis(name, split) is not None]
        if seeds and len(column.runs) > 1:
            notes.append(Text(f"{column.name}: {what} of seed {seeds[0]}, one of {len(column.runs)} seeds."))
    return notes


def published_cells(column: PublishedColumn | None) -> tuple[str, str, str, str]:
    """The paper's four numbers of a column, or dashes."""
    if column is None:
        return (DASH,) * 4
    accuracy, precision, recall, f1 = (
        percent(value, 2) for value in (column.accuracy, column.precision, column.recall, column.f1)
    )
    return accuracy, precision, recall, f1
