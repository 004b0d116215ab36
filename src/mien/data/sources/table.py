"""Reading a csv so that every fault is one sentence that names file and row."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from mien.errors import InputError


def header_of(path: Path) -> list[str]:
    """The stripped names of a csv's first line; empty when it cannot be read as text."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return [name.strip() for name in next(csv.reader(file), [])]
    except (csv.Error, UnicodeDecodeError):
        return []


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
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            header = [column.strip() for column in next(reader, [])]
            _check_header(header, needed, name)
            row = 0
            for cells in reader:
                if not cells:
                    continue
                if len(cells) != len(header):
                    raise InputError(
                        f"{name}, row {row}: {len(cells)} cells instead of {len(header)}; repair or "
                        "delete that row."
                    )
                yield row, dict(zip(header, cells, strict=True))
                row += 1
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{name} cannot be read as a UTF-8 csv ({error}); save it as one.") from error


def _check_header(header: Sequence[str], needed: Sequence[str], name: str) -> None:
    if missing := [column for column in needed if column not in header]:
        found = ", ".join(header) or "an empty file"
        raise InputError(
            f"{name} has no column {', '.join(missing)} (found: {found}); it needs {', '.join(needed)}."
        )
    if len(set(header)) != len(header):
        twice = next(column for column in header if header.count(column) > 1)
        raise InputError(f"{name} has the column {twice!r} twice; rename one.")
