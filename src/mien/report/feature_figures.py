"""Pictures of feature spaces, mean occlusion maps and deletion curves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mien.report.document import Drawing, Table
from mien.report.svg import INK, SERIES, SETTINGS, SMALLEST, WIDTH, legend_label, point_tips, short, to_svg
from mien.report.wording import percent

POINT_COLOURS: Final = (
    "#e0342b",
    "#8f7cff",
    "#6f9300",
    "#d05fa8",
    "#b98200",
    "#8c8c8c",
    "#0a85d1",
    "#009e73",
    "#a5653a",
    "#4b6bb0",
)
"""Classes of a scatter, which is an image and cannot follow the theme: each is 3 to 1 or more against the
page in light and in dark."""
_POINT_MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")
_MAP_COLOURS: Final = "magma"
_DPI: Final = 150


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
            colour, marker = POINT_COLOURS[k % len(POINT_COLOURS)], _POINT_MARKERS[k % len(_POINT_MARKERS)]
            own = labels == k
            axes.scatter(
                x[own],
                y[own],
                s=9,
                color=colour,
                marker=marker,
                linewidths=0,
                # Large classes lie under small ones, which they would hide.
                zorder=2 - own.mean(),
                rasterized=True,
            )
            label = legend_label(names[k], 18)
            handles.append(
                Line2D([], [], color=colour, marker=marker, linestyle="", markersize=5, label=label)
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


def map_scale(mean_maps: Iterable[Mapping[str, Mapping[str, Any]]]) -> tuple[float, float]:
    """The least and the most probability that a pixel of several models' mean maps loses; 0 is between them.

    Args:
        mean_maps: one model's maps after another, as `mien.evaluate.explain.mean_maps` gave them.
    """
    values = [np.array(entry["map"]) for maps in mean_maps for entry in maps.values()]
    ends = [float(end) for value in values for end in (value.min(), value.max())]
    return min([0.0, *ends]), max([0.0, *ends])


def map_drawings(
    name: str, mean_maps: Mapping[str, Mapping[str, Any]], scale: tuple[float, float], *, key: str
) -> tuple[Drawing, ...]:
    """The mean map of each class; none where no class has enough faces.

    Args:
        name: of the model.
        mean_maps: what `mien.evaluate.explain.mean_maps` gave.
        scale: probabilities at the two ends of the colours.
        key: unlike any other drawing's of the report.
    """
    if not mean_maps:
        return ()
    maps = {label: np.array(entry["map"], dtype=np.float64) for label, entry in mean_maps.items()}
    columns = min(3, len(maps))
    rows = -(-len(maps) // columns)
    with rc_context({**SETTINGS, "axes.grid": False}):
        figure = Figure(figsize=(WIDTH, 0.3 + rows * (WIDTH / columns + 0.1)), layout="constrained", dpi=_DPI)
        axes = figure.subplots(rows, columns, squeeze=False)
        for place in axes.flat[len(maps) :]:
            place.set_axis_off()
        for place, (label, values) in zip(axes.flat, maps.items(), strict=False):
            image = place.imshow(values, cmap=_MAP_COLOURS, vmin=scale[0], vmax=scale[1])
            place.set(xticks=[], yticks=[])
            place.set_title(short(label, 14), fontsize=9, color=INK)
        figure.colorbar(
            image,
            ax=axes,
            orientation="horizontal",
            fraction=0.05,
            format=lambda lost, _: f"{100 * lost:g}".replace("-", "\u2212"),
            label="points of probability lost",
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
        caption = f"{name}: where the labelled class loses most"
        return (Drawing(to_svg(figure, key, alt), alt, caption, data),)


def _part(values: np.ndarray[Any, np.dtype[np.float64]]) -> str:
    """Where a map is highest; left and right are those of the picture, not of the person."""
    row, column = np.unravel_index(int(values.argmax()), values.shape)
    down = ("the top", "the middle", "the bottom")[min(2, 3 * int(row) // values.shape[0])]
    across = ("left", "centre", "right")[min(2, 3 * int(column) // values.shape[1])]
    return f"{down}, {across} of the picture"


def deletion_drawing(name: str, deletion: Mapping[str, Any], *, key: str) -> Drawing:
    """Mean probability of the labelled class while the face is covered, by the map and at random.

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
        axes.set_ylabel("probability of the labelled class")
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
