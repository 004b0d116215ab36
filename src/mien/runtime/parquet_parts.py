"""One parquet file from rows that come one by one, in memory that does not grow with it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from mien.files import replacing

ROWS_OF_A_PART: Final = 50_000
"""Rows that are held in memory before they are written."""


@contextmanager
def parquet_rows(path: Path, schema: Mapping[str, Any]) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """What takes rows; the file takes its place when the block ends, and keeps its old content when something
    is raised. Parts lie beside it, where there is room for the whole.

    Args:
        path: the file.
        schema: column to polars type; polars must be installed.
    """
    import polars

    with replacing(path) as temporary, tempfile.TemporaryDirectory(dir=path.resolve().parent) as folder:
        rows: list[Mapping[str, Any]] = []
        parts: list[Path] = []

        def flush() -> None:
            part = Path(folder) / f"{len(parts)}.parquet"
            polars.DataFrame(rows, schema=schema).write_parquet(part)
            parts.append(part)
            rows.clear()

        def write(row: Mapping[str, Any]) -> None:
            rows.append(row)
            if len(rows) >= ROWS_OF_A_PART:
                flush()

        yield write
        flush()
        polars.scan_parquet(parts).sink_parquet(temporary)
