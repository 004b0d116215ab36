"""AffectNet's release of 2021: crops with four small arrays of annotations each."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mien.data.sources.folders import files_in
from mien.data.sources.landmarks import five_points
from mien.data.sources.record import Record, Split
from mien.labels import AFFECTNET_CODES, decode

NAME: Final = "affectnet"
PARTS: Final[Mapping[str, Split]] = {"train_set": "train", "val_set": "validation", "test_set": "test"}
_HEADER: Final = 10
"""Bytes before the text of the header of a `.npy` file, the last two of which are its length."""


def parts_of(root: Path) -> list[Path]:
    parts = (root / part for part in PARTS)
    return [part for part in parts if (part / "images").is_dir() and (part / "annotations").is_dir()]


def is_arrays(root: Path) -> bool:
    # Other sets have images and annotations too, so one `_exp.npy` must be there, among a million perhaps.
    for part in parts_of(root):
        with os.scandir(part / "annotations") as entries:
            if any(entry.name.endswith("_exp.npy") for entry in entries):
                return True
    return False


def affect(cell: str | float) -> float | None:
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if -1 <= value <= 1 else None


def plausible(five: tuple[float, ...]) -> tuple[float, ...] | None:
    """The points, or None where they are not finite or the eyes coincide."""
    return five if math.isfinite(sum(five)) and five[:2] != five[2:4] else None


class _Garbled(Exception):
    """An annotation that is no plain array of what it should hold."""


def read_arrays(root: Path) -> Iterator[Record]:
    """The crops of 2021 with their `.npy` annotations; nothing is unpickled.

    A picture whose label is missing, or any of whose annotations cannot be read as numbers, is dropped and
    listed, and so is a label whose picture is missing.

    Raises:
        InputError: an expression is none of the eleven codes.
    """
    for part in parts_of(root):
        notes, stems = part / "annotations", set()
        for file in files_in(part / "images"):
            stems.add(file.stem)
            yield _annotated(file, notes / file.stem, root)
        for expression in sorted(notes.glob("[!.]*_exp.npy")):
            stem = expression.name.removesuffix("_exp.npy")
            if stem not in stems:
                yield _annotated(part / "images" / f"{stem}.jpg", notes / stem, root)


def _annotated(file: Path, note: Path, root: Path) -> Record:
    """The record of one crop; `note` is the path of its annotations up to `_exp.npy` and the like."""
    relative = file.relative_to(root).as_posix()
    label = reason = None
    valence = arousal = landmarks = None
    try:
        if (code := _scalar(note, "exp")) is None:
            reason = "missing annotation"
        elif not code.is_integer():
            raise _Garbled
        else:
            where = f"{note.relative_to(root).as_posix()}_exp.npy"
            label = decode(int(code), AFFECTNET_CODES, where=where)
        valence, arousal = _scalar(note, "val"), _scalar(note, "aro")
        landmarks = _points(note)
    except _Garbled:
        reason = "garbled annotation"
    return Record(
        image=file,
        set=NAME,
        key=relative,
        source_file=relative,
        split=PARTS[note.parents[1].name],
        labels={NAME: label},
        valence=None if valence is None else affect(valence),
        arousal=None if arousal is None else affect(arousal),
        landmarks=landmarks,
        drop_reason=reason if file.is_file() else "missing file",
    )


def _numbers(note: Path, kind: str, count: int) -> npt.NDArray[np.float64] | None:
    """The float64 [count] of one annotation, or None where there is none.

    Raises:
        _Garbled: the file is no array of so many numbers, or only pickle could read it.
    """
    try:
        content = Path(f"{note}_{kind}.npy").read_bytes()
    except FileNotFoundError:
        return None
    dtype, size, start = _header(content[: _HEADER + int.from_bytes(content[8:_HEADER], "little")])
    # Some copies keep the numbers as text.
    if dtype.kind not in "iufUS" or size != count or len(content) != start + size * dtype.itemsize:
        raise _Garbled
    try:
        return np.frombuffer(content, dtype, count=size, offset=start).astype(np.float64)
    except ValueError as error:
        raise _Garbled from error


@lru_cache(maxsize=256)
def _header(header: bytes) -> tuple[np.dtype[Any], int, int]:
    """Type, number of values and length of the header of a `.npy` file.

    There are four arrays a picture and a handful of different headers, whose parsing is what costs.

    Raises:
        _Garbled: it is none.
    """
    try:
        file = io.BytesIO(header)
        np.lib.format.read_magic(file)
        shape, transposed, dtype = np.lib.format.read_array_header_1_0(file)
    except Exception as error:
        # A damaged header makes numpy raise SyntaxError, TokenError, SystemError and others.
        raise _Garbled from error
    if transposed and len(shape) > 1:
        raise _Garbled
    return dtype, math.prod(shape), len(header)


def _scalar(note: Path, kind: str) -> float | None:
    array = _numbers(note, kind, 1)
    return None if array is None else float(array[0])


def _points(note: Path) -> tuple[float, ...] | None:
    array = _numbers(note, "lnd", 136)
    return None if array is None else plausible(five_points(array.reshape(68, 2)))
