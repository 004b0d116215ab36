"""What lies in a data set's folders: files in name order, class folders, split folders."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from mien.data.sources.record import Split
from mien.errors import InputError

SPLIT_NAMES: Final[Mapping[str, Split]] = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
}
_LITTER: Final = frozenset({"thumbs.db", "desktop.ini", "__macosx"})
"""What file managers leave behind, in lower case; hidden files are litter too."""


def _is_litter(name: str) -> bool:
    return name.startswith(".") or name.lower() in _LITTER


def _refuse(error: OSError) -> None:
    # By itself os.walk passes over a folder that may not be read.
    raise error


def files_in(folder: Path) -> Iterator[Path]:
    """Everything in and under a folder that is no folder, a folder's own files first, all in name order.

    Left out is only what file managers leave behind: hidden names, Thumbs.db, desktop.ini, __MACOSX. Broken
    links and files that are no pictures are among them: whoever put them there wants to hear of it.
    """
    for place, folders, files in os.walk(folder, onerror=_refuse):
        # os.walk goes down in the order that this list has when it is asked for the next folder.
        folders[:] = sorted(name for name in folders if not _is_litter(name))
        for name in sorted(files):
            if not _is_litter(name):
                yield Path(place, name)


def folders_in(folder: Path) -> list[Path]:
    """The sub-folders in name order, without what file managers leave behind."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and not _is_litter(path.name))


def class_folders(path: Path) -> list[tuple[Split | None, Path]]:
    """The class folders at `path`, each with its split where they lie under split folders.

    Raises:
        InputError: there are split folders beside class folders.
    """
    parts = folders_in(path)
    splits = [part for part in parts if part.name.lower() in SPLIT_NAMES]
    if splits and len(splits) != len(parts):
        odd = next(part.name for part in parts if part not in splits)
        raise InputError(f"{path} holds both split folders and {odd}; move it into a split or away.")
    if not splits:
        return [(None, folder) for folder in parts]
    return [(SPLIT_NAMES[part.name.lower()], folder) for part in splits for folder in folders_in(part)]
