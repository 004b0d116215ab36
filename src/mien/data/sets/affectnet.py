"""AffectNet (Mollahosseini, Hasani & Mahoor, IEEE Transactions on Affective Computing 10(1), 2019).

Faces from the web with eleven labels, of which three are no emotion, and with valence and arousal. Layouts:

- `2017`: `Manually_Annotated_Images/<n>/<hash>.jpg`, photographs, with `training.csv` and `validation.csv`
  in that folder, beside it or in `Manually_Annotated_file_lists`. The automatically annotated half is not
  read. `validation.csv` comes without a header line.
- `2021`: `train_set|val_set/images/<id>.jpg`, crops of 224x224, with
  `annotations/<id>_exp|_val|_aro|_lnd.npy`.
- `folders`: crops in `<0..7>/*` or `<class name>/*`, under split folders or not, as copies on Kaggle have
  them. The numbers are taken as the official codes.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping
from operator import itemgetter
from pathlib import Path
from typing import Final

from mien.data.sources.affectnet_arrays import NAME, PARTS, affect, is_arrays, plausible, read_arrays
from mien.data.sources.folders import class_folders, files_in, folders_in
from mien.data.sources.record import Record, SetFacts, Split
from mien.data.sources.table import lines_of, numbered
from mien.errors import InputError
from mien.labels import AFFECTNET_CODES, canonical_name, decode

FACTS: Final = SetFacts(
    title="AffectNet (Mollahosseini, Hasani & Mahoor, IEEE Trans. Affective Computing 10(1), 2019)",
    licence="Research only, under an agreement that a laboratory's head or a professor signs.",
    source="Ask the authors with the form at http://mohammadmahoor.com/affectnet/.",
)
COLUMNS: Final = (
    "subDirectory_filePath", "face_x", "face_y", "face_width", "face_height", "facial_landmarks",
    "expression", "valence", "arousal",
)  # fmt: skip
"""Of the lists of 2017, in their order."""
LISTS: Final[Mapping[str, Split]] = {"training.csv": "train", "validation.csv": "validation"}
_IMAGES: Final = "Manually_Annotated_Images"
_IMAGE_FOLDERS: Final = (
    _IMAGES,
    f"Manually_Annotated/{_IMAGES}",
    f"Manually_Annotated_compressed/{_IMAGES}",
)
_LIST_FOLDERS: Final = (".", "Manually_Annotated_file_lists", *_IMAGE_FOLDERS)
_NUMBERED: Final = ({str(code) for code in range(8)}, {str(code) for code in AFFECTNET_CODES})
_LABEL_OF: Final = {str(code): name for code, name in AFFECTNET_CODES.items()}
_FIVE: Final = itemgetter(*(2 * point + axis for point in (*range(36, 48), 30, 48, 54) for axis in (0, 1)))
"""Of 136 numbers, x and y of the points that `five_points` uses: both eyes, nose tip, mouth corners."""


def _images_of(root: Path) -> Path | None:
    return next((root / name for name in _IMAGE_FOLDERS if (root / name).is_dir()), None)


def _lists_of(root: Path) -> list[Path]:
    places = [[root / folder / name for folder in _LIST_FOLDERS] for name in LISTS]
    return [found for files in places if (found := next((f for f in files if f.is_file()), None))]


def _is_numbered(root: Path) -> bool:
    try:
        return {folder.name for _, folder in class_folders(root)} in _NUMBERED
    except InputError:
        return False


def _layout(root: Path, *, alone: bool = True) -> str | None:
    if _images_of(root) and _lists_of(root):
        return "2017"
    if is_arrays(root):
        return "2021"
    return "folders" if alone and _is_numbered(root) else None


def find(path: Path) -> tuple[str, Path] | None:
    """The layout at `path`, or in a folder in it, and the folder that has it; None when it is another set.

    Folders are claimed only where their names are exactly the numbers 0..7 or 0..10: class names look like a
    user's own folders, 1..7 is RAF-DB, 0..6 FER-2013 and 0..9 digits. One level down they must be alone.

    Raises:
        InputError: `path` holds AffectNet more than once.
    """
    if not path.is_dir():
        return None
    if layout := _layout(path):
        return layout, path
    # A disk's own folders, such as lost+found, may be closed to the user.
    inner = [folder for folder in folders_in(path) if os.access(folder, os.R_OK | os.X_OK)]
    alone = len(inner) == 1
    found = [(layout, folder) for folder in inner if (layout := _layout(folder, alone=alone))]
    if len(found) > 1:
        names = ", ".join(folder.name for _, folder in found)
        raise InputError(f"{path} holds AffectNet more than once ({names}); give the path of one.")
    return found[0] if found else None


def read(path: Path) -> Iterator[Record]:
    """AffectNet from any of its layouts; `path` is its folder or the one above. Class names are read too.

    Valence and arousal outside [-1, 1], of which -2 stands for "none", are None.

    Raises:
        InputError: none of the layouts is at `path`, or what is there breaks the layout's rules.
    """
    found = find(path) or _named_folders(path)
    if found is None:
        raise InputError(
            f"{path} holds no AffectNet: looked for {_IMAGES} with {' or '.join(LISTS)}, "
            f"{' or '.join(PARTS)} with images and annotations, and a folder for each class, named by its "
            "number or its name."
        )
    layout, root = found
    readers: Mapping[str, Callable[[Path], Iterator[Record]]] = {
        "2017": read_lists,
        "2021": read_arrays,
        "folders": read_folders,
    }
    return readers[layout](root)


def _named_folders(path: Path) -> tuple[str, Path] | None:
    if not path.is_dir():
        return None
    inner = folders_in(path)
    for root in (path, *(inner if len(inner) == 1 else [])):
        if any(_class_of(folder.name) for _, folder in class_folders(root)):
            return "folders", root
    return None


def _class_of(folder: str) -> str | None:
    name = _LABEL_OF.get(folder) or canonical_name(folder)
    return name if name in AFFECTNET_CODES.values() else None


def read_folders(root: Path) -> Iterator[Record]:
    """Crops in a folder a class, named by the official code or the class name, under split folders or not.

    Raises:
        InputError: a folder is no class of AffectNet.
    """
    classes = [(split, folder, _class_of(folder.name)) for split, folder in class_folders(root)]
    for _, folder, label in classes:
        if label is None:
            known = ", ".join(f"{code} {name}" for code, name in AFFECTNET_CODES.items())
            raise InputError(
                f"{folder.relative_to(root).as_posix()} is no class of AffectNet ({known}); rename or remove "
                "that folder."
            )
    for split, folder, label in classes:
        for file in files_in(folder):
            relative = file.relative_to(root).as_posix()
            yield Record(
                image=file,
                set=NAME,
                key=relative,
                source_file=relative,
                split=split,
                labels={NAME: label},
                drop_reason=None if file.is_file() else "missing file",
            )


def read_lists(root: Path) -> Iterator[Record]:
    """The photographs that `training.csv` and `validation.csv` of 2017 list, each with its face box.

    A picture that is listed again gets a key with the list and the row, and is an exact twin.

    Raises:
        InputError: a list has no such columns, or an expression is none of the eleven codes.
    """
    images = _images_of(root) or root
    within = images.relative_to(root).as_posix()
    seen: set[str] = set()
    for table in _lists_of(root):
        split = LISTS[table.name]
        for row, cells in _rows(table):
            named, x, y, width, height, points, expression, valence, arousal = cells
            if not named:
                raise InputError(f"{table.name}, row {row} names no picture; repair or delete that row.")
            label = _LABEL_OF.get(expression) or _decoded(expression, f"{table.name}, row {row}")
            image = images / named
            yield Record(
                image=image,
                set=NAME,
                key=f"{named}#{table.stem}-{row}" if named in seen else named,
                source_file=f"{within}/{named}",
                source_row=row,
                split=split,
                labels={NAME: label},
                valence=affect(valence),
                arousal=affect(arousal),
                face_box=_face_box(x, y, width, height),
                landmarks=_landmarks(points),
                cropped=False,
                drop_reason=None if image.is_file() else "missing file",
            )
            seen.add(named)


def _rows(table: Path) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Each data row as (0-based row, cells in the order of `COLUMNS`); blank lines are not counted."""
    filled = filter(None, lines_of(table, table.name))
    first = [cell.strip() for cell in next(filled, [])]
    headless = len(first) == len(COLUMNS) and not set(first) & set(COLUMNS)
    header = COLUMNS if headless else first
    if missing := [column for column in COLUMNS if column not in header]:
        raise InputError(f"{table.name} has no column {', '.join(missing)}; it needs {', '.join(COLUMNS)}.")
    pick = itemgetter(*(header.index(column) for column in COLUMNS))
    if headless:
        yield 0, pick(first)
    for row, cells in numbered(filled, len(header), table.name, first=int(headless)):
        yield row, pick(cells)


def _decoded(expression: str, where: str) -> str:
    try:
        code = int(expression)
    except ValueError:
        raise InputError(f"{where}: expression {expression!r} is no whole number.") from None
    return decode(code, AFFECTNET_CODES, where=where)


def _face_box(*cells: str) -> tuple[float, float, float, float] | None:
    try:
        x, y, width, height = map(float, cells)
    except ValueError:
        return None
    x1, y1 = x + width, y + height
    return (x, y, x1, y1) if x < x1 < math.inf and y < y1 < math.inf else None


def _landmarks(text: str) -> tuple[float, ...] | None:
    # What `five_points` gives, in a quarter of its time: there are 450,000 rows.
    numbers = text.split(";")
    if len(numbers) != 2 * 68:
        return None
    try:
        used = list(map(float, _FIVE(numbers)))
    except ValueError:
        return None
    eyes = [sum(used[start : start + 12 : 2]) / 6 for start in (0, 1, 12, 13)]
    return plausible((*eyes, *used[24:]))
