"""The manifest's columns and the rules that its rows must keep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import polars as pl

from mien.data.sources.record import SPLITS
from mien.data.targets import parts_of
from mien.errors import ManifestError

if TYPE_CHECKING:
    from mien.data.manifest import ManifestInfo

ACTION_UNITS: Final = pl.List(pl.Struct({"unit": pl.Int32, "intensity": pl.Float32}))
COLUMNS: Final[Mapping[str, Any]] = {
    "id": pl.String,
    "set": pl.String,
    "source_file": pl.String,
    "source_row": pl.Int64,
    "joined_from": pl.List(pl.String),
    "pack_row": pl.Int64,
    "sha256": pl.String,
    "height": pl.Int32,
    "width": pl.Int32,
    "channels": pl.Int32,
    "format": pl.String,
    "brightness": pl.Float32,
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
    "faces_found": pl.Int32,
    "detection_score": pl.Float32,
    "crop": pl.String,
    "crop_transform": pl.List(pl.Float32),
    "copies": pl.Int32,
    "kept": pl.Boolean,
    "drop_reason": pl.String,
    "drop_detail": pl.String,
}
"""The fixed columns. Beside them: `labels.<annotation>` String, `votes.<annotation>` List(Float32) and
`user.<name>` String."""

CROPS: Final = ("came_cropped", "aligned", "box", "annotated", "centre")
"""How a face was cut out: not at all; by the detector's eyes; by its box; by the set's own landmarks or box;
the central square."""
_REQUIRED: Final = ("id", "set", "source_file", "kept")
_LENGTHS: Final = {"face_box": 4, "landmarks": 10, "crop_transform": 6}


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
    _refuse(frame, pl.col("faces_found") < 0, "faces_found", "is negative")
    brightness = pl.col("brightness")
    _refuse(frame, brightness.is_nan() | ~brightness.is_between(0, 255), "brightness", "is not in [0, 255]")
    _refuse(
        frame, ~pl.col("sha256").str.contains("^[0-9a-f]{64}$"), "sha256", "is not a SHA-256 in hexadecimal"
    )


def _validate_references(frame: pl.DataFrame, info: ManifestInfo) -> None:
    kept, dropped = pl.col("kept"), ~pl.col("kept")
    _refuse(frame, kept & pl.col("pack_row").is_null(), "pack_row", "is empty although the row is kept")
    _refuse(frame, kept & pl.col("split").is_null(), "split", "is empty although the row is kept")
    _refuse(frame, kept & pl.col("sha256").is_null(), "sha256", "is empty although the row is kept")
    _refuse(frame, kept & pl.col("crop").is_null(), "crop", "is empty although the row is kept")
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
