"""A user's own faces: a folder a class, a table of paths and labels, or Hugging Face's `imagefolder`.

Layouts: `<class>/*`; `train|val|validation|test/<class>/*`; a csv with the columns path and label (also under
the names in `PATH_COLUMNS` and `LABEL_COLUMNS`, in any case, separated by comma, semicolon or tab); and
`metadata.csv` or `metadata.jsonl` at the root or in each split folder, as the `imagefolder` loader of Hugging
Face `datasets` reads them. Optional columns are split, subject, valence and arousal; any other is kept as
`user.<name>`. Pictures are taken as faces that were already cropped.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from mien.data.sources.folders import SPLIT_NAMES, class_folders, files_in, folders_in
from mien.data.sources.record import Record, SetFacts, Split
from mien.data.sources.table import lines_of, numbered
from mien.errors import InputError
from mien.labels import canonical_name

NAME: Final = "folder"
FACTS: Final = SetFacts(
    title="Your own pictures",
    licence="As you hold them: mien cannot know it.",
    source="A folder for each class, or a csv with the columns path and label.",
)
PATH_COLUMNS: Final = ("path", "file_name", "filename", "file", "image")
"""Names of the column with a picture's path; where a table has several, the first of these is it."""
LABEL_COLUMNS: Final = ("label", "labels", "emotion")
"""Names of the column with the class, in the same manner."""
METADATA_FILES: Final = ("metadata.csv", "metadata.jsonl")
_OPTIONAL: Final = ("split", "subject", "valence", "arousal")
_CSV: Final = (".csv", ".CSV", ".tsv", ".TSV")
_DELIMITERS: Final = (",", ";", "\t")


def read_folders(path: Path, name: str = NAME) -> Iterator[Record]:
    """A folder a class, under split folders or not; the folder's name is the label.

    A split folder with a metadata file that has labels is read by that file.

    Raises:
        InputError: there is no class folder, or there are split folders beside class folders.
    """
    classes = class_folders(path)
    parts = [part for part in folders_in(path) if part.name.lower() in SPLIT_NAMES]
    tables = {part: found for part in parts if (found := _metadata_in(part))}
    if not classes and not tables:
        raise InputError(
            f"{path} holds no class folders; put the pictures of each class in a folder of its name."
        )
    for part, found in tables.items():
        yield from read_table(_the_one(found, part), name, root=path, split=SPLIT_NAMES[part.name.lower()])
    for split, folder in classes:
        if folder.parent in tables:
            continue
        for file in files_in(folder):
            relative = file.relative_to(path).as_posix()
            yield Record(
                image=file,
                set=name,
                key=relative,
                source_file=relative,
                split=split,
                labels={name: canonical_name(folder.name)},
                drop_reason=None if file.is_file() else "missing file",
            )


def read_table(
    path: Path, name: str = NAME, *, root: Path | None = None, split: Split | None = None
) -> Iterator[Record]:
    """A csv or jsonl with a path (relative to the table's folder) and a label in each row.

    Args:
        path: the table.
        name: of the set and of its annotation.
        root: the folder that was given, when the table lies in a split folder under it.
        split: of rows that name none.

    Raises:
        InputError: a column or a cell is missing, a split has an unknown name, or a valence or arousal is not
            a number in [-1, 1].
    """
    root = root or path.parent
    shown = path.relative_to(root).as_posix()
    prefix = "" if path.parent == root else f"{path.parent.relative_to(root).as_posix()}/"
    rows = _json_rows(path, shown) if path.suffix == ".jsonl" else _csv_rows(path, shown)
    for row, cells in rows:
        where = f"{shown}, row {row}"
        roles = _roles(cells)
        values = {role: cells[column].strip() for role, column in roles.items()}
        if not values.get("path") or not values.get("label"):
            raise InputError(f"{where}: path or label is empty; fill it in or delete that row.")
        image = path.parent / values["path"]
        yield Record(
            image=image,
            set=name,
            key=f"{prefix}{row:06d}",
            source_file=_relative(image, root),
            source_row=row,
            split=_row_split(values.get("split"), where) or split or _first_folder(path, values["path"]),
            labels={name: canonical_name(values["label"])},
            subject=values.get("subject") or None,
            valence=_affect("valence", values.get("valence"), where),
            arousal=_affect("arousal", values.get("arousal"), where),
            user={
                column: cell.strip()
                for column, cell in cells.items()
                # A column without a name is the row number that pandas writes.
                if column and cell.strip() and column not in roles.values()
            },
            drop_reason=None if image.is_file() else "missing file",
        )


def _roles(columns: Iterable[str]) -> dict[str, str]:
    """What mien wants of a table (path, label and `_OPTIONAL`) to the column that has it."""
    by_name = {column.strip().lower(): column for column in columns}
    wanted = {"path": PATH_COLUMNS, "label": LABEL_COLUMNS, **{role: (role,) for role in _OPTIONAL}}
    return {
        role: by_name[found]
        for role, names in wanted.items()
        if (found := next((name for name in names if name in by_name), None))
    }


def _row_split(cell: str | None, where: str) -> Split | None:
    if not cell:
        return None
    try:
        return SPLIT_NAMES[cell.lower()]
    except KeyError:
        raise InputError(f"{where}: split {cell!r} is not one of {', '.join(SPLIT_NAMES)}.") from None


def _first_folder(table: Path, picture: str) -> Split | None:
    # Hugging Face takes the split from the folder; beside a user's own csv it may be called anything.
    return SPLIT_NAMES.get(picture.split("/")[0].lower()) if table.name in METADATA_FILES else None


def _affect(column: str, cell: str | None, where: str) -> float | None:
    if not cell:
        return None
    try:
        value = float(cell)
    except ValueError:
        value = float("nan")
    if not -1 <= value <= 1:
        raise InputError(f"{where}: {column} {cell!r} is not a number in [-1, 1]; leave the cell empty.")
    return value


def _relative(image: Path, root: Path) -> str:
    # A picture outside the root keeps only its name: where it lies is the business of one machine.
    return image.relative_to(root).as_posix() if image.is_relative_to(root) else image.name


def _headers(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Each delimiter with the stripped names that it cuts a csv's first line into."""
    for delimiter in _DELIMITERS:
        try:
            # A letter of another encoding further down is a fault of the table, but it is one still.
            with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
                first = next(csv.reader(file, delimiter=delimiter), [])
        except csv.Error:
            continue
        yield delimiter, [column.strip() for column in first]


def _csv_rows(path: Path, shown: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Each data row as (0-based row, stripped column name to cell); blank lines are not counted."""
    headers = dict(_headers(path))
    fitting = (mark for mark, header in headers.items() if {"path", "label"} <= _roles(header).keys())
    delimiter = next(fitting, _DELIMITERS[0])
    _check_header(headers.get(delimiter, []), shown)
    lines = lines_of(path, shown, delimiter)
    header = [column.strip() for column in next(lines)]
    for row, cells in numbered(lines, len(header), shown):
        yield row, dict(zip(header, cells, strict=True))


def _check_header(header: list[str], shown: str) -> None:
    roles = _roles(header)
    for role, names in (("path", PATH_COLUMNS), ("label", LABEL_COLUMNS)):
        if role not in roles:
            raise InputError(
                f"{shown} has no column {role} (found: {', '.join(header) or 'an empty file'}); "
                f"name one of its columns {', '.join(names[:-1])} or {names[-1]}."
            )
    plain = [column.lower() for column in header if column]
    if twice := next((column for column in plain if plain.count(column) > 1), None):
        raise InputError(f"{shown} has the column {twice!r} twice; rename one.")


def _json_rows(path: Path, shown: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Each line's object as (0-based row, name to value as text); nulls are left out, blank lines skipped."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            for row, line in enumerate(line for line in file if line.strip()):
                try:
                    values = json.loads(line)
                except json.JSONDecodeError:
                    values = None
                if not isinstance(values, dict):
                    raise InputError(f"{shown}, row {row} is no JSON object; repair or delete that line.")
                yield (
                    row,
                    {
                        column.strip(): value if isinstance(value, str) else json.dumps(value)
                        for column, value in values.items()
                        if value is not None
                    },
                )
    except UnicodeDecodeError as error:
        raise InputError(f"{shown} cannot be read as UTF-8 ({error}); save it as such.") from error


def _has_labels(table: Path) -> bool:
    """Whether a table's first line names a path and a label."""
    if table.suffix == ".jsonl":
        try:
            first: list[Iterable[str]] = [next(_json_rows(table, table.name), (0, {}))[1]]
        except InputError:
            return False
    else:
        first = [header for _, header in _headers(table)]
    return any({"path", "label"} <= _roles(columns).keys() for columns in first)


def _metadata_in(folder: Path) -> list[Path]:
    tables = (folder / name for name in METADATA_FILES)
    return [table for table in tables if table.is_file() and _has_labels(table)]


def _the_one(tables: list[Path], folder: Path) -> Path:
    if len(tables) > 1:
        names = ", ".join(table.name for table in tables)
        raise InputError(f"{folder} holds several tables of pictures ({names}); give the path of one.")
    return tables[0]


def find_tables(path: Path) -> list[Path]:
    """The tables with a path and a label at `path`: itself, or the csv files and the metadata in a folder."""
    if path.is_file():
        return [path] if path.suffix in (*_CSV, ".jsonl") and _has_labels(path) else []
    tables = [table for table in sorted(path.glob("*")) if table.suffix in _CSV and _has_labels(table)]
    return tables + [table for table in _metadata_in(path) if table not in tables]


def find_csv(path: Path) -> Path | None:
    """The first of `find_tables`."""
    return next(iter(find_tables(path)), None)


def find(path: Path) -> tuple[str, Path] | None:
    """`table` and the file, or `folders` and the folder; any folder that holds a folder is the latter."""
    if table := find_csv(path):
        return "table", table
    return ("folders", path) if path.is_dir() and folders_in(path) else None


def read(path: Path, name: str = NAME) -> Iterator[Record]:
    """A user's own pictures; `path` is a folder of classes, or a table or the folder that holds it.

    Args:
        path: where they are.
        name: of the set and of its annotation.

    Raises:
        InputError: no layout is at `path`, or several tables are.
    """
    if path.is_file():
        return read_table(path, name)
    if tables := find_tables(path):
        return read_table(_the_one(tables, path), name)
    return read_folders(path, name)
