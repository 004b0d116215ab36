"""Pictures of feature spaces, mean occlusion maps and deletion curves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mien.report.document import Drawing, Table
from mien.report.svg import INK, SERIES, SETTINGS, SMALLEST, WIDTH, point_tips, to_svg
from mien.report.wording import percent

_POINT_COLOURS: Final = (
    "#d55e00",
    "#8f7cff",
    "#7a9a01",
    "#cc79a7",
    "#e69f00",
    "#8c8c8c",
    "#0a85d1",
    "#009e73",
    "#b5651d",
    "#d14f6a",
)
"""Classes of a scatter, which is an image and cannot follow the theme: legible on white and on black."""
_POINT_MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")
_MAP_COLOURS: Final = "magma"
_DPI: Final = 150
_SPREAD: Final = 1e-9


def embedding_drawings(name: str, embedding: Mapping[str, Any], *, key: str) -> tuple[Drawing, ...]:
    """The features before SE, and after it where there is one, one point an image.

    Args:
        name: of the model.
        embedding: `before` and `after`, [[x, y], ...], `labels` and class `names`.
        key: unlike any other drawing's of the report.
    """
    spaces = [("before", "before SE" if embedding["after"] is not None else "the head's input")]
    if embedding["after"] is not None:
        spaces.append(("after", "after SE"))
    return tuple(
        _scatter(f"{name}, {words}", embedding[space], embedding, key=f"{key}-{space}")
        for space, words in spaces
    )


def _scatter(title: str, points: Any, embedding: Mapping[str, Any], *, key: str) -> Drawing:
    x, y = np.array(points, dtype=np.float64).T
    labels, names = np.array(embedding["labels"]), embedding["names"]
    shown = [k for k in range(len(names)) if (labels == k).any()]
    with rc_context({**SETTINGS, "axes.grid": False}):
        figure = Figure(figsize=(WIDTH, WIDTH + 0.18 * len(shown) / 2), layout="constrained", dpi=_DPI)
        axes = figure.subplots()
        handles = []
        for k in shown:
            colour, marker = (
                _POINT_COLOURS[k % len(_POINT_COLOURS)],
                _POINT_MARKERS[k % len(_POINT_MARKERS)],
            )
            own = labels == k
            axes.scatter(
                x[own], y[own], s=9, color=colour, marker=marker, linewidths=0, alpha=0.75, rasterized=True
            )
            handles.append(
                Line2D([], [], color=colour, marker=marker, linestyle="", markersize=5, label=f" {names[k]}")
            )
        axes.set(xticks=[], yticks=[])
        figure.legend(handles=handles, loc="outside lower left", ncols=2, fontsize=SMALLEST)
        alt = f"t-SNE of the features of {title}: {len(x):,} images of {len(shown)} classes."
        data = Table(
            f"t-SNE of the features of {title}",
            ("class", "x", "y"),
            tuple(
                (names[label], f"{a:.2f}", f"{b:.2f}")
                for label, a, b in zip(labels.tolist(), x.tolist(), y.tolist(), strict=True)
            ),
        )
        return Drawing(to_svg(figure, key, alt), alt, f"{title}: {len(x):,} images", data)


def map_drawings(name: str, mean_maps: Mapping[str, Mapping[str, Any]], *, key: str) -> tuple[Drawing, ...]:
    """The mean map of each class, all at one scale; none where no class has enough faces.

    Args:
        name: of the model.
        mean_maps: what `mien.evaluate.explain.mean_maps` gave.
        key: unlike any other drawing's of the report.
    """
    if not mean_maps:
        return ()
    maps = {label: np.array(entry["map"], dtype=np.float64) for label, entry in mean_maps.items()}
    highest = max(float(values.max()) for values in maps.values())
    lowest = min(0.0, *(float(values.min()) for values in maps.values()))
    columns = min(3, len(maps))
    rows = -(-len(maps) // columns)
    with rc_context({**SETTINGS, "axes.grid": False}):
        figure = Figure(figsize=(WIDTH, 0.3 + rows * (WIDTH / columns + 0.1)), layout="constrained", dpi=_DPI)
        axes = figure.subplots(rows, columns, squeeze=False)
        for place in axes.flat[len(maps) :]:
            place.set_axis_off()
        for place, (label, values) in zip(axes.flat, maps.items(), strict=False):
            image = place.imshow(values, cmap=_MAP_COLOURS, vmin=lowest, vmax=max(highest, lowest + _SPREAD))
            place.set(xticks=[], yticks=[])
            place.set_title(label, fontsize=9, color=INK)
        figure.colorbar(
            image, ax=axes, orientation="horizontal", fraction=0.05, format=lambda v, _: f"{100 * v:.0f}"
        )
        told = "; ".join(
            f"{label} {percent(float(values.max()))} at {_part(values)}" for label, values in maps.items()
        )
        alt = f"Mean occlusion maps of {name}. Probability lost, most by class: {told}."
        data = Table(
            f"Mean occlusion maps of {name}: where most is lost",
            ("class", "faces", "most that is lost", "where", "standard error"),
            tuple(
                (
                    label,
                    f"{mean_maps[label]['count']:,}",
                    percent(float(values.max())),
                    _part(values),
                    percent(mean_maps[label]["standard_error"]),
                )
                for label, values in maps.items()
            ),
            words=frozenset({3}),
        )
        caption = f"{name}: points of probability that are lost, by class"
        return (Drawing(to_svg(figure, key, alt), alt, caption, data),)


def _part(values: np.ndarray[Any, np.dtype[np.float64]]) -> str:
    """Where a map is highest, in words of a face that looks out of the picture."""
    row, column = np.unravel_index(int(values.argmax()), values.shape)
    down = ("the top", "the middle", "the bottom")[min(2, 3 * int(row) // values.shape[0])]
    across = ("left", "centre", "right")[min(2, 3 * int(column) // values.shape[1])]
    return f"{down}, {across} of the picture"


def deletion_drawing(name: str, deletion: Mapping[str, Any], *, key: str) -> Drawing:
    """Mean probability of the class while the face is covered, by the map and at random.

    Args:
        name: of the model.
        deletion: what `mien.evaluate.explain.Deletion.to_dict` gave.
        key: unlike any other drawing's of the report.
    """
    shares = np.array(deletion["shares"])
    curves = {"in the order of the map": deletion["curve"], "in random order": deletion["random_curve"]}
    with rc_context(SETTINGS):
        figure = Figure(figsize=(WIDTH, 0.8 * WIDTH), layout="constrained")
        axes = figure.subplots()
        for i, (label, curve) in enumerate(curves.items()):
            axes.plot(
                shares, curve, color=SERIES[i], marker="os"[i], markersize=4, linewidth=1.4, label=label
            )
            texts = [
                f"{percent(float(share), 0)} covered {label}: {percent(float(value))}"
                for share, value in zip(shares, curve, strict=True)
            ]
            point_tips(axes, shares, curve, texts)
        axes.set(xlim=(0, 1), ylim=(0, None), xlabel="share of the face that is covered")
        axes.set_ylabel("probability of the class")
        axes.legend(loc="upper right")
        told = f"area {deletion['area']:.3f} by the map, {deletion['random_area']:.3f} at random"
        alt = f"Deletion curve of {name}: {told}."
        data = Table(
            f"Deletion curve of {name}",
            ("share covered", *curves),
            tuple(
                tuple(f"{value:.4f}" for value in row) for row in zip(shares, *curves.values(), strict=True)
            ),
        )
        return Drawing(to_svg(figure, key, alt), alt, f"{name}: {told}; lower is more faithful", data)
