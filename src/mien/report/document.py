"""One structure for what a report says, so that the HTML page and its Markdown twin cannot differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias


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

    def __post_init__(self) -> None:
        if any(len(row) != len(self.columns) for row in self.rows):
            raise ValueError(f"table {self.caption!r}: a row has not {len(self.columns)} cells.")


@dataclass(frozen=True)
class Drawing:
    """One inline picture."""

    svg: str
    """An `<svg>` element without ids of other drawings; it is trusted and written as it is, so only what
    `mien.report.figures` drew belongs here."""
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


@dataclass(frozen=True)
class Gallery:
    """Drawings or pictures side by side where there is room."""

    drawings: tuple[Drawing | Picture, ...]
    """At least one."""
    caption: str
    """What they show together."""


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
            lines += [*_block_lines(block), ""]
    return "\n".join(lines).rstrip() + "\n"


def _block_lines(block: Block) -> list[str]:
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
