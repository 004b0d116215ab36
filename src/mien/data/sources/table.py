"""Reading a csv so that every fault is one sentence that names file and row."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from mien.errors import InputError


def lines_of(path: Path, name: str, delimiter: str = ",") -> Iterator[list[str]]:
    """The cells of each line, header and blank ones included.

    Args:
        path: the csv, UTF-8 with or without a byte order mark.
        name: what messages call the file.
        delimiter: between cells.

    Raises:
        InputError: the file is no csv.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            yield from csv.reader(file, delimiter=delimiter)
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{name} cannot be read as a UTF-8 csv ({error}); save it as one.") from error


def numbered(
    lines: Iterable[list[str]], width: int, name: str, *, first: int = 0
) -> Iterator[tuple[int, list[str]]]:
    """Each data row as (0-based row, cells); blank lines are skipped and not counted.

    Args:
        lines: what `lines_of` gives after the header.
        width: cells of the header.
        name: what messages call the file.
        first: number of the first row.

    Raises:
        InputError: a row has too few or too many cells.
    """
    for row, cells in enumerate(filter(None, lines), start=first):
        if len(cells) != width:
            raise InputError(
                f"{name}, row {row}: {len(cells)} cells instead of {width}; repair or delete that row."
            )
        yield row, cells


def rows_of(
    path: Path, needed: Sequence[str], name: str | None = None
) -> Iterator[tuple[int, dict[str, str]]]:
    """Each data row as (0-based row, stripped column name to cell); blank lines are skipped and not counted.

    Args:
        path: the csv, UTF-8 with or without a byte order mark.
        needed: columns that must be there, in any order.
        name: what messages call the file; by default its name.

    Raises:
        InputError: a column is missing or stands twice, a row has too few or too many cells, or the file is
            no csv.
    """
    name = name or path.name
    lines = lines_of(path, name)
    header = [column.strip() for column in next(lines, [])]
    _check_header(header, needed, name)
    for row, cells in numbered(lines, len(header), name):
        yield row, dict(zip(header, cells, strict=True))


def _check_header(header: Sequence[str], needed: Sequence[str], name: str) -> None:
    if missing := [column for column in needed if column not in header]:
        found = ", ".join(header) or "an empty file"
        raise InputError(
            f"{name} has no column {', '.join(missing)} (found: {found}); it needs {', '.join(needed)}."
        )
    if len(set(header)) != len(header):
        twice = next(column for column in header if header.count(column) > 1)
        raise InputError(f"{name} has the column {twice!r} twice; rename one.")
