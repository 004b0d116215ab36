"""The pages, and what of them can be run: fenced blocks, and command lines in blocks and in the text."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from sybil import Document, Region
from sybil.parsers.markdown.lexers import FencedCodeBlockLexer

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

PROGRAMS: Final = ("cat", "curl", "make", "mien", "pip", "python", "python3", "source", "torchrun")
"""What a line of a block without a language begins with if it is a command."""
_FENCE = re.compile(r"^```", re.MULTILINE)
_INLINE = re.compile(r"`(mien(?: [^`]+)?)`")
_OPERATORS = re.compile(r"&&|\|\||[|;<>]")


class Line(NamedTuple):
    """One command line as it is written, its continuation lines joined and its comment taken off."""

    page: str
    number: int
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.number}: {self.text}"


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(document: Document) -> Iterator[Region]:
    """A Sybil parser of every fenced block; its lexemes are `language` and `source`."""
    for region in FencedCodeBlockLexer(r"[^\n]*")(document):
        source = region.lexemes["source"]
        region.lexemes["language"] = region.lexemes["language"].strip() or _guessed(source)
        region.parsed = source
        yield region


def _guessed(source: str) -> str:
    """The language of a block that names none: commands, or something to look at."""
    lines = [text for _, text in command_lines(source)]
    are_commands = [line.partition(" ")[0] in PROGRAMS for line in lines]
    return "sh" if are_commands and all(are_commands) else "text"


def command_lines(source: str) -> Iterator[tuple[int, str]]:
    """Each command of a block of shell: how many lines it lies below the fence, and its text."""
    start, text = 0, ""
    for number, line in enumerate(source.splitlines(), start=1):
        start = start if text else number
        text += re.sub(r"(^|\s)#.*", "", line).strip()
        if text.endswith("\\"):
            text = text[:-1]
        elif text:
            yield start, text
            text = ""


def lines_of(page: Path) -> list[Line]:
    """Every command line of a page's blocks."""
    return [
        Line(name_of(page), example.line + number, text)
        for example in Document.parse(str(page), blocks)
        if example.region.lexemes["language"] == "sh"
        for number, text in command_lines(example.parsed)
    ]


def commands_of_mien(text: str) -> list[list[str]]:
    """The words after `mien` of each call in a command line."""
    found = []
    for part in _OPERATORS.split(text):
        words = shlex.split(re.sub(r"^\s*(?:\w+=(?:\$\([^)]*\)|\S*)\s+)+", "", part))
        if words[:1] == ["mien"]:
            found.append(words[1:])
        elif "mien" in words and words[0] == "torchrun":
            found.append(words[words.index("mien") + 1 :])
    return found


def calls_in_text(page: Path) -> list[Line]:
    """Every `mien ...` within the sentences and tables of a page; often without what it acts on."""
    outside = _FENCE.split(page.read_text(encoding="utf-8"))[::2]
    joined = [re.sub(r"\s+", " ", call) for part in outside for call in _INLINE.findall(part)]
    return [Line(name_of(page), 0, call) for call in dict.fromkeys(joined)]
