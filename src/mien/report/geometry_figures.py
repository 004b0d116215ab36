"""Loss surfaces and a cut through them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from mien.report.document import Drawing, Table
from mien.report.figures import MARKERS
from mien.report.svg import CELL, INK, SERIES, SETTINGS, WIDTH, legend_label, point_tips, tip, to_svg

_LEVELS: Final = 8
"""Contour lines between the lowest and the highest loss of all surfaces."""


def surface_drawings(measured: Mapping[str, Mapping[str, Any]]) -> tuple[Drawing, ...]:
    """One shaded surface a model, all at the scale of the highest median rise, so that shades compare.

    Args:
        measured: model to what `mien.evaluate.landscape.Landscape.to_dict` gave.
    """
    surfaces = {name: _surface(values) for name, values in measured.items()}
    low = min(float(np.nanmin(surface)) for surface in surfaces.values())
    # A loss that explodes at one corner would leave nothing of the others to be seen.
    high = max(float(np.nanquantile(surface, 0.9)) for surface in surfaces.values())
    high = max(high, low + 1e-9)
    return tuple(
        _surface_drawing(name, measured[name], surface, low, high, key=f"surface-{i}")
        for i, (name, surface) in enumerate(surfaces.items())
    )


def _surface(values: Mapping[str, Any]) -> npt.NDArray[np.float64]:
    return np.array([[np.nan if v is None else v for v in row] for row in values["loss"]], dtype=np.float64)


def _surface_drawing(
    name: str,
    values: Mapping[str, Any],
    surface: npt.NDArray[np.float64],
    low: float,
    high: float,
    *,
    key: str,
) -> Drawing:
    alphas, betas = np.array(values["alphas"]), np.array(values["betas"])
    half = (alphas[1] - alphas[0]) / 2
    with rc_context({**SETTINGS, "axes.grid": False}):
        figure = Figure(figsize=(WIDTH, WIDTH), layout="constrained")
        axes = figure.subplots()
        for i, j in np.ndindex(surface.shape):
            loss = surface[i, j]
            shade = 1.0 if np.isnan(loss) else float(np.clip((loss - low) / (high - low), 0, 1))
            corner = (alphas[i] - half, betas[j] - half)
            cell = Rectangle(corner, 2 * half, 2 * half, facecolor=CELL, alpha=round(0.9 * shade, 3))
            cell.set_url(tip(f"{alphas[i]:+.2f}, {betas[j]:+.2f}: loss {loss:.3f}"))
            axes.add_patch(cell)
        levels = np.linspace(low, high, _LEVELS)[1:]
        if np.nanmax(surface) > levels[0]:
            drawn = np.nan_to_num(surface, nan=float(np.nanmax(surface)))
            axes.contour(alphas, betas, drawn.T, levels=levels, colors=INK, linewidths=0.6)
        axes.plot([0], [0], color=SERIES[1], marker="+", markersize=9, markeredgewidth=1.8)
        axes.set(xlabel="first direction", ylabel="second direction", aspect="equal")
        middle = len(alphas) // 2
        centre = surface[middle, middle]
        edge = float(np.nanmax(surface))
        alt = (
            f"Loss surface of {name}: {centre:.2f} nats at the trained weights, up to {edge:.2f} around them."
        )
        caption = f"{name}: {centre:.2f} nats at the cross, shade from {low:.2f} to {high:.2f}"
        data = Table(
            f"Loss surface of {name}, nats: rows along the first direction, columns along the second",
            ("first direction", *(f"{beta:+.2f}" for beta in betas)),
            tuple(
                (f"{alpha:+.2f}", *(f"{v:.4f}" for v in row))
                for alpha, row in zip(alphas, surface, strict=True)
            ),
        )
        return Drawing(to_svg(figure, key, alt), alt, caption, data)


def cut_drawing(measured: Mapping[str, Mapping[str, Any]]) -> Drawing:
    """Loss along both directions through the weights, the mean of the two, one line a model."""
    rows: list[tuple[str, ...]] = []
    told = []
    with rc_context(SETTINGS):
        figure = Figure(figsize=(WIDTH, 0.8 * WIDTH + 0.2 * len(measured)), layout="constrained")
        axes = figure.subplots()
        for i, (name, values) in enumerate(measured.items()):
            surface, places = _surface(values), np.array(values["alphas"])
            middle = len(places) // 2
            cut = (surface[:, middle] + surface[middle, :]) / 2
            colour, marker = SERIES[i % len(SERIES)], MARKERS[i % len(MARKERS)]
            label = legend_label(name, 44)
            axes.plot(places, cut, color=colour, marker=marker, markersize=4, linewidth=1.4, label=label)
            texts = [
                f"{name}, {place:+.2f}: loss {loss:.3f}" for place, loss in zip(places, cut, strict=True)
            ]
            point_tips(axes, places, cut, texts)
            rows += [(name, f"{place:+.2f}", f"{loss:.4f}") for place, loss in zip(places, cut, strict=True)]
            told.append(f"{name} {cut[middle]:.2f} at the weights, {np.nanmax(cut):.2f} at most")
        axes.set(xlabel="distance along a direction", ylabel="loss (nats)")
        figure.legend(loc="outside lower left", ncols=1)
        alt = f"Loss along a line through the trained weights. {'; '.join(told)}."
        data = Table("Loss along a line through the weights", ("model", "distance", "loss"), tuple(rows))
        return Drawing(
            to_svg(figure, "surface-cut", alt), alt, "A cut through the middle, mean of both directions", data
        )
