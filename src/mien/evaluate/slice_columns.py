"""What images can be sliced by: set, class, size, brightness, blur, pose, and the columns of a manifest.

Brightness and blur are measured on the packed face, which is what the model saw. Blur is the variance of the
Laplacian (Pech-Pacheco et al., ICPR 2000): low is blurred, but low contrast looks the same to it, and it
compares faces of one size only. Pose is read off five landmarks and is a rough order, not an angle, except
for the roll.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl

from mien.errors import InputError
from mien.evaluate.slices import SliceColumn

Float: TypeAlias = npt.NDArray[np.float64]

QUANTILES: Final = 4
"""Slices that a column of numbers is cut into."""
MOST_VALUES: Final = 12
"""Most values of a column that get a slice of their own; rarer ones are put together."""
OTHER: Final = "other"
"""Slice of the rarer values."""
MANIFEST_COLUMNS: Final = ("set", "channels", "format", "crop", "faces_found", "detection_score")
"""Columns of a manifest that are looked at unasked, beside `user.<name>`."""
_GREY: Final = np.array([0.299, 0.587, 0.114])
"""ITU-R BT.601."""
_PIXELS_AT_ONCE: Final = 1 << 22
"""Of faces that are measured at once, as doubles: 32 MB."""


def manifest_slices(
    frame: pl.DataFrame,
    pack_rows: npt.NDArray[np.integer],
    pack: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.integer],
    names: Sequence[str],
    *,
    votes: npt.NDArray[np.floating] | None = None,
    columns: Sequence[str] = (),
) -> dict[str, SliceColumn]:
    """Every column that images of a manifest can be sliced by.

    Args:
        frame: the manifest's rows.
        pack_rows: int [N], the evaluated images, by the manifest's `pack_row`.
        pack: uint8 [M, C, H, W], C = 1 (grey) or 3 (RGB), which `pack_rows` index; a memory map stays one.
        labels: int [N], index into `names`.
        names: the K class names.
        votes: float [N, K], where there are any.
        columns: further columns of the manifest, such as `subject`.

    Returns:
        Name to column, None where it is not known. Columns: `class`, `face size` (shorter
        side of the found face, or of a picture that came cropped, in its pixels), `brightness` (mean grey,
        0..255),
        `blur`, `roll` (degrees, without sign), `yaw`, `pitch` (see `pose`), `agreement` (largest share of
        the votes), `MANIFEST_COLUMNS`, `user.<name>` and what was asked for. Numbers are cut at quantiles.
        Columns of one value are left out.

    Raises:
        InputError: an image that is not in the manifest, a column that it lacks or that holds lists, faces of
            another form, or arrays of different lengths.
    """
    place = {row: i for i, row in enumerate(frame["pack_row"]) if row is not None}
    if lost := [row for row in pack_rows.tolist() if row not in place]:
        raise InputError(f"pack row {lost[0]} is not in this manifest; evaluate on the data it belongs to.")
    if len(pack_rows) != len(labels):
        raise InputError(
            f"{len(pack_rows)} pack rows and {len(labels)} labels do not fit; give one of each an image."
        )
    frame = frame[[place[row] for row in pack_rows.tolist()]]
    numbers: dict[str, Float] = {"face size": _face_size(frame), **_measure_packed(pack, pack_rows)}
    numbers |= pose(_landmarks(frame))
    if votes is not None:
        total = votes.sum(1, dtype=np.float64)
        numbers["agreement"] = np.divide(
            votes.max(1), total, out=np.full(len(total), np.nan), where=total > 0
        )
    found = {"class": SliceColumn([names[label] for label in labels], names)}
    found |= {name: cut(values) for name, values in numbers.items()}
    asked = [*MANIFEST_COLUMNS, *(name for name in frame.columns if name.startswith("user.")), *columns]
    found |= {name: _column(frame, name) for name in dict.fromkeys(asked)}
    return {name: column for name, column in found.items() if len(set(column.values)) > 1}


def measure_faces(faces: npt.NDArray[np.uint8]) -> dict[str, Float]:
    """Brightness and blur of packed faces.

    Args:
        faces: uint8 [N, H, W, C], C = 1 (grey) or 3 (RGB), sides of at least 3.

    Returns:
        `brightness`, mean grey 0..255, and `blur`, variance of the 4-neighbour Laplacian of the grey face
        without its border; both float64 [N].

    Raises:
        InputError: another dtype or shape.
    """
    if (
        faces.dtype != np.uint8
        or faces.ndim != 4
        or faces.shape[3] not in (1, 3)
        or min(faces.shape[1:3]) < 3
    ):
        raise InputError(f"faces must be uint8 [N, H, W, 1 or 3], not {faces.dtype} {list(faces.shape)}.")
    pixels = faces.astype(np.float64)
    grey = pixels[..., 0] if pixels.shape[3] == 1 else pixels @ _GREY
    around = grey[:, :-2, 1:-1] + grey[:, 2:, 1:-1] + grey[:, 1:-1, :-2] + grey[:, 1:-1, 2:]
    return {"brightness": grey.mean((1, 2)), "blur": (around - 4 * grey[:, 1:-1, 1:-1]).var((1, 2))}


def pose(landmarks: Float) -> dict[str, Float]:
    """Head pose from five landmarks, after the roll is taken out.

    Args:
        landmarks: float64 [N, 5, 2], x and y in pixels, y downwards: the eye on the picture's left, the one
            on its right, nose tip, mouth corner on the left, on the right; NaN where unknown.

    Returns:
        float64 [N] each, NaN where unknown or where two of the points that are divided by coincide: `roll`,
        angle between the line of the eyes and the horizontal, 0..180 degrees; `yaw`, how far the nose lies
        beside the middle of the eyes along their line, without sign, in distances of the eyes: 0 is frontal;
        `pitch`, how far down from the eyes to the mouth the nose lies: small looks up, large looks down.
    """
    left, right, nose, mouth_left, mouth_right = np.moveaxis(landmarks, 1, 0)
    along = right - left
    distance = np.hypot(along[:, 0], along[:, 1])
    axis = _divide(along, distance[:, None])
    down = np.stack([-axis[:, 1], axis[:, 0]], axis=1)
    middle = (left + right) / 2
    height = (((mouth_left + mouth_right) / 2 - middle) * down).sum(1)
    roll = np.abs(np.degrees(np.arctan2(along[:, 1], along[:, 0])))
    return {
        "roll": np.where(distance > 0, roll, np.nan),
        "yaw": _divide(np.abs(((nose - middle) * axis).sum(1)), distance),
        "pitch": _divide(((nose - middle) * down).sum(1), height),
    }


def cut(values: Float) -> SliceColumn:
    """Numbers cut at their quantiles, into slices that say their range.

    Args:
        values: float64 [N]; NaN where unknown.

    Returns:
        At most `QUANTILES` slices, as ties may leave fewer; up to so many distinct numbers stay as they are.
        `below 12`, `12 to 30.5` (without 30.5), `30.5 or more`; None for NaN.
    """
    known = ~np.isnan(values)
    distinct = np.unique(values[known])
    if len(distinct) <= QUANTILES:
        order = [f"{value:.6g}" for value in distinct]
        numbers = np.searchsorted(distinct, values)
        return SliceColumn(
            [order[i] if there else None for i, there in zip(numbers, known, strict=True)], order
        )
    # Cut at the rounded numbers, so that the names say the truth.
    quantiles = np.quantile(values[known], np.linspace(0, 1, QUANTILES + 1)[1:-1])
    edges = sorted({float(f"{edge:.4g}") for edge in quantiles})
    shown = [f"{edge:.4g}" for edge in edges]
    between = [f"{low} to {high}" for low, high in pairwise(shown)]
    last = shown[-1] if edges[-1] == distinct[-1] else f"{shown[-1]} or more"
    order = [f"below {shown[0]}", *between, last]
    numbers = np.searchsorted(edges, values, side="right")
    return SliceColumn([order[i] if there else None for i, there in zip(numbers, known, strict=True)], order)


def categories(values: Sequence[str | None]) -> SliceColumn:
    """Texts as slices: numbers cut at quantiles, others as they are, the rarest put together.

    Args:
        values: [N]; None or an empty text where unknown. Numbers are cut where every text is a finite number
            and there are more than `MOST_VALUES` distinct ones.

    Returns:
        At most `MOST_VALUES` values, the most frequent first, and `OTHER`.
    """
    counts = Counter(value for value in values if value)
    if len(counts) > MOST_VALUES and all(_is_number(value) for value in counts):
        return cut(np.array([float(value) if value else np.nan for value in values]))
    # By name where counts are equal, so that the order of the images decides nothing.
    common = sorted(counts, key=lambda value: (-counts[value], value))[:MOST_VALUES]
    kept = {value: value if value in common else OTHER for value in counts}
    order = [*common, OTHER] if len(counts) > len(common) else common
    return SliceColumn([kept[value] if value else None for value in values], order)


def _column(frame: pl.DataFrame, name: str) -> SliceColumn:
    if name not in frame.columns:
        raise InputError(f"the manifest has no column {name}; it has {', '.join(frame.columns)}.")
    column = frame[name]
    if column.dtype.is_nested():
        raise InputError(f"column {name} holds lists, which make no slices; name a column of single values.")
    if column.dtype.is_float():
        return cut(column.cast(pl.Float64).fill_null(math.nan).to_numpy())
    return categories(column.cast(pl.String).to_list())


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _measure_packed(pack: npt.NDArray[np.uint8], rows: npt.NDArray[np.integer]) -> dict[str, Float]:
    """`measure_faces` of rows of a pack, a few at a time: a split in colour is large as doubles."""
    at_once = max(1, _PIXELS_AT_ONCE // math.prod(pack.shape[1:]))
    parts = [
        measure_faces(np.moveaxis(pack[rows[start : start + at_once]], 1, 3))
        for start in range(0, len(rows), at_once)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in ("brightness", "blur")}


def _face_size(frame: pl.DataFrame) -> Float:
    """Shorter side of the face's box, else of a picture that came cropped, in pixels of the picture."""
    whole: Mapping[str, Any] = frame.select("face_box", "crop", "height", "width").to_dict(as_series=False)
    sizes = []
    for box, crop, height, width in zip(*whole.values(), strict=True):
        if box is not None:
            sizes.append(min(box[2] - box[0], box[3] - box[1]))
        elif crop == "came_cropped" and height is not None and width is not None:
            sizes.append(min(height, width))
        else:
            sizes.append(math.nan)
    return np.array(sizes, dtype=np.float64)


def _landmarks(frame: pl.DataFrame) -> Float:
    unknown = [math.nan] * 10
    given = [unknown if points is None else points for points in frame["landmarks"].to_list()]
    return np.array(given, dtype=np.float64).reshape(len(frame), 5, 2)


def _divide(numerator: Float, denominator: Float) -> Float:
    result: Float = np.divide(
        numerator, denominator, out=np.full(numerator.shape, np.nan), where=denominator != 0
    )
    return result
