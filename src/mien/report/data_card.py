"""The data card of a prepared folder: one self-contained HTML page, its Markdown twin, the numbers as JSON,
and lists of the pictures that were dropped and of the twins."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import polars as pl

from mien import __version__
from mien.data.prepared import load_prepared
from mien.data.summary import EXAMPLES, TWIN_COLUMNS, summarise
from mien.data.summary_records import DataSummary, DroppedPicture
from mien.errors import InputError, ManifestError
from mien.files import replacing, write_json, write_text
from mien.report.data_card_sections import document_of
from mien.report.document import Document, to_markdown
from mien.report.page import render

if TYPE_CHECKING:
    from mien.report.data_figures import SampleSheet

CARD: Final = "card.html"
BESIDE: Final = ("card.md", "card.json", "dropped.csv")
"""Files that are always written beside the page."""
TWINS_CSV: Final = "twins.csv"
"""Written only where there is a list of twins."""
FORMAT: Final = 1
"""Version of card.json."""
MARKDOWN_EXAMPLES: Final = 3
"""Examples of each kind in Markdown, which cannot fold them away."""


def write_card(folder: Path, *, samples: int = 12) -> DataSummary:
    """Write card.html, card.md, card.json, dropped.csv and twins.csv into a prepared folder.

    Args:
        folder: that `mien data prepare` wrote.
        samples: faces of each class on the page; 0 leaves out all pictures, so that the page may be shared
            where the sets' licences forbid passing pictures on.

    Raises:
        InputError: it is no prepared folder, its list of twins is damaged, or `samples` is negative.
    """
    from mien.report.data_figures import class_by_set_drawings, sample_sheets

    if samples < 0:
        raise InputError(f"samples is {samples}; it must be 0 or more.")
    prepared = load_prepared(folder)
    twins = _read_twins(folder, prepared.manifest.info.twins_file)
    summary = summarise(prepared.manifest, prepared.pack, twins)
    drawings = class_by_set_drawings(summary)
    sheets = sample_sheets(prepared.manifest, prepared.pack, samples)
    beside = BESIDE if twins is None else (*BESIDE, TWINS_CSV)
    document = document_of(summary, examples=EXAMPLES, drawings=drawings)
    dropped = prepared.manifest.frame.filter(~pl.col("kept"))
    _write_csv(folder / "dropped.csv", dropped.select(f.name for f in dataclasses.fields(DroppedPicture)))
    if twins is None:
        # A list that is left from an earlier search would belong to other data.
        (folder / TWINS_CSV).unlink(missing_ok=True)
    else:
        _write_csv(folder / TWINS_CSV, twins)
    write_json(folder / "card.json", {"format": FORMAT, "mien": __version__, **summary.to_dict()})
    write_text(folder / "card.md", card_markdown(summary))
    write_text(folder / CARD, _to_html(document, sheets, beside))
    return summary


def summarise_folder(folder: Path) -> DataSummary:
    """The numbers of a prepared folder's card, without writing anything.

    Raises:
        InputError: it is no prepared folder, or its list of twins is damaged.
    """
    prepared = load_prepared(folder)
    return summarise(prepared.manifest, prepared.pack, _read_twins(folder, prepared.manifest.info.twins_file))


def card_markdown(summary: DataSummary) -> str:
    """The card as GitHub-flavoured Markdown, without pictures."""
    return to_markdown(document_of(summary, examples=MARKDOWN_EXAMPLES))


def _read_twins(folder: Path, name: str) -> pl.DataFrame | None:
    path = folder / name
    if not name or not path.is_file():
        return None
    try:
        twins = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise ManifestError(f"{path} is not a parquet file ({error}); prepare the data again.") from error
    if missing := [column for column in TWIN_COLUMNS if column not in twins.columns]:
        raise ManifestError(f"{path} has no column {missing[0]}; prepare the data again.")
    return twins


def _write_csv(path: Path, rows: pl.DataFrame) -> None:
    with replacing(path) as temporary:
        rows.write_csv(temporary, quote_style="non_numeric")


def _to_html(document: Document, sheets: Sequence[SampleSheet], beside: Sequence[str]) -> str:
    return render(
        "data_card.html.jinja", styles=("data_card.css",), document=document, sheets=sheets, beside=beside
    )
