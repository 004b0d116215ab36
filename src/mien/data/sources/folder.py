"""A user's own faces: a folder a class, or a csv with `path,label`.

Layouts: `<class>/*`; `train|val|validation|test/<class>/*` (also Hugging Face's `imagefolder`); a csv with
the columns path, label, and optionally split and subject, whose other columns are kept as `user.<name>`.
Pictures are taken as faces that were already cropped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from mien.data.sources.record import Record, Split, folders_in, pictures_in
from mien.data.sources.table import header_of, rows_of
from mien.errors import InputError
from mien.labels import canonical_name

NAME: Final = "folder"
SPLIT_NAMES: Final[Mapping[str, Split]] = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
}


def read_folders(path: Path) -> Iterator[Record]:
    """A folder a class, under split folders or not; the folder's name is the label.

    Raises:
        InputError: there is no class folder, or there are split folders beside class folders.
    """
    parts = folders_in(path)
    splits = [part for part in parts if part.name.lower() in SPLIT_NAMES]
    if splits and len(splits) != len(parts):
        odd = next(part.name for part in parts if part not in splits)
        raise InputError(f"{path} holds both split folders and {odd}; move it into a split or away.")
    classes = [(SPLIT_NAMES[part.name.lower()], folder) for part in splits for folder in folders_in(part)]
    plain: list[tuple[Split | None, Path]] = [*classes] if splits else [(None, folder) for folder in parts]
    if not plain:
        raise InputError(
            f"{path} holds no class folders; put the pictures of each class in a folder of its name."
        )
    for split, folder in plain:
        for file in pictures_in(folder):
            relative = file.relative_to(path).as_posix()
            yield Record(
                image=file,
                set=NAME,
                key=relative,
                source_file=relative,
                split=split,
                labels={NAME: canonical_name(folder.name)},
            )


def _row_split(cell: str, where: str) -> Split:
    try:
        return SPLIT_NAMES[cell.lower()]
    except KeyError:
        raise InputError(f"{where}: split {cell!r} is not one of {', '.join(SPLIT_NAMES)}.") from None


def read_csv(path: Path) -> Iterator[Record]:
    """A csv with the columns path (relative to the csv's folder), label, and optionally split, subject and
    others.

    Raises:
        InputError: a column or a cell is missing, or a split has an unknown name.
    """
    for row, cells in rows_of(path, ("path", "label")):
        where = f"{path.name}, row {row}"
        values = {name: cell.strip() for name, cell in cells.items()}
        named, label = values.pop("path"), values.pop("label")
        if not named or not label:
            raise InputError(f"{where}: path or label is empty; fill it in or delete that row.")
        split, subject = values.pop("split", None), values.pop("subject", None)
        image = path.parent / named
        yield Record(
            image=image,
            set=NAME,
            key=f"{row:06d}",
            source_file=_relative(image, path.parent),
            source_row=row,
            split=_row_split(split, where) if split else None,
            labels={NAME: canonical_name(label)},
            subject=subject or None,
            user=values,
            drop_reason=None if image.is_file() else "missing file",
        )


def _relative(image: Path, root: Path) -> str:
    # A picture outside the root keeps only its name: where it lies is the business of one machine.
    return image.relative_to(root).as_posix() if image.is_relative_to(root) else image.name


def find_csv(path: Path) -> Path | None:
    """The csv with `path` and `label` columns at a file, or alone in a folder."""
    tables = [path] if path.suffix == ".csv" and path.is_file() else sorted(path.glob("*.csv"))
    return next((table for table in tables if {"path", "label"} <= set(header_of(table))), None)


def read(path: Path) -> Iterator[Record]:
    """A user's own pictures (annotation and set `folder`); `path` is a folder of classes, or a csv or its
    folder.

    Raises:
        InputError: neither layout is at `path`.
    """
    if path.is_file():
        return read_csv(path)
    if table := find_csv(path):
        return read_csv(table)
    return read_folders(path)
