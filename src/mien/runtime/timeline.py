"""The timeline of a video: one row for each face of each frame, into tables, all of it or nothing."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from mien.card import ModelCard
from mien.errors import InputError, MissingExtra
from mien.files import replacing
from mien.runtime.face import PLACE_COLUMNS
from mien.runtime.parquet_parts import parquet_rows
from mien.runtime.smoothing import Smoothed

TABLES: Final = ("parquet", "csv", "jsonl")
"""Kinds of table."""

Row = dict[str, Any]
Write = Callable[[Row], None]


def timeline_columns(labels: Sequence[str]) -> list[str]:
    """The columns in order: `frame` (place in the file, from 0), `time` (seconds since the first frame),
    `track`, `person` (empty where tracks are not joined), `emotion` and `confidence` (of the smoothed
    probabilities), `abstained`, the box, `detection_score` (empty between two searches), `p.<label>` (of the
    frame alone) and `smoothed.<label>`."""
    fixed = ["frame", "time", "track", "person", "emotion", "confidence", "abstained", *PLACE_COLUMNS]
    shares = [f"{kind}.{name}" for kind in ("p", "smoothed") for name in labels]
    return [*fixed, "detection_score", *shares]


def timeline_rows(
    frames: Iterable[Smoothed], card: ModelCard, view: str | Sequence[str], people: Mapping[int, int] | None
) -> Iterator[Row]:
    """The rows of frames in their order; a frame without a face is one row with empty cells.

    Args:
        frames: with their smoothed probabilities.
        card: of the model.
        view: the classes that were allowed.
        people: track to person; None where tracks are not joined.
    """
    kept = [place for place, name in enumerate(card.labels) if name in set(card.view(view))]
    empty: Row = dict.fromkeys(timeline_columns(card.labels))
    for frame, smoothed in frames:
        start = {**empty, "frame": frame.index, "time": frame.time}
        if not frame.faces:
            yield start
        for face, means in zip(frame.faces, smoothed, strict=True):
            top = max(kept, key=lambda place: means[place])
            confidence = round(float(means[top]), 6)
            least = card.abstain_threshold
            row = {
                **start,
                "track": face.track,
                "person": None if people is None else people[face.track],
                "emotion": card.labels[top],
                "confidence": confidence,
                "abstained": least is not None and confidence < least,
                **dict(zip(PLACE_COLUMNS, face.box, strict=True)),
                "detection_score": face.score,
            }
            for place in kept:
                row[f"p.{card.labels[place]}"] = face.probabilities[place]
                row[f"smoothed.{card.labels[place]}"] = round(float(means[place]), 6)
            yield row


@contextmanager
def open_timeline(targets: Sequence[tuple[str, Path]], labels: Sequence[str]) -> Iterator[list[Write]]:
    """Writers of rows into files; each file takes its place when the block ends, and keeps its old content
    when something is raised.

    Args:
        targets: kind (of `TABLES`) and file.
        labels: of the card.

    Raises:
        InputError: an unknown kind.
        MissingExtra: parquet without polars.
    """
    for kind, _ in targets:
        if kind not in _WRITERS:
            raise InputError(f"a timeline is written as {', '.join(TABLES)}, not {kind}.")
    with ExitStack() as stack:
        yield [stack.enter_context(_WRITERS[kind](path, labels)) for kind, path in targets]


@contextmanager
def _csv(path: Path, labels: Sequence[str]) -> Iterator[Write]:
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, timeline_columns(labels), lineterminator="\n")
        writer.writeheader()
        yield writer.writerow


@contextmanager
def _jsonl(path: Path, labels: Sequence[str]) -> Iterator[Write]:
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:

        def write(row: Row) -> None:
            file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")

        yield write


@contextmanager
def _parquet(path: Path, labels: Sequence[str]) -> Iterator[Write]:
    try:
        import polars
    except ModuleNotFoundError:
        raise MissingExtra("a parquet file", "video") from None
    kinds: dict[str, Any] = {
        **dict.fromkeys(("frame", "track", "person"), polars.Int32),
        "time": polars.Float64,
        "emotion": polars.String,
        "abstained": polars.Boolean,
    }
    schema = {name: kinds.get(name, polars.Float32) for name in timeline_columns(labels)}
    with parquet_rows(path, schema) as write:
        yield write


_WRITERS: Final = {"csv": _csv, "jsonl": _jsonl, "parquet": _parquet}
