"""The pictures of a data card: Fig. 2 stacked by set as inline SVG, and a sheet of sample faces a class.

Colours are CSS variables that the page sets for light and dark, with fallbacks that are legible on white.
Text stays text. The same data give the same bytes.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from mien.data.manifest import Manifest
from mien.data.summary import LABEL, labelled_rows
from mien.data.summary_records import ClassSummary, DataSummary
from mien.report.document import Drawing
from mien.report.svg import PAGE, SERIES, SETTINGS, WIDTH, legend_label, short, to_svg

HATCHES = ("", "////", "....")
"""The seventh set has the first one's colour and the second hatch."""
SHEET_COLUMNS: Final = 6
"""Faces side by side on a sheet: six of 48 pixels are as wide as a phone."""
SHEET_FACE: Final = 96
"""Larger faces are shown at this side, in pixels: a page of 224-pixel faces would be ten megabytes."""
_GAP: Final = 2


@dataclass(frozen=True)
class SampleSheet:
    """Sample faces of one class as one picture."""

    png: str
    """A `data:` URI."""
    width: int
    """In pixels."""
    height: int
    """In pixels."""
    alt: str
    """What it shows, for who cannot see it."""
    caption: str
    """Short text under it."""


def class_by_set_drawings(summary: DataSummary) -> tuple[Drawing, Drawing]:
    """Fig. 2: images by class, stacked by set, before and after the balance plan, on one scale.

    Before are all pictures read that have a label, whatever their split; after are the training images of an
    epoch.
    """
    before = [one.read for one in summary.classes]
    after = [one.epoch for one in summary.classes]
    reach = max(sum(counts.values()) for counts in (*before, *after))
    sets = [one.name for one in summary.sets]
    return (
        _stacked("before", summary.classes, sets, before, reach, "Before: pictures read with a label"),
        _stacked("after", summary.classes, sets, after, reach, "After: training images an epoch, balanced"),
    )


def _stacked(
    key: str,
    classes: Sequence[ClassSummary],
    sets: Sequence[str],
    counts: Sequence[Mapping[str, int]],
    reach: int,
    title: str,
) -> Drawing:
    totals = [sum(by_set.values()) for by_set in counts]
    places = np.arange(len(classes))
    with rc_context(SETTINGS):
        rows = -(-len(sets) // 2) if len(sets) > 1 else 0
        figure = Figure(figsize=(WIDTH, 0.75 + 0.27 * len(classes) + 0.2 * rows), layout="constrained")
        axes = figure.subplots()
        left = np.zeros(len(classes), dtype=np.int64)
        for i, name in enumerate(sets):
            widths = np.array([by_set[name] for by_set in counts], dtype=np.int64)
            axes.barh(
                places,
                widths,
                left=left,
                height=0.72,
                color=SERIES[i % len(SERIES)],
                # The page's colour between two sets tells them apart without colour.
                edgecolor=PAGE,
                linewidth=0.8 if len(sets) > 1 else 0,
                hatch=HATCHES[i // len(SERIES) % len(HATCHES)],
                label=legend_label(name, 30),
            )
            left += widths
        for place, total in zip(places, totals, strict=True):
            axes.annotate(
                f"{total:,}", (total, place), (2, 0), textcoords="offset points", va="center", fontsize=7.5
            )
        axes.set_yticks(places, [short(one.name, 18) for one in classes])
        axes.set_ylim(len(classes) - 0.4, -0.6)
        axes.set_xlim(0, max(1, reach) * 1.14)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("images")
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.xaxis.set_major_formatter(lambda count, _: f"{count:,.0f}")
        if len(sets) > 1:
            figure.legend(loc="outside upper center", ncols=2)
        told = ", ".join(f"{one.name} {total:,}" for one, total in zip(classes, totals, strict=True))
        parts = ", ".join(f"{name} {sum(by_set[name] for by_set in counts):,}" for name in sets)
        alt = f"{title}, by class. {told}. By set: {parts}."
        return Drawing(to_svg(figure, f"classes-{key}", alt), alt, f"{title}: {sum(totals):,}")


def sample_sheets(manifest: Manifest, pack: npt.NDArray[np.uint8], samples: int) -> tuple[SampleSheet, ...]:
    """A sheet of packed faces of each class that has any.

    Args:
        manifest: of the prepared folder.
        pack: uint8 [N, C, H, W].
        samples: most faces of a class, spread evenly over the sets and chosen by the manifest's seed.
    """
    rows = labelled_rows(manifest).filter("kept").sort("id")
    rng = np.random.default_rng(manifest.info.seed)
    sheets = []
    for name in manifest.info.labels:
        those = rows.filter(pl.col(LABEL) == name)
        chosen = _spread(those, samples, rng)
        if not len(chosen):
            continue
        faces = pack[chosen["pack_row"].to_numpy()].transpose(0, 2, 3, 1)
        image = _grid(faces)
        buffer = io.BytesIO()
        image.save(buffer, format="PNG", optimize=True)
        counts = chosen.group_by("set", maintain_order=True).len()
        parts = ", ".join(f"{count} of {set_name}" for set_name, count in counts.iter_rows())
        sheets.append(
            SampleSheet(
                png=f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}",
                width=image.width,
                height=image.height,
                alt=f"Sample faces of class {name}: {parts}.",
                caption=f"{name}: {len(chosen):,} of {len(those):,} pictures",
            )
        )
    return tuple(sheets)


def _spread(rows: pl.DataFrame, count: int, rng: np.random.Generator) -> pl.DataFrame:
    """At most `count` of the rows, drawn at random from each set in turn; grouped by set."""
    shuffled = rows[rng.permutation(len(rows))]
    turn = pl.int_range(pl.len()).over("set")
    return shuffled.with_columns(turn.alias("turn")).sort("turn", "set").head(count).sort("set", "turn")


def _grid(faces: npt.NDArray[np.uint8]) -> Image.Image:
    """Faces uint8 [N, H, W, 1 or 3] in rows of six; what is around them is transparent."""
    side = min(faces.shape[1], SHEET_FACE)
    rows = -(-len(faces) // SHEET_COLUMNS)
    mode, background = ("LA", (0, 0)) if faces.shape[3] == 1 else ("RGBA", (0, 0, 0, 0))
    step = side + _GAP
    sheet = Image.new(mode, (SHEET_COLUMNS * step - _GAP, rows * step - _GAP), background)
    for i, face in enumerate(faces):
        picture = Image.fromarray(np.ascontiguousarray(face.squeeze(2) if face.shape[2] == 1 else face))
        if picture.width != side:
            picture = picture.resize((side, side), Image.Resampling.LANCZOS)
        sheet.paste(picture.convert(mode), (i % SHEET_COLUMNS * step, i // SHEET_COLUMNS * step))
    return sheet
