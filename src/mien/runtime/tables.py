"""Tables of what was read: one row a face, written as it comes, all of it or nothing."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

from mien.card import ModelCard
from mien.errors import InputError, MissingExtra
from mien.files import replacing
from mien.runtime.face import PLACE_COLUMNS
from mien.runtime.parquet_parts import parquet_rows
from mien.runtime.pipeline import PredictedFile


class Writer(Protocol):
    """Takes results one by one."""

    def __call__(self, result: PredictedFile) -> None:
        """Write one file's result."""


def columns(labels: Sequence[str]) -> list[str]:
    """The columns of `rows_of`, in order."""
    fixed = [
        "path",
        "faces",
        "face",
        "emotion",
        "confidence",
        "abstained",
        *PLACE_COLUMNS,
        "detection_score",
    ]
    return [*fixed, *(f"p.{name}" for name in labels), "error"]


def rows_of(result: PredictedFile, labels: Sequence[str]) -> list[dict[str, Any]]:
    """One flat row a face; a file without a face, or that could not be read, gives one row with empty cells.

    Args:
        result: one file's result.
        labels: the card's labels; each is a column ``p.<label>``, empty where the view left it out.
    """
    empty: dict[str, Any] = {
        **dict.fromkeys(columns(labels)),
        "path": str(result.path),
        "error": result.error,
    }
    if not result.faces:
        return [{**empty, "faces": 0 if result.error is None else None}]
    count = len(result.faces)
    return [
        {**empty, "faces": count, "face": place, **face.to_row()} for place, face in enumerate(result.faces)
    ]


@contextmanager
def open_writers(targets: Sequence[tuple[str, Path]], card: ModelCard) -> Iterator[list[Writer]]:
    """Writers into files; each file takes its place when the block ends, and keeps its old content when
    something is raised.

    Args:
        targets: format (`csv`, `json`, `jsonl`, `parquet`) and file.
        card: of the model, for its labels and licence.

    Raises:
        InputError: two targets are one file.
        MissingExtra: parquet without polars.
    """
    places = [path.resolve() for _, path in targets]
    if len(set(places)) < len(places):
        twice = next(path for path in places if places.count(path) > 1)
        raise InputError(f"{twice} is named twice as an output; give each its own.")
    with ExitStack() as stack:
        yield [stack.enter_context(_WRITERS[kind](path, card)) for kind, path in targets]


@contextmanager
def _csv(path: Path, card: ModelCard) -> Iterator[Writer]:
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns(card.labels), lineterminator="\n")
        writer.writeheader()
        yield lambda result: writer.writerows(rows_of(result, card.labels))


@contextmanager
def _jsonl(path: Path, card: ModelCard) -> Iterator[Writer]:
    """One JSON object a file and line."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        yield lambda result: _line(file, result)


@contextmanager
def _json(path: Path, card: ModelCard) -> Iterator[Writer]:
    """``{"model": ..., "labels": [...], "licence": ..., "files": [...]}``, one file a line."""
    head = {"model": card.name, "labels": list(card.labels), "licence": card.licence}
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write(json.dumps(head, ensure_ascii=False)[:-1] + ', "files": [')
        before = "\n"

        def write(result: PredictedFile) -> None:
            nonlocal before
            file.write(before + _text(result))
            before = ",\n"

        yield write
        file.write("\n]}\n")


@contextmanager
def _parquet(path: Path, card: ModelCard) -> Iterator[Writer]:
    try:
        import polars
    except ModuleNotFoundError:
        raise MissingExtra("a parquet file", "tables") from None
    text = dict.fromkeys(("path", "emotion", "error"), polars.String)
    whole = dict.fromkeys(("faces", "face"), polars.Int32)
    schema = {
        name: text.get(name) or whole.get(name) or (polars.Boolean if name == "abstained" else polars.Float32)
        for name in columns(card.labels)
    }
    with parquet_rows(path, schema) as write:

        def write_all(result: PredictedFile) -> None:
            for row in rows_of(result, card.labels):
                write(row)

        yield write_all


def _text(result: PredictedFile) -> str:
    return json.dumps(result.to_dict(), ensure_ascii=False, allow_nan=False)


def _line(file: Any, result: PredictedFile) -> None:
    file.write(_text(result) + "\n")


_WRITERS: Final = {"csv": _csv, "json": _json, "jsonl": _jsonl, "parquet": _parquet}
