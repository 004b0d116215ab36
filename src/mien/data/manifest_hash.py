"""A hash of the manifest that does not depend on row order, on parquet, or on the version of polars."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import polars as pl

USER_PREFIX: Final = "user."
"""Columns of a user's own are left out: they are looked at, never learned from, and may be added later."""


def hash_rows(frame: pl.DataFrame, metadata: Mapping[str, Any]) -> str:
    """SHA-256 over JSON-ready metadata and the rows sorted by `id`, in hexadecimal.

    Column by column: name, which values are null, and the values as little-endian numbers or as lengths and
    UTF-8; lists as lengths and their elements, structs field by field.
    """
    digest = hashlib.sha256()
    text = json.dumps(metadata, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    digest.update(text.encode() + b"\n")
    names = sorted(name for name in frame.columns if not name.startswith(USER_PREFIX))
    ordered = frame.select(names).sort("id")
    for name in names:
        digest.update(f"{name}\n{len(ordered)}\n".encode())
        _update(digest, ordered[name])
    return digest.hexdigest()


def _update(digest: Any, series: pl.Series) -> None:
    digest.update(series.is_null().to_numpy().astype("u1").tobytes())
    kind = series.dtype
    if isinstance(kind, pl.List):
        lengths = series.list.len().fill_null(0)
        digest.update(lengths.to_numpy().astype("<i8").tobytes())
        # Exploding an empty list gives a null.
        _update(digest, series.filter(lengths > 0).explode())
    elif isinstance(kind, pl.Struct):
        for field in kind.fields:
            _update(digest, series.struct.field(field.name))
    elif kind == pl.String:
        digest.update(series.str.len_bytes().fill_null(0).to_numpy().astype("<i8").tobytes())
        for part in series.drop_nulls().to_frame().iter_slices(65536):
            digest.update("".join(part.to_series().to_list()).encode())
    elif kind.is_float():
        digest.update(series.cast(pl.Float64).fill_null(0.0).to_numpy().astype("<f8").tobytes())
    elif kind == pl.Boolean or kind.is_integer():
        digest.update(series.cast(pl.Int64).fill_null(0).to_numpy().astype(np.dtype("<i8")).tobytes())
    else:
        raise TypeError(f"column {series.name} is {kind}, which has no place in a manifest")
