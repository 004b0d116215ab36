"""RAF-DB, the basic emotions (Li, Deng & Du, CVPR 2017): faces from the web, seven emotions.

Two layouts: the authors', `EmoLabel/list_patition_label.txt` (their spelling; the right one is read too)
with `Image/aligned/train_00001_aligned.jpg`, crops of 100x100, or else the photographs in `Image/original`;
and the copy on Kaggle, `DATASET/train|test/<1..7>/*_aligned.jpg` with `train_labels.csv` and
`test_labels.csv`. A picture has the same key in both: `train_00001`.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from mien.data.sources.folders import SPLIT_NAMES, class_folders, files_in, folders_in
from mien.data.sources.record import Record, SetFacts
from mien.data.sources.table import rows_of
from mien.errors import InputError
from mien.labels import RAFDB_CODES, decode

NAME: Final = "rafdb"
FACTS: Final = SetFacts(
    title="RAF-DB, basic emotions (Li, Deng & Du, CVPR 2017)",
    licence="Non-commercial research only; the pictures may not be passed on.",
    source="Ask the authors by e-mail from a university's address: http://www.whdeng.cn/RAF/model1.html.",
)
LISTS: Final = ("list_patition_label.txt", "list_partition_label.txt")
CSV_NAMES: Final = ("train_labels.csv", "test_labels.csv")
_NUMBERS: Final = {str(code) for code in RAFDB_CODES}
_PICTURE: Final = re.compile(r"(train|test)_\d+(?=(_aligned)?\.)")
_COMPOUND: Final = range(8, 12)
"""Codes that only the list of the compound emotions has, which is called the same."""


def _list_of(root: Path) -> Path | None:
    return next((root / "EmoLabel" / name for name in LISTS if (root / "EmoLabel" / name).is_file()), None)


def _numbered(root: Path) -> Path | None:
    """`root` or its `DATASET`, if it has split folders whose classes and pictures are named as in RAF-DB."""
    for folder in (root / "DATASET", root):
        try:
            classes = class_folders(folder) if folder.is_dir() else []
        except InputError:
            continue
        names = {inner.name for split, inner in classes if split}
        if names == _NUMBERS:
            first = next((file for _, inner in classes for file in files_in(inner)), None)
            return folder if first is not None and _PICTURE.match(first.name) else None
    return None


def _layout(root: Path) -> tuple[str, Path] | None:
    if _list_of(root):
        return "official", root
    return ("kaggle", folder) if (folder := _numbered(root)) else None


def find(path: Path) -> tuple[str, Path] | None:
    """The layout at `path`, or in a folder in it, and the folder that has it; None when it is another set.

    The authors' layout is known by its list. Folders are claimed only where the classes in train and test
    together are exactly 1..7 and the first picture is named as in RAF-DB.

    Raises:
        InputError: `path` holds RAF-DB more than once.
    """
    if not path.is_dir():
        return None
    if found := _layout(path):
        return found
    # A disk's own folders, such as lost+found, may be closed to the user.
    inner = [folder for folder in folders_in(path) if os.access(folder, os.R_OK | os.X_OK)]
    below = [found for folder in inner if (found := _layout(folder))]
    if len(below) > 1:
        names = ", ".join(folder.relative_to(path).as_posix() for _, folder in below)
        raise InputError(f"{path} holds RAF-DB more than once ({names}); give the path of one.")
    return below[0] if below else None


def read(path: Path) -> Iterator[Record]:
    """RAF-DB from either layout; `path` is its folder or the one above.

    Raises:
        InputError: neither layout is at `path`, or what is there breaks the layout's rules.
    """
    found = find(path)
    if found is None:
        raise InputError(
            f"{path} holds no RAF-DB: looked for EmoLabel/{LISTS[0]} and Image/aligned, and for "
            "DATASET/train|test/<1..7> with names such as train_00001_aligned.jpg."
        )
    layout, root = found
    return read_official(root) if layout == "official" else read_kaggle(root)


def read_official(root: Path) -> Iterator[Record]:
    """The pictures of the authors' list, splits by their names; those not on it are dropped and listed.

    Raises:
        InputError: there is no folder of pictures, or a line is not `name code`.
    """
    table = _list_of(root)
    folders = (root / "Image" / name for name in ("aligned", "original"))
    folder = next((folder for folder in folders if folder.is_dir()), None)
    if table is None or folder is None:
        raise InputError(f"{root} has no Image/aligned and no Image/original; unpack aligned.zip there.")
    cropped = folder.name == "aligned"
    files = {file.name: file for file in files_in(folder)}
    for name, codes in _lines(table).items():
        stem, dot, ending = name.rpartition(".")
        picture = f"{stem}_aligned{dot}{ending}" if cropped else name
        yield _record(files.pop(picture, folder / picture), root, codes, cropped=cropped)
    for file in files.values():
        yield _record(file, root, set(), cropped=cropped)


def _lines(table: Path) -> dict[str, set[int]]:
    """Each name on the list with its codes: one, unless it stands there again with another."""
    codes: dict[str, set[int]] = {}
    try:
        lines = table.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{table.name} cannot be read as UTF-8 ({error}); save it as such.") from error
    for number, line in enumerate(lines, start=1):
        if parts := line.split():
            where = f"{table.name}, line {number}"
            if len(parts) != 2 or not _PICTURE.match(parts[0]):
                raise InputError(
                    f"{where}: {line.strip()!r} is not `name code` as in `train_00001.jpg 5`; repair or "
                    "delete that line."
                )
            codes.setdefault(parts[0], set()).add(_code(parts[1], where))
    return codes


def _code(text: str, where: str) -> int:
    try:
        code = int(text)
    except ValueError:
        raise InputError(f"{where}: label {text!r} is no whole number.") from None
    if code in _COMPOUND:
        raise InputError(f"{where}: label code {code} is a compound emotion; give the basic part of RAF-DB.")
    decode(code, RAFDB_CODES, where=where)
    return code


def read_kaggle(root: Path) -> Iterator[Record]:
    """The crops in `train|test/<1..7>`; the folder is the label, and the csv files may only agree with it.

    A picture that lies in two class folders, or that a csv gives another label, is dropped and listed; so is
    a row of a csv without a picture.

    Raises:
        InputError: a csv has no columns image and label, or a label is not one of 1..7.
    """
    listed = _csv_codes(root)
    files = [(file, int(folder.name)) for _, folder in class_folders(root) for file in files_in(folder)]
    codes = {name: set(found) for name, found in listed.items()}
    for file, code in files:
        codes.setdefault(file.name, set()).add(code)
    often = Counter(file.name for file, _ in files)
    for file, _ in files:
        key = file.relative_to(root).as_posix() if often[file.name] > 1 else None
        yield _record(file, root, codes[file.name], key=key)
    for name in [name for name in listed if name not in often]:
        yield _record(root / name, root, codes[name])


def _csv_codes(root: Path) -> dict[str, set[int]]:
    """The codes that the csv files in or beside `DATASET` give each picture."""
    codes: dict[str, set[int]] = {}
    for name in CSV_NAMES:
        # Beside it only where its name says that it is not all of what was given.
        places = (root, root.parent) if root.name == "DATASET" else (root,)
        table = next((place / name for place in places if (place / name).is_file()), None)
        for row, cells in rows_of(table, ("image", "label")) if table else ():
            code = _code(cells["label"], f"{name}, row {row}")
            codes.setdefault(cells["image"].strip(), set()).add(code)
    return codes


def _record(
    file: Path, root: Path, codes: set[int], *, cropped: bool = True, key: str | None = None
) -> Record:
    relative = file.relative_to(root).as_posix()
    named = _PICTURE.match(file.name)
    reason = None
    if len(codes) != 1:
        reason = "two labels" if codes else "no label"
    elif not file.is_file():
        reason = "missing file"
    return Record(
        image=file,
        set=NAME,
        key=key or (named[0] if named else relative),
        source_file=relative,
        split=SPLIT_NAMES.get(named[1] if named else relative.split("/")[0].lower()),
        labels={NAME: RAFDB_CODES[min(codes)] if len(codes) == 1 else None},
        cropped=cropped,
        drop_reason=reason,
    )
