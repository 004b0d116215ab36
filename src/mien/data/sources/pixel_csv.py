"""The csv layout of the FER-2013 competition, `emotion,pixels,Usage`, in which a copy of CK+ goes about too.

`pixels` holds 2,304 integers, a grey picture of 48x48 row by row; `Usage` is the split. What the codes in
`emotion` mean differs from set to set, so they are left to the reader of the set.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from mien.data.sources.record import Pixels, Split
from mien.data.sources.table import rows_of
from mien.errors import InputError

SIDE: Final = 48
USAGES: Final[Mapping[str, Split]] = {"Training": "train", "PublicTest": "validation", "PrivateTest": "test"}


class PixelRow(NamedTuple):
    """One data row.

    Attributes:
        row: 0-based, without the header.
        where: file and row, for messages.
        code: `emotion`, in the set's own numbers.
        pixels: uint8 [48, 48], grey.
        usage: `Usage` as it stands there; `split_of` reads it.
    """

    row: int
    where: str
    code: int
    pixels: Pixels
    usage: str


def split_of(usage: str, where: str) -> Split:
    """The split that `usage` names; `where` (file and row) goes into the message.

    Raises:
        InputError: it is none of `USAGES`.
    """
    try:
        return USAGES[usage.strip()]
    except KeyError:
        raise InputError(f"{where}: Usage {usage!r} is not one of {', '.join(USAGES)}.") from None


def read_rows(path: Path) -> Iterator[PixelRow]:
    """Every row; columns are found by their stripped names, in any order.

    Raises:
        InputError: a column is missing, `emotion` is not a number, or a row has not 2,304 pixels in 0..255.
    """
    for row, cells in rows_of(path, ("emotion", "pixels", "Usage")):
        where = f"{path.name}, row {row}"
        try:
            code = int(cells["emotion"])
        except ValueError:
            raise InputError(f"{where}: emotion {cells['emotion']!r} is not a number.") from None
        yield PixelRow(row, where, code, _pixels(cells["pixels"], where), cells["Usage"])


def _pixels(text: str, where: str) -> Pixels:
    # A cut or garbled row shifts every later pixel, so it is an error of the file and not one bad picture to
    # skip.
    parts = text.split()
    if len(parts) != SIDE * SIDE:
        raise InputError(
            f"{where}: {len(parts):,} pixels instead of {SIDE * SIDE:,} ({SIDE}x{SIDE}); repair or delete "
            "that row."
        )
    try:
        values = bytes(map(int, parts))
    except ValueError:
        raise InputError(
            f"{where}: a pixel is not a whole number in 0..255; repair or delete that row."
        ) from None
    return np.frombuffer(values, dtype=np.uint8).reshape(SIDE, SIDE)
