"""What the names and paths of `mien data prepare` stand for: readers of public sets and of a user's own."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Final

from mien.data.sets import fer2013, ferplus, names, public_sets
from mien.data.sources import drawn, folder
from mien.data.sources.record import Record, SetFacts
from mien.errors import InputError

Named = Sequence[tuple[str, Path]]
"""Set names and paths, in the order in which they were given."""

_NAME: Final = re.compile("[a-z][a-z0-9_]*")
_CLOSE: Final = 0.8
"""Likeness of a name to that of a public set, 0..1, above which it is taken for a slip."""
_JOINED: Final = frozenset({"ckplus"})
"""Sets that may be given in two layouts at once: their frames have the same key in both."""
_AFTER_TABLES: Final = ("fer2013", "ferplus")
"""Sets whose pictures may lie as a user's own do, who has said with a table of labels that they are."""


def sniff(path: Path) -> str:
    """The name of the set whose layout is at `path`, `folder` for a user's own.

    Raises:
        InputError: nothing is at `path`, or nothing that mien knows.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist; give the file or folder of a data set.")
    if path.is_file() and folder.find_csv(path):
        return folder.NAME
    known = public_sets()
    for name in known:
        if name not in _AFTER_TABLES and known[name].find(path):
            return name
    if folder.find_csv(path):
        return folder.NAME
    for name in _AFTER_TABLES:
        if known[name].find(path):
            return name
    if path.is_dir() and any(path.iterdir()):
        return folder.NAME
    raise InputError(
        f"{path} is no known data set: looked for the layouts of {', '.join(known)}, a folder a class, a csv "
        "with path,label."
    )


def facts() -> Mapping[str, SetFacts]:
    """What people should know about each public set, and about drawn faces."""
    return {**{name: one.FACTS for name, one in public_sets().items()}, drawn.NAME: drawn.FACTS}


def own_sets(named: Named) -> frozenset[str]:
    """The names that stand for sets of the user's own."""
    return frozenset(name for name, _ in named if name not in names())


def readers(named: Named) -> Callable[[], Iterable[Record]]:
    """The records of every named set, set after set, from their beginning as often as it is called.

    `fer2013` with FER+'s csv of votes is one set of pictures: the votes become a second annotation.

    Raises:
        InputError: a name or a path cannot be used, or a set is given twice.
    """
    _check(named)
    votes = next((found for name, path in named if name == "ferplus" and (found := _votes_file(path))), None)
    joined = votes is not None and any(name == "fer2013" for name, _ in named)
    opened: list[Callable[[], Iterator[Record]]] = []
    for name, path in named:
        if name == "ferplus" and joined:
            continue
        if name == "fer2013" and joined:
            opened.append(partial(fer2013.read, path, votes))
        elif name in _JOINED and sum(other == name for other, _ in named) > 1:
            opened.append(partial(_without_splits, name, path))
        elif name in names():
            opened.append(partial(public_sets()[name].read, path))
        else:
            opened.append(partial(folder.read, path, name))

    def records() -> Iterator[Record]:
        for reader in opened:
            yield from reader()

    return records


def _without_splits(name: str, path: Path) -> Iterator[Record]:
    # Of CK+'s layouts only ckextended.csv has splits; beside another they would hold for some pictures alone.
    for record in public_sets()[name].read(path):
        yield replace(record, split=None)


def _check(named: Named) -> None:
    seen: set[str] = set()
    for name, path in named:
        if drawn.NAME in (name, str(path)) and not path.exists():
            raise InputError("drawn faces stand alone; prepare them into a folder of their own.")
        if not path.exists():
            raise InputError(f"{name}: {path} does not exist; give the file or folder of the data set.")
        if name in seen and name not in _JOINED:
            raise InputError(f"data set {name} is given twice; give each set once, or another name.")
        seen.add(name)
        if name in names() or name == folder.NAME:
            continue
        if name == drawn.NAME or not _NAME.fullmatch(name):
            raise InputError(
                f"data set {name!r} cannot be the name of a set of your own; use small letters, digits and _."
            )
        # A slip in the name of a public set would be read as a folder of the user's own.
        if close := get_close_matches(name, names(), n=1, cutoff=_CLOSE):
            raise InputError(
                f"data set {name!r} is not known: write {close[0]}={path}, or give a folder of your own a "
                "name that is less like it."
            )
        if (found := sniff(path)) != folder.NAME:
            raise InputError(
                f"data set {name!r} is not known and {path} holds {found}; write {found}={path} "
                f"(known are {', '.join(names())}; other names are for folders of your own)."
            )


def _votes_file(path: Path) -> Path | None:
    """FER+'s csv of votes, where FER+ is not given as folders with their own pictures."""
    file = path / ferplus.VOTES_FILE if path.is_dir() else path
    return None if ferplus.has_folders(path) or not file.is_file() else file
