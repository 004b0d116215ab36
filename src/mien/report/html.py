"""The report as one self-contained HTML page, with its Markdown twin and the numbers as JSON."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mien import __version__
from mien.files import write_json, write_text
from mien.report.comparisons import ColumnGain
from mien.report.document import Document, Section, to_markdown
from mien.report.page import render
from mien.report.published import TABLE_2, TEXT
from mien.report.runs import read_runs
from mien.report.sections import document_of
from mien.report.tables import Column

FORMAT = 1
"""Version of report.json."""


def write_report(
    runs: Sequence[Path],
    out: Path,
    *,
    data: Path | None = None,
    extra: Sequence[Section | str] = (),
    pictures: bool = True,
) -> Path:
    """Write one HTML page from runs and evaluated models, and beside it the same as Markdown and as JSON.

    The page loads nothing: styles, script, drawings and faces are inside it, and its content security policy
    forbids the rest.

    Args:
        runs: what `mien train` and `mien evaluate --out` wrote; runs that differ only in the seed become one
            column.
        out: the page; a path without the ending .html or .htm is a folder, and the page is its report.html.
        data: the prepared folder, for what is shown of the images; none takes the runs' own where it is still
            there.
        extra: further sections, put before "How it was made"; plain sentences come under a heading of their
            own.
        pictures: whether faces of the data are shown, where the data is there.

    Returns:
        The page that was written.

    Raises:
        InputError: a folder is no run, nothing was evaluated in one, or `data` is not what the runs were
            trained on.
        OSError: a file could not be written.
    """
    page = out if out.suffix.lower() in {".html", ".htm"} else out / "report.html"
    document, columns, steps = document_of(read_runs(runs), data=data, extra=extra, pictures=pictures)
    write_json(page.with_suffix(".json"), report_values(document, columns, steps))
    write_text(page.with_suffix(".md"), to_markdown(document))
    write_text(page, to_html(document, twins=(page.with_suffix(".md").name, page.with_suffix(".json").name)))
    return page


def to_html(document: Document, *, twins: Sequence[str] = ()) -> str:
    """The document as one HTML page.

    Args:
        document: what it says; every text is escaped, drawings are written as they are.
        twins: names of files beside the page that hold the same.
    """
    return render("report.html.jinja", document=document, twins=twins)


def report_values(
    document: Document, columns: Sequence[Column], steps: Sequence[ColumnGain]
) -> dict[str, Any]:
    """What report.json holds: the numbers of the page, unrounded, and the paper's."""
    return {
        "format": FORMAT,
        "mien": __version__,
        "title": document.title,
        "summary": document.summary,
        "split": columns[0].runs[0].split,
        "columns": [_column_values(column) for column in columns],
        "sections": {
            section.heading: section.values for section in document.sections if section.values is not None
        },
        "gains": [
            {
                "from": step.earlier.name,
                "to": step.later.name,
                "question": step.question,
                "changed": list(step.changed),
                "published_difference": step.published,
                "views": [dataclasses.asdict(gain) for gain in step.gains],
            }
            for step in steps
        ],
        "published": {
            "table_2": [dataclasses.asdict(column) for column in TABLE_2],
            "text": [dataclasses.asdict(number) for number in TEXT],
        },
    }


def _column_values(column: Column) -> dict[str, Any]:
    return {
        "name": column.name,
        "variant": column.variant,
        "runs": [run.name for run in column.runs],
        "seeds": list(column.seeds),
        "parameters": column.parameters,
        "epochs": column.epochs,
        "kept_epochs": list(column.kept_epochs),
        "minutes": None if math.isnan(column.minutes) else column.minutes,
        "checkpoint_rule": column.checkpoint_rule,
        "manifest_hash": column.record.get("manifest_hash"),
        "sets": list(column.record.get("sets", ())),
        "rule": column.runs[0].figures["all"]["rule"],
        "analyses": {run.name: run.analyses for run in column.runs if run.analyses},
        "figures": {view: dataclasses.asdict(figures) for view, figures in column.figures.items()},
        "published": dataclasses.asdict(column.published) if column.published else None,
    }
