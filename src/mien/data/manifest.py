"""The manifest: one row a picture, everything known about it, and what the labels mean.

Labels are data from here on: nothing downstream knows the default taxonomy's names.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

from mien.data import balance
from mien.data.sources.record import SPLITS
from mien.data.targets import Targets, parts_of, resolve
from mien.errors import InputError, ManifestError
from mien.files import replacing
from mien.labels import class_view

FORMAT: Final = 1
"""Version of the columns and of the metadata; a reader refuses any other."""
METADATA_KEY: Final = "mien"

ACTION_UNITS = pl.List(pl.Struct({"unit": pl.Int32, "intensity": pl.Float32}))
COLUMNS: Final[Mapping[str, Any]] = {
    "id": pl.String,
    "set": pl.String,
    "source_file": pl.String,
    "source_row": pl.Int64,
    "pack_row": pl.Int64,
    "sha256": pl.String,
    "height": pl.Int32,
    "width": pl.Int32,
    "channels": pl.Int32,
    "split": pl.String,
    "subject": pl.String,
    "sequence": pl.String,
    "frame": pl.Int64,
    "twin_group": pl.String,
    "valence": pl.Float32,
    "arousal": pl.Float32,
    "action_units": ACTION_UNITS,
    "face_box": pl.List(pl.Float32),
    "landmarks": pl.List(pl.Float32),
    "crop": pl.String,
    "crop_transform": pl.List(pl.Float32),
    "copies": pl.Int32,
    "kept": pl.Boolean,
    "drop_reason": pl.String,
}
"""The fixed columns. Beside them: `labels.<annotation>` String, `votes.<annotation>` List(Float32) and
`user.<name>` String."""

CROPS: Final = ("came_cropped", "aligned")
_REQUIRED: Final = ("id", "set", "source_file", "crop", "kept")
_LENGTHS: Final = {"face_box": 4, "landmarks": 10, "crop_transform": 6}


@dataclass(frozen=True)
class ManifestInfo:
    """What the rows mean; stored as JSON in the parquet's metadata."""

    labels: tuple[str, ...]
    """Class names in index order."""
    annotations: Mapping[str, tuple[str, ...]]
    """Annotation to the names of its votes' columns; empty when it has none."""
    target: str
    """What is learned unless a run says otherwise."""
    size: int
    """Side of the packed faces, in pixels."""
    channels: int
    """Channels of the packed faces: 1 grey (ITU-R BT.601) or 3 RGB."""
    pack_count: int
    """Faces in the pack."""
    pack_sha256: str
    """SHA-256 of the pack's file."""
    splits: str = "official"
    """`official` or `balanced`."""
    balance_target: int | None = None
    """Training images of each class an epoch under the balance plan; none is the largest class's count."""
    seed: int = 0
    """Seed of drawn splits and of the balance plan."""
    views: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Named subsets of the labels: `7` for the paper's seven classes (section 3.7)."""
    template: Mapping[str, Any] | None = None
    """Where the eyes lie, as measured: `mien.card.CropTemplate` as plain values. Not part of the hash."""
    notes: tuple[str, ...] = ()
    """What preparing had to decide, for people."""
    format: int = FORMAT
    """Version of the columns and of this record."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-ready values."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        values["annotations"] = {name: list(votes) for name, votes in self.annotations.items()}
        values["views"] = {name: list(view) for name, view in self.views.items()}
        return {**values, "labels": list(self.labels), "notes": list(self.notes)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ManifestInfo:
        """Read what `to_dict` wrote.

        Raises:
            ManifestError: another format version, or a key is missing or unknown.
        """
        if values.get("format") != FORMAT:
            raise ManifestError(
                f"the manifest's format is {values.get('format')!r} and this mien reads {FORMAT}; prepare "
                "the data again."
            )
        known = {f.name for f in dataclasses.fields(cls)}
        if known != set(values):
            odd = ", ".join(sorted(known ^ set(values)))
            raise ManifestError(
                f"the manifest's metadata lacks or does not know {odd}; prepare the data again."
            )
        plain = dict(values)
        try:
            for name in ("labels", "notes"):
                plain[name] = tuple(plain[name])
            for name in ("annotations", "views"):
                plain[name] = {key: tuple(names) for key, names in plain[name].items()}
        except (TypeError, AttributeError):
            raise ManifestError(
                f"the manifest's metadata holds no list under {name}; prepare the data again."
            ) from None
        return cls(**plain)


def views_of(labels: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The paper's 7-class view where the labels allow it."""
    try:
        return {"7": class_view(labels, "7")}
    except InputError:
        return {}


@dataclass(frozen=True)
class Manifest:
    """The rows and what they mean. Valid when made: `validate` runs in the constructor.

    Raises:
        ManifestError: a rule is broken; the message names row and column.
    """

    frame: pl.DataFrame
    """One row a picture; the columns of `COLUMNS` and those of the annotations and of the user."""
    info: ManifestInfo
    """What the rows mean."""

    def __post_init__(self) -> None:
        validate(self.frame, self.info)

    def __len__(self) -> int:
        return len(self.frame)

    def write(self, path: Path) -> None:
        """Write one parquet file, all of it or nothing."""
        with replacing(path) as temporary:
            text = json.dumps(self.info.to_dict(), ensure_ascii=False, allow_nan=False)
            self.frame.write_parquet(temporary, metadata={METADATA_KEY: text})

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Read and check a manifest.

        Raises:
            InputError: no such file.
            ManifestError: not a manifest of mien's, or it breaks a rule; the message names row and column.
        """
        if not path.is_file():
            raise InputError(f"{path} does not exist; prepare the data with `mien data prepare`.")
        try:
            text = pl.read_parquet_metadata(path).get(METADATA_KEY)
            frame = pl.read_parquet(path)
        except (pl.exceptions.PolarsError, OSError) as error:
            raise ManifestError(f"{path} is not a parquet file ({error}); prepare the data again.") from error
        if text is None:
            raise ManifestError(
                f"{path} is a parquet file but no manifest: its metadata has no {METADATA_KEY!r}."
            )
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise ManifestError(
                f"{path} has metadata that is no JSON ({error}); prepare the data again."
            ) from error
        return cls(frame, ManifestInfo.from_dict(values))

    @cached_property
    def _hash(self) -> str:
        digest = hashlib.sha256()
        # The template is measured with a neural network, whose last digits may differ between processors;
        # notes are words for people.
        info = {k: v for k, v in self.info.to_dict().items() if k not in ("template", "notes")}
        digest.update(_canonical(info))
        frame = self.frame.select(sorted(self.frame.columns)).sort("id")
        for part in frame.iter_slices(4096):
            for row in part.iter_rows(named=True):
                digest.update(_canonical(row))
        return digest.hexdigest()

    def hash(self) -> str:
        """SHA-256 over the rows sorted by id and over `info` without its template and notes, in hexadecimal.

        It covers each picture's pixels through their own hashes, and does not depend on row order or on how
        parquet was encoded.
        """
        return self._hash

    def target(self, name: str | None = None) -> Targets:
        """The kept rows that a target labels, with hard and soft labels; None is the manifest's own target.

        Raises:
            InputError: the target is not in this data.
        """
        targets = resolve(self.frame, name or self.info.target, self.info.labels, self.info.annotations)
        if targets.name != self.info.target:
            # The stored plan counts the classes of the manifest's own target; another one needs its own.
            rows = targets.rows("train")
            targets.copies[:] = 1
            targets.copies[rows] = balance.plan(
                targets.labels[rows], self.info.balance_target, self.info.seed
            )
        return targets

    def counts(self, target: str | None = None) -> dict[str, dict[str, int]]:
        """Kept images by split and class under a target; every split and every class is listed."""
        targets = self.target(target)
        return {split: targets.only(split).class_counts() for split in SPLITS}

    def dropped(self) -> dict[str, int]:
        """Rows that were not kept, by reason."""
        counts = self.frame.filter(~pl.col("kept")).group_by("drop_reason").len().sort("drop_reason")
        return {str(reason): int(count) for reason, count in counts.iter_rows()}


def _canonical(value: Mapping[str, Any]) -> bytes:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode() + b"\n"


def schema_for(annotations: Mapping[str, Sequence[str]], user: Sequence[str] = ()) -> dict[str, Any]:
    """Column to polars type of a manifest with these annotations and user columns."""
    labels = {f"labels.{name}": pl.String for name in annotations}
    votes = {f"votes.{name}": pl.List(pl.Float32) for name, names in annotations.items() if names}
    return {**COLUMNS, **labels, **votes, **{f"user.{name}": pl.String for name in user}}


def validate(frame: pl.DataFrame, info: ManifestInfo) -> None:
    """Check types, uniqueness, ranges and references.

    Raises:
        ManifestError: naming the first row and column that break a rule.
    """
    user = [name.removeprefix("user.") for name in frame.columns if name.startswith("user.")]
    schema = schema_for(info.annotations, user)
    for name, kind in schema.items():
        if name not in frame.columns:
            raise ManifestError(f"the manifest has no column {name}; prepare the data again.")
        if frame.schema[name] != kind:
            raise ManifestError(
                f"column {name} is {frame.schema[name]} instead of {kind}; prepare the data again."
            )
    if extra := [name for name in frame.columns if name not in schema]:
        raise ManifestError(f"column {extra[0]} is not known; name a column of your own user.{extra[0]}.")
    if not info.labels or len(set(info.labels)) != len(info.labels):
        raise ManifestError(
            f"the manifest's class names must be distinct and at least one, not {list(info.labels)}."
        )
    for view, names in info.views.items():
        if odd := [name for name in names if name not in info.labels]:
            raise ManifestError(
                f"the manifest's view {view!r} holds {odd[0]!r}, which is none of its classes."
            )
    parts_of(info.target, info.annotations)
    for name in _REQUIRED:
        _refuse(frame, pl.col(name).is_null(), name, "is empty")
    _refuse(frame, pl.col("id").is_duplicated(), "id", "stands in two rows")
    _validate_values(frame)
    _validate_references(frame, info)


def _validate_values(frame: pl.DataFrame) -> None:
    _refuse(frame, ~pl.col("crop").is_in(CROPS), "crop", f"is not one of {', '.join(CROPS)}")
    _refuse(frame, ~pl.col("split").is_in(SPLITS), "split", f"is not one of {', '.join(SPLITS)}")
    for name in ("valence", "arousal"):
        # A comparison with NaN is false in polars' own order, where NaN is the largest number.
        bad = pl.col(name).is_nan() | (pl.col(name).abs() > 1)
        _refuse(frame, bad, name, "is not in [-1, 1]")
    for name, length in _LENGTHS.items():
        _refuse(frame, pl.col(name).list.len() != length, name, f"has not {length} numbers")
        finite = pl.col(name).list.eval(pl.element().is_finite()).list.all()
        _refuse(frame, ~finite, name, "holds a number that is not finite")
    _refuse(frame, pl.col("copies") < 0, "copies", "is negative")
    for name in ("height", "width", "channels"):
        _refuse(frame, pl.col(name) < 1, name, "is below 1")
    _refuse(
        frame, ~pl.col("sha256").str.contains("^[0-9a-f]{64}$"), "sha256", "is not a SHA-256 in hexadecimal"
    )


def _validate_references(frame: pl.DataFrame, info: ManifestInfo) -> None:
    kept, dropped = pl.col("kept"), ~pl.col("kept")
    _refuse(frame, kept & pl.col("pack_row").is_null(), "pack_row", "is empty although the row is kept")
    _refuse(frame, kept & pl.col("split").is_null(), "split", "is empty although the row is kept")
    _refuse(frame, kept & pl.col("sha256").is_null(), "sha256", "is empty although the row is kept")
    _refuse(
        frame, kept & pl.col("drop_reason").is_not_null(), "drop_reason", "is set although the row is kept"
    )
    _refuse(
        frame,
        dropped & pl.col("drop_reason").is_null(),
        "drop_reason",
        "is empty although the row is dropped",
    )
    _refuse(
        frame, dropped & pl.col("pack_row").is_not_null(), "pack_row", "is set although the row is dropped"
    )
    row = pl.col("pack_row")
    _refuse(frame, row.is_not_null() & row.is_duplicated(), "pack_row", "stands in two rows")
    _refuse(
        frame,
        (row < 0) | (row >= info.pack_count),
        "pack_row",
        f"is not below the pack's {info.pack_count} faces",
    )
    for name, votes in info.annotations.items():
        label = f"labels.{name}"
        _refuse(
            frame,
            kept & ~pl.col(label).is_in(list(info.labels)),
            label,
            "is not one of the manifest's classes",
        )
        if votes:
            column = f"votes.{name}"
            _refuse(frame, pl.col(column).list.len() != len(votes), column, f"has not {len(votes)} counts")
            _refuse(frame, pl.col(column).list.min() < 0, column, "holds a negative count")
            _refuse(
                frame, pl.col(column).list.eval(~pl.element().is_finite()).list.any(), column, "is not finite"
            )


def _refuse(frame: pl.DataFrame, bad: pl.Expr, column: str, what: str) -> None:
    flags = frame.select(bad.fill_null(value=False)).to_series()
    if flags.any():
        row = int(np.flatnonzero(flags.to_numpy())[0])
        value = frame[column][row]
        shown = value.to_list() if isinstance(value, pl.Series) else value
        raise ManifestError(f"manifest row {row} (id {frame['id'][row]}), column {column}: {shown!r} {what}.")
