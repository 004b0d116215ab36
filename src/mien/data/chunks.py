"""The unit of work and of restarting: some records of a set, read once into one file named by its content.

A chunk's name is a hash of everything its rows depend on: the records, the identity of their pictures (path,
size and time of change of a file; the bytes otherwise) and the settings. So a chunk that is there need not be
read again, and one that is there but out of date is never found.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

from mien.data.manifest_columns import schema_for
from mien.data.pack import Pixels
from mien.data.parquet import write_parquet
from mien.data.rows import RowSettings, row_of
from mien.data.sources.record import Record
from mien.faces.detector import Detector

VERSION: Final = 1
"""Of what reading does with a record; raised when the same records would give other rows."""
FACE: Final = "face"
"""The column of the packed face's bytes, null where the row is not kept."""
_SUFFIX: Final = ".parquet"


@dataclass(frozen=True)
class ChunkTask:
    """Records to be read into one file. Sent to another process whole."""

    path: Path
    records: tuple[Record, ...]
    settings: RowSettings
    user: tuple[str, ...]
    """Names of the user's own columns, of the whole data."""


class ChunkFingerprint:
    """The hash over a chunk's records, one after the other."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256(f"{VERSION}\n".encode())

    def add(self, record: Record) -> None:
        """Take in one record."""
        said = [getattr(record, field.name) for field in fields(record) if field.name != "image"]
        self._digest.update(f"{said!r}\n{_identity(record.image)}\n".encode())

    def value(self) -> str:
        """In hexadecimal."""
        return self._digest.hexdigest()


def _identity(image: Path | bytes | Pixels) -> str:
    if isinstance(image, Path):
        try:
            stat = image.stat()
        except OSError:
            return f"{image} -"
        # Not resolved: that would ask the disk about every folder of every path.
        return f"{os.path.abspath(image)} {stat.st_size} {stat.st_mtime_ns}"  # noqa: PTH100
    if isinstance(image, bytes):
        return hashlib.sha256(image).hexdigest()
    return f"{image.shape} {hashlib.sha256(image.tobytes()).hexdigest()}"


def chunk_name(fingerprint: str, settings: RowSettings, user: Sequence[str]) -> str:
    """The file name of a chunk."""
    values: Mapping[str, Any] = asdict(settings)
    if settings.cropped:
        # What is not cut out depends on no policy for cutting out.
        values = {name: value for name, value in values.items() if name not in ("faces", "template")}
    text = json.dumps([fingerprint, values, list(user)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32] + _SUFFIX


def read_chunk(task: ChunkTask) -> int:
    """Read a chunk's records and write its file, all of it or nothing; returns the number of records."""
    settings = task.settings
    detector = None if settings.cropped else _detector()
    rows, faces = [], []
    for record in task.records:
        row, face = row_of(record, settings, detector)
        rows.append(row)
        faces.append(None if face is None else face.tobytes())
    columns = [
        pl.Series(name, [row.get(name) for row in rows], dtype=kind)
        for name, kind in schema_for(settings.votes, task.user).items()
    ]
    frame = pl.DataFrame([*columns, pl.Series(FACE, faces, dtype=pl.Binary)])
    write_parquet(frame, task.path)
    return len(rows)


@lru_cache(maxsize=1)
def _detector() -> Detector:
    from mien.faces.mtcnn import MTCNNDetector

    return MTCNNDetector()


def rows_in(path: Path) -> pl.DataFrame:
    """A chunk's rows without the faces."""
    return pl.read_parquet(path, columns=[name for name in pl.read_parquet_schema(path) if name != FACE])


def faces_in(path: Path, *, size: int, channels: int) -> Iterator[Pixels]:
    """A chunk's faces in the order of its kept rows, each uint8 [C, S, S]."""
    for face in pl.read_parquet(path, columns=[FACE]).to_series().drop_nulls():
        yield np.frombuffer(face, dtype=np.uint8).reshape(channels, size, size)
