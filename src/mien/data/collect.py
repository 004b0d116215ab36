"""Records become columns and packed faces, one by one: decoded, checked, hashed, listed when dropped."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import polars as pl

from mien.config import PrepareConfig
from mien.data.manifest import schema_for
from mien.data.pack import PackWriter, decode, defect, fit, pixel_hash
from mien.data.sources import Record
from mien.errors import InputError, UnreadableImage
from mien.labels import EMOTIONS, NOT_AN_EMOTION, canonical_name

Progress = Callable[[int], None]
"""Called with the number of pictures read so far."""


class Collected:
    """The manifest's columns while pictures stream past."""

    def __init__(self, config: PrepareConfig) -> None:
        self.config = config
        self.count = 0
        self.columns: dict[str, list[Any]] = {}
        self.votes: list[Mapping[str, Mapping[str, int]]] = []
        self.annotations: dict[str, dict[str, None]] = {}
        self.sets: dict[str, dict[str, None]] = {}
        self.user: dict[str, None] = {}
        if config.labels == "emotions":
            self.classes: tuple[str, ...] | None = EMOTIONS
        elif config.labels == "own":
            self.classes = None
        else:
            names = [canonical_name(name) for name in config.labels.split(",") if name.strip()]
            self.classes = tuple(dict.fromkeys(names))
            if not names:
                raise InputError("labels is empty; use emotions, own, or class names separated by commas.")

    def read(self, records: Iterable[Record], pack: PackWriter, progress: Progress | None) -> None:
        """Decode, check and pack every picture."""
        for record in records:
            self._add(record, pack)
            if progress and self.count % 256 == 0:
                progress(self.count)
        if progress:
            progress(self.count)

    def _add(self, record: Record, pack: PackWriter) -> None:
        labels, reason = self._labels(record)
        row: dict[str, Any] = {
            "id": f"{record.set}/{record.key}",
            "set": record.set,
            "source_file": record.source_file,
            "source_row": record.source_row,
            "split": record.split,
            # Two sets may both have a subject 5.
            "subject": None if record.subject is None else f"{record.set}/{record.subject}",
            "sequence": record.sequence,
            "frame": record.frame,
            "valence": record.valence,
            "arousal": record.arousal,
            "action_units": _action_units(record),
            "face_box": record.face_box,
            "landmarks": record.landmarks,
            "crop": "came_cropped",
            **{f"labels.{name}": label for name, label in labels.items()},
            **{f"user.{name}": value for name, value in record.user.items()},
        }
        reason = record.drop_reason or reason
        if record.drop_reason is None:
            reason = self._picture(record, row, reason, pack)
        row["kept"], row["drop_reason"] = reason is None, reason
        self._note(record)
        self.votes.append(record.votes)
        for name, value in row.items():
            column = self.columns.setdefault(name, [])
            column.extend([None] * (self.count - len(column)))
            column.append(value)
        self.count += 1

    def _picture(
        self, record: Record, row: dict[str, Any], reason: str | None, pack: PackWriter
    ) -> str | None:
        """Fill in what the pixels say; returns why the picture is dropped, or None."""
        try:
            pixels = decode(record.image)
        except UnreadableImage:
            return reason or "unreadable"
        row["sha256"] = pixel_hash(pixels)
        row["height"], row["width"] = pixels.shape[:2]
        row["channels"] = 1 if pixels.ndim == 2 else pixels.shape[2]
        reason = reason or defect(pixels, record.size)
        if reason is None:
            face, row["crop_transform"] = fit(pixels, self.config.size, self.config.channels)
            row["pack_row"] = pack.append(face)
        return reason

    def _labels(self, record: Record) -> tuple[dict[str, str | None], str | None]:
        """The record's labels within the taxonomy, and why it is dropped if none of them can be used."""
        if self.classes is None:
            return dict(record.labels), None
        labels, refused = dict(record.labels), None
        for annotation, name in record.labels.items():
            if name is None or name in self.classes:
                continue
            # A list of names is a choice among emotions; a name that is no emotion either is a mistake.
            if name not in NOT_AN_EMOTION and (self.config.labels == "emotions" or name not in EMOTIONS):
                known = ", ".join(self.classes)
                raise InputError(
                    f"{record.where}: label {name!r} is not one of {known}; rename it, or use labels=own "
                    "for your own classes."
                )
            refused = "not an emotion" if name in NOT_AN_EMOTION else "class not wanted"
            labels[annotation] = None
        usable = bool(record.votes) or any(labels.values())
        return (labels, None) if usable or refused is None else (dict(record.labels), refused)

    def _note(self, record: Record) -> None:
        of_set = self.sets.setdefault(record.set, {})
        for annotation in record.labels:
            of_set[annotation] = None
            self.annotations.setdefault(annotation, {}).update(
                dict.fromkeys(record.votes.get(annotation, ()))
            )
        self.user.update(dict.fromkeys(record.user))

    def frame(self) -> tuple[pl.DataFrame, dict[str, tuple[str, ...]]]:
        """The rows as a frame with every column, and annotation to the names of its votes."""
        annotations = {name: tuple(votes) for name, votes in self.annotations.items()}
        for name, names in annotations.items():
            counts = (votes.get(name) for votes in self.votes)
            self.columns[f"votes.{name}"] = [
                None if c is None else [c.get(n, 0) for n in names] for c in counts
            ]
        series = []
        for name, kind in schema_for(annotations, list(self.user)).items():
            values = self.columns.get(name, [])
            series.append(pl.Series(name, values + [None] * (self.count - len(values)), dtype=kind))
        return pl.DataFrame(series), annotations


def _action_units(record: Record) -> list[dict[str, float]] | None:
    if record.action_units is None:
        return None
    return [{"unit": unit, "intensity": value} for unit, value in record.action_units.items()]
