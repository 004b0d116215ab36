"""A prepared folder: its manifest and its pack, opened together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from mien.data.manifest import Manifest
from mien.data.pack import open_pack
from mien.errors import InputError

MANIFEST_FILE: Final = "manifest.parquet"
STAGES: Final = "stages"
"""The folder of what the stages left; it may be deleted, and only makes the next prepare start anew."""


@dataclass(frozen=True)
class PackFile:
    """The pack of a prepared folder, by name."""

    name: str
    """Of the file, which holds a part of the hash of what was read."""
    count: int
    """Faces in it."""
    sha256: str
    """Of the file, in hexadecimal."""


@dataclass(frozen=True)
class Prepared:
    """A prepared folder, opened."""

    manifest: Manifest
    """One row a picture."""
    pack: npt.NDArray[np.uint8]
    """uint8 [N, C, H, W], memory-mapped read-only; the manifest's `pack_row` indexes it."""


def load_prepared(folder: Path) -> Prepared:
    """Open a prepared folder.

    Raises:
        InputError: it is missing, was not made by `mien data prepare`, was not finished, or manifest and pack
            do not belong together.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; make one with `mien data prepare PATH --out {folder}`.")
    if (folder / STAGES).is_dir() and not (folder / MANIFEST_FILE).exists():
        raise InputError(
            f"{folder} has no manifest yet: its pictures were read and nothing more; run `mien data split "
            f"{folder}`, or `mien data prepare` again."
        )
    manifest = Manifest.read(folder / MANIFEST_FILE)
    info = manifest.info
    pack = open_pack(folder / info.pack_file)
    expected = (info.pack_count, info.channels, info.size, info.size)
    if pack.shape != expected:
        raise InputError(
            f"{folder}: the pack is {pack.shape} and the manifest's is {expected}; prepare the data again."
        )
    return Prepared(manifest, pack)
