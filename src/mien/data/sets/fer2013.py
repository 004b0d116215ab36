"""FER-2013 (Goodfellow et al., "Challenges in representation learning", 2013): 48x48 grey, seven emotions.

Four layouts: the competition's `fer2013.csv`; `icml_face_data.csv`, the same with a blank before the names
and another column order; Kaggle's folders `train|test/<class>/*`; and parquet shards with the columns row,
usage, emotion, png. Where `fer2013new.csv` (FER+) lies beside one that knows official row numbers, its votes
become a second annotation
of the same pictures: never a second row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Final

import polars as pl
from PIL import Image

from mien.data.sets import ferplus
from mien.data.sets.ferplus import Votes
from mien.data.sources import pixel_csv
from mien.data.sources.folders import files_in, folders_in
from mien.data.sources.pixel_csv import SIDE, USAGES, split_of
from mien.data.sources.record import Pixels, Record, SetFacts, Split
from mien.errors import InputError
from mien.labels import FER2013_CODES, canonical_name, decode

FACTS: Final = SetFacts(
    title="FER-2013 (Goodfellow et al., ICONIP 2013)",
    licence="research only, pictures from the web; neither they nor crops of them may be passed on",
    source="Kaggle competition challenges-in-representation-learning-facial-expression-recognition-"
    "challenge (fer2013.csv), and copies of it as folders",
)
CSV_NAMES: Final = ("fer2013.csv", "icml_face_data.csv")
SHARD_COLUMNS: Final = ("row", "usage", "emotion", "png")
KAGGLE_CLASSES: Final = frozenset({"angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"})
_FOLDER_SPLITS: Final[Mapping[str, Split]] = {"train": "train", "test": "test"}


def _is_shard(path: Path) -> bool:
    try:
        return set(SHARD_COLUMNS) <= set(pl.read_parquet_schema(path))
    except (pl.exceptions.PolarsError, OSError):
        return False


def shards_in(path: Path) -> list[Path]:
    """The parquet shards at a file or in a folder, in name order; empty when there are none."""
    candidates = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    return [file for file in candidates if file.suffix == ".parquet" and file.is_file() and _is_shard(file)]


def _record(
    image: Pixels | bytes,
    file: str,
    row: int,
    official: int,
    code: int,
    usage: str,
    votes: Sequence[Votes] | None,
) -> Record:
    """`row` is where the picture stands in its file, `official` its row in the competition's fer2013.csv."""
    where = f"{file}, row {row}"
    labels: dict[str, str | None] = {"fer2013": decode(code, FER2013_CODES, where=where)}
    counts: dict[str, Mapping[str, int]] = {}
    if votes is not None:
        if official >= len(votes) or votes[official].usage != usage.strip():
            raise InputError(
                f"{where}: row {official} of {ferplus.VOTES_FILE} is not the same picture (other Usage or "
                "no such row); "
                "FER+ fits the official fer2013.csv only, so use that or move the FER+ file away."
            )
        labels["ferplus"] = votes[official].label
        counts["ferplus"] = votes[official].counts
    return Record(
        image=image,
        set="fer2013",
        key=f"{official:05d}",
        source_file=file,
        source_row=row,
        split=split_of(usage, where),
        labels=labels,
        votes=counts,
        size=(SIDE, SIDE),
    )


def _count_rows(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for line in file if line.strip()) - 1


def read_csv(path: Path, votes: Sequence[Votes] | None = None) -> Iterator[Record]:
    """Every row of `fer2013.csv` or `icml_face_data.csv`; columns are found by their stripped names.

    Args:
        path: the csv.
        votes: FER+ in official row order, for the annotation `ferplus`.

    Raises:
        InputError: a column is missing, a row has not 2,304 pixels in 0..255, a code or usage is unknown, or
            the csv is not the official one that `votes` belong to.
    """
    if votes is not None and (rows := _count_rows(path)) != len(votes):
        raise InputError(
            f"{path.name} has {rows:,} rows and {ferplus.VOTES_FILE} beside it {len(votes):,}: votes "
            "belong to pictures by "
            "row, so use the official fer2013.csv or move the FER+ file away."
        )
    for row in pixel_csv.read_rows(path):
        yield _record(row.pixels, path.name, row.row, row.row, row.code, row.usage, votes)


def read_shards(shards: Sequence[Path], votes: Sequence[Votes] | None = None) -> Iterator[Record]:
    """Every row of parquet shards: columns row (official, 0-based), usage, emotion (official code), png
    (encoded).

    Raises:
        InputError: a code or usage is unknown, or `votes` do not fit.
    """
    for shard in shards:
        frame = pl.read_parquet(shard, columns=list(SHARD_COLUMNS))
        for row, (official, usage, code, png) in enumerate(frame.iter_rows()):
            yield _record(png or b"", shard.name, row, official, code, usage, votes)


def read_folders(path: Path) -> Iterator[Record]:
    """Kaggle's folders `train|test/<class>/*`.

    The prefix of a name (`Training_`, `PublicTest_`, `PrivateTest_`) gives the split; its number is not an
    official row. Without a prefix `test` is the test split, although it then holds PublicTest too, and
    `train` the training split.

    Raises:
        InputError: a class folder is not one of the seven emotions.
    """
    emotions = set(FER2013_CODES.values())
    for part, fallback in _FOLDER_SPLITS.items():
        if not (path / part).is_dir():
            continue
        for folder in folders_in(path / part):
            label = canonical_name(folder.name)
            if label not in emotions:
                known = ", ".join(FER2013_CODES.values())
                raise InputError(
                    f"{part}/{folder.name} is no class of FER-2013 ({known}); rename or remove that folder."
                )
            for file in files_in(folder):
                relative = file.relative_to(path).as_posix()
                yield Record(
                    image=file,
                    set="fer2013",
                    key=relative,
                    source_file=relative,
                    split=USAGES.get(file.name.split("_")[0], fallback),
                    labels={"fer2013": label},
                    size=(SIDE, SIDE),
                    drop_reason=None if file.is_file() else "missing file",
                )


def is_folders(path: Path) -> bool:
    """Whether train|test folders at `path` are FER-2013's: by prefix, or by class name and 48x48 pictures."""
    parts = [path / part for part in _FOLDER_SPLITS if (path / part).is_dir()]
    if not parts or any((path / other).is_dir() for other in ("val", "validation", "valid")):
        return False
    classes = [folder for part in parts for folder in folders_in(part)]
    firsts = [file for folder in classes for file in islice(files_in(folder), 1)]
    if any(file.name.split("_")[0] in USAGES for file in firsts):
        return True
    return {folder.name.lower() for folder in classes} == KAGGLE_CLASSES and any(
        map(_has_official_size, firsts)
    )


def _has_official_size(file: Path) -> bool:
    try:
        with Image.open(file) as image:
            return image.size == (SIDE, SIDE)
    except OSError:
        return False


def find(path: Path) -> tuple[str, list[Path]] | None:
    """The layout at `path` (a file or its folder, or the one that holds `fer2013/`), `csv`, `shards` or
    `folders`, and its files; or None."""
    return _layout(path) or _layout(path / "fer2013")


def _layout(path: Path) -> tuple[str, list[Path]] | None:
    if path.is_file() and path.suffix == ".csv" and path.name != ferplus.VOTES_FILE:
        return "csv", [path]
    for name in CSV_NAMES:
        if (path / name).is_file():
            return "csv", [path / name]
    if shards := shards_in(path):
        return "shards", shards
    if path.is_dir() and is_folders(path):
        return "folders", [path]
    return None


def read(path: Path, votes: Path | None = None) -> Iterator[Record]:
    """FER-2013 from any of its layouts; `path` is the file or the folder that holds it (or holds `fer2013/`).

    Args:
        path: where the set is.
        votes: `fer2013new.csv`; by default the one that lies beside the pictures, if any.

    Raises:
        InputError: none of the layouts is at `path`, or what is there breaks the layout's rules.
    """
    found = find(path)
    if found is None:
        raise InputError(
            f"{path} holds no FER-2013: looked for {', '.join(CSV_NAMES)}, parquet shards with the columns "
            f"{', '.join(SHARD_COLUMNS)}, and folders train|test/<class>."
        )
    kind, files = found
    if kind == "folders":
        if votes is not None:
            raise InputError(
                f"{path} holds FER-2013 as folders, whose pictures have no official row, so {votes.name} "
                "cannot be joined to them; use fer2013.csv, or give FER+ as its folders with pictures."
            )
        return read_folders(files[0])
    beside = votes or files[0].parent / ferplus.VOTES_FILE
    rows = ferplus.read_votes(beside) if beside.is_file() else None
    return read_csv(files[0], rows) if kind == "csv" else read_shards(files, rows)
