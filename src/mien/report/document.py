"""One structure for what a report says, so that the HTML page and its Markdown twin cannot differ."""

from __future__ import annotations

import csv
import io
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, TypeVar

_Item = TypeVar("_Item")

LEAST_SORTABLE: Final = 3
"""Fewest rows that are worth sorting."""


MODELS_ABREAST: Final = 6
"""Models or runs that stand side by side in one table, so that it fits on paper."""


def in_parts(items: Sequence[_Item], most: int = MODELS_ABREAST) -> Iterator[Sequence[_Item]]:
    """The items in order, at most so many at a time."""
    for start in range(0, len(items), most):
        yield items[start : start + most]


@dataclass(frozen=True)
class Text:
    """A paragraph of plain text."""

    text: str
    """Plain text; it is escaped when written."""


@dataclass(frozen=True)
class Table:
    """A table of finished texts."""

    caption: str
    """What the table shows, one sentence."""
    columns: tuple[str, ...]
    """Column heads; the first column names the row."""
    rows: tuple[tuple[str, ...], ...]
    """One text a column."""
    notes: tuple[str, ...] = ()
    """Sentences under the table."""
    words: frozenset[int] = frozenset()
    """Columns that hold words and are set left and wrapped; the first always does."""

    @property
    def sortable(self) -> bool:
        """Whether its rows may be put in another order: not where each row has another unit."""
        return len(self.rows) >= LEAST_SORTABLE and set(range(1, len(self.columns))) - self.words != set()

    def to_csv(self) -> str:
        """The table as RFC 4180 text, heads first."""
        buffer = io.StringIO()
        csv.writer(buffer).writerows([self.columns, *self.rows])
        return buffer.getvalue()

    def __post_init__(self) -> None:
        if any(len(row) != len(self.columns) for row in self.rows):
            raise ValueError(f"table {self.caption!r}: a row has not {len(self.columns)} cells.")


@dataclass(frozen=True)
class Drawing:
    """One inline picture."""

    svg: str
    """An `<svg>` element without ids of other drawings; it is trusted and written as it is, so only what
    `mien.report.svg` wrote belongs here."""
    alt: str
    """What the picture shows, for who cannot see it."""
    caption: str
    """Short text under the picture."""
    data: Table | None = None
    """The numbers it was drawn from; the page shows them one click away."""


@dataclass(frozen=True)
class Picture:
    """One face, embedded in the page; the Markdown twin has its alt text only."""

    png: bytes
    """A PNG file."""
    alt: str
    """What the picture shows, for who cannot see it."""
    caption: str
    """Short text under the picture."""

    @property
    def uri(self) -> str:
        """The file as a data URI."""
        return f"data:image/png;base64,{b64encode(self.png).decode()}"


@dataclass(frozen=True)
class Gallery:
    """Drawings or pictures side by side where there is room."""

    drawings: tuple[Drawing | Picture, ...]
    """At least one."""
    caption: str
    """What they show together."""

    @property
    def holds_pictures(self) -> bool:
        """Whether they are faces, which are small and many."""
        return isinstance(self.drawings[0], Picture)


Block: TypeAlias = Text | Table | Gallery


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it."""

    heading: str
    """Plain text."""
    blocks: tuple[Block, ...]
    """In reading order."""
    folded: bool = False
    """Whether the page shows only the heading until it is opened."""
    values: Mapping[str, Any] | None = None
    """Its numbers, unrounded, for report.json."""


@dataclass(frozen=True)
class Document:
    """A whole report."""

    title: str
    """Plain text."""
    summary: str
    """The first sentence or sentences: what was found and how sure that is."""
    sections: tuple[Section, ...]
    """In reading order."""


def to_markdown(document: Document) -> str:
    """The document as GitHub-flavoured Markdown, which holds no SVG: a drawing becomes its alt text."""
    lines = [f"# {_plain(document.title)}", "", _plain(document.summary), ""]
    for section in document.sections:
        lines += [f"## {_plain(section.heading)}", ""]
        for block in section.blocks:
            lines += [*block_lines(block), ""]
    return "\n".join(lines).rstrip() + "\n"


def block_lines(block: Block) -> list[str]:
    """A block as lines of GitHub-flavoured Markdown."""
    if isinstance(block, Text):
        return [_plain(block.text)]
    if isinstance(block, Gallery):
        return [f"*{_plain(block.caption)}*", "", *(f"- {_plain(drawing.alt)}" for drawing in block.drawings)]
    marks = [":--" if i == 0 or i in block.words else "--:" for i in range(len(block.columns))]
    lines = [f"*{_plain(block.caption)}*", "", _row(block.columns), "|" + "|".join(marks) + "|"]
    lines += [_row(row) for row in block.rows]
    for note in block.notes:
        lines += ["", _plain(note)]
    return lines


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(_plain(cell) for cell in cells) + " |"


def _plain(text: str) -> str:
    """Text that Markdown shows as it is: a run may be named like markup."""
    escaped = " ".join(text.split()).replace("\\", "\\\\").replace("&", "&amp;").replace("<", "&lt;")
    for mark in "|*`[]":
        escaped = escaped.replace(mark, f"\\{mark}")
    return escaped
