"""Parquet files written like every other file: all of it or nothing, and a full disk is an OSError."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import polars as pl

from mien.files import replacing


def write_parquet(frame: pl.DataFrame, path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write a frame, with metadata if any.

    Raises:
        OSError: the file cannot be written.
    """
    # Writing to a path itself, polars hides what the system said in an exception of its own.
    buffer = io.BytesIO()
    frame.write_parquet(buffer, metadata=None if metadata is None else dict(metadata))
    with replacing(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())
