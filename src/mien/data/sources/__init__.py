"""One raw layout each: a reader turns a path into records."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from mien.data.sources import fer2013, ferplus, folder
from mien.data.sources.record import SPLITS, Pixels, Record, Split
from mien.errors import InputError

__all__ = ["SOURCES", "SPLITS", "Pixels", "Record", "Split", "read", "sniff"]

SOURCES: Mapping[str, Callable[[Path], Iterator[Record]]] = {
    "fer2013": fer2013.read,
    "ferplus": ferplus.read,
    "folder": folder.read,
}
"""The sets that can be named in `mien data prepare NAME=PATH`. `drawn` is not one: it has no path."""


def sniff(path: Path) -> str:
    """The name in `SOURCES` of the set whose layout is at `path`.

    Raises:
        InputError: nothing is at `path`, or nothing that mien knows.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist; give the file or folder of a data set.")
    if folder.find_csv(path):
        return "folder"
    if fer2013.find(path) or fer2013.find(path / "fer2013"):
        return "fer2013"
    around = path.parent if path.is_file() else path
    if any((around / name).is_dir() for name in ferplus.FOLDERS) or (around / ferplus.VOTES_FILE).is_file():
        return "ferplus"
    if path.is_dir() and any(path.iterdir()):
        return "folder"
    raise InputError(
        f"{path} is no known data set: looked for FER-2013 ({', '.join(fer2013.CSV_NAMES)}, parquet "
        "shards, train|test "
        f"folders), FER+ ({ferplus.VOTES_FILE}, {', '.join(ferplus.FOLDERS)}), a folder a class, a csv "
        "with path,label."
    )


def read(sources: Mapping[str, Path]) -> Iterator[Record]:
    """The records of every named set, set after set.

    `fer2013` and `ferplus` together are one set of pictures: the votes become a second annotation.

    Raises:
        InputError: a name is not in `SOURCES`, a path does not exist, or a set's files break its layout.
    """
    paths = dict(sources)
    for name, path in paths.items():
        if name not in SOURCES:
            raise InputError(f"data set {name!r} is not known; known are {', '.join(SOURCES)}, drawn.")
        if not path.exists():
            raise InputError(f"{name}: {path} does not exist; give the file or folder of the data set.")
    votes = None
    if {"fer2013", "ferplus"} <= paths.keys():
        votes = _votes_file(paths.pop("ferplus"))
    for name, path in paths.items():
        if name == "fer2013":
            yield from fer2013.read(path, votes)
        else:
            yield from SOURCES[name](path)


def _votes_file(path: Path) -> Path:
    file = path / ferplus.VOTES_FILE if path.is_dir() else path
    if not file.is_file():
        raise InputError(
            f"{path} has no {ferplus.VOTES_FILE}: only by its rows can FER+ be joined to FER-2013; give "
            "that file, or leave "
            "fer2013 out and use the FER+ folders alone."
        )
    return file
