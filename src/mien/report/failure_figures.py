"""Gaps of slices with their intervals, and faces as they were packed."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image

from mien.report.document import Drawing, Table
from mien.report.svg import INK, SERIES, SETTINGS, SMALLEST, WIDTH, point_tips, short, to_svg
from mien.report.wording import points, points_interval

MOST_DRAWN: Final = 24
"""Most slices of the drawing; the table has all."""
FACE_SIDE: Final = 96
"""Longest side of an embedded face in pixels, so that 72 of them weigh less than 2 MB."""
_LOOKS: Final = {
    "worse": (SERIES[1], "v"),
    "better": (SERIES[2], "^"),
    "no difference": (SERIES[5], "o"),
    "not tested": (SERIES[5], "x"),
}


def gap_drawing(name: str, slices: Sequence[Mapping[str, Any]], *, key: str) -> Drawing:
    """Each slice's gap to the rest with its 95 % interval, the lowest on top.

    Args:
        name: of the model.
        slices: at least one, as `mien.evaluate.slices.slice_figures` lists them. Of more than `MOST_DRAWN`,
            those with the smallest p-values are drawn.
        key: unlike any other drawing's of the report.
    """
    clearest = sorted(slices, key=lambda one: math.inf if one["p_value"] is None else one["p_value"])
    drawn = sorted(clearest[:MOST_DRAWN], key=lambda one: float(one["gap"]))
    labels = [short(slice_name(one), 30) for one in drawn]
    with rc_context(SETTINGS):
        figure = Figure(figsize=(WIDTH, 1.1 + 0.2 * len(drawn)), layout="constrained")
        axes = figure.subplots()
        axes.axvline(0, color=INK, linewidth=0.8)
        for place, one in enumerate(drawn):
            gap, low, high = (100 * float(one[part]) for part in ("gap", "gap_low", "gap_high"))
            colour, marker = _LOOKS[one["verdict"]]
            axes.plot([low, high], [place, place], color=colour, linewidth=1.2)
            axes.plot([gap], [place], color=colour, marker=marker, markersize=4.5)
        point_tips(
            axes, [100 * one["gap"] for one in drawn], range(len(drawn)), [_told(one) for one in drawn]
        )
        axes.set_yticks(range(len(drawn)), labels, fontsize=SMALLEST)
        axes.set_ylim(len(drawn) - 0.4, -0.6)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("gap to the other images, points")
        verdicts = [verdict for verdict in _LOOKS if any(one["verdict"] == verdict for one in drawn)]
        handles = [
            Line2D([], [], color=_LOOKS[verdict][0], marker=_LOOKS[verdict][1], markersize=4.5, label=verdict)
            for verdict in verdicts
        ]
        figure.legend(handles=handles, loc="outside upper center", ncols=2)
        lowest = f"{name}: lowest is {_told(drawn[0])}"
        alt = f"Gap of each slice to the other images. {lowest}; highest is {_told(drawn[-1])}."
        return Drawing(to_svg(figure, key, alt), alt, lowest, _gap_data(name, drawn))


def slice_name(one: Mapping[str, Any]) -> str:
    """`class: fear`."""
    return f"{one['column']}: {one['value']}"


def _told(one: Mapping[str, Any]) -> str:
    interval = points_interval((one["gap_low"], one["gap_high"]))
    return f"{slice_name(one)}, {points(one['gap'])} points ({interval}), {one['verdict']}"


def _gap_data(name: str, drawn: Sequence[Mapping[str, Any]]) -> Table:
    keys = ("gap", "gap_low", "gap_high", "p_value", "p_adjusted")
    rows = tuple(
        (slice_name(one), f"{one['count']:,}", *("" if one[k] is None else f"{one[k]:.4g}" for k in keys))
        for one in drawn
    )
    columns = ("slice", "images", "gap", "95 % low", "95 % high", "p-value", "adjusted p-value")
    return Table(f"Gaps of {name}: accuracy less that of the other images", columns, rows)


def face_png(face: npt.NDArray[np.uint8]) -> bytes:
    """A packed face, uint8 [C, H, W], C = 1 (grey) or 3 (RGB), as a PNG file of at most `FACE_SIDE` pixels a
    side."""
    image = Image.fromarray(face[0] if len(face) == 1 else np.ascontiguousarray(np.moveaxis(face, 0, 2)))
    image.thumbnail((FACE_SIDE, FACE_SIDE))
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
