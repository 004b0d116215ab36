"""Reliability diagrams and risk-coverage curves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from mien.report.document import Drawing, Table
from mien.report.figures import MARKERS
from mien.report.svg import INK, SERIES, SETTINGS, WIDTH, legend_label, point_tips, to_svg
from mien.report.wording import percent


def reliability_drawing(
    name: str, before: Mapping[str, Any], after: Mapping[str, Any] | None, *, key: str
) -> Drawing:
    """Accuracy against confidence over bins of equally many images, with 95 % intervals.

    Args:
        name: of the model.
        before: what `mien.evaluate.calibration.calibration_figures` gave at temperature 1.
        after: the same at the fitted temperature, where there is one.
        key: unlike any other drawing's of the report.
    """
    series = {"as it came": before} | ({"at the temperature": after} if after is not None else {})
    rows: list[tuple[str, ...]] = []
    with rc_context(SETTINGS):
        figure = Figure(figsize=(WIDTH, 0.85 * WIDTH), layout="constrained")
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle=(0, (3, 2)), label="calibrated")
        for i, (label, figures) in enumerate(series.items()):
            bins = figures["equal_mass"]["bins"]
            x, y = [part["confidence"] for part in bins], [part["accuracy"] for part in bins]
            below = [part["accuracy"] - part["low"] for part in bins]
            above = [part["high"] - part["accuracy"] for part in bins]
            axes.errorbar(
                x,
                y,
                yerr=[below, above],
                color=SERIES[i],
                marker=MARKERS[i],
                markersize=4,
                linewidth=1.2,
                elinewidth=0.8,
                label=label,
            )
            point_tips(axes, x, y, [_told_bin(part) for part in bins])
            rows += [
                (
                    label,
                    f"{part['count']:,}",
                    f"{part['confidence']:.4f}",
                    f"{part['accuracy']:.4f}",
                    f"{part['low']:.4f}",
                    f"{part['high']:.4f}",
                )
                for part in bins
            ]
        axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence", ylabel="share that is right")
        axes.legend(loc="upper left")
        told = "; ".join(
            f"{label}: mean gap {percent(figures['equal_mass']['ece'])}" for label, figures in series.items()
        )
        alt = f"Reliability diagram of {name}. {told}."
        data = Table(
            f"Reliability of {name}: bins of equally many images",
            ("confidence", "images", "mean confidence", "share right", "95 % low", "95 % high"),
            tuple(rows),
        )
        return Drawing(to_svg(figure, key, alt), alt, f"{name}: {told}", data)


def _told_bin(part: Mapping[str, Any]) -> str:
    confidence, right = percent(part["confidence"]), percent(part["accuracy"])
    return f"{part['count']:,} images, confidence {confidence}, right {right}"


def risk_coverage_drawing(curves: Mapping[str, Mapping[str, Any]]) -> Drawing:
    """Share of wrong answers against the share of images that are answered, the surest first.

    Args:
        curves: model to what `mien.evaluate.abstention.RiskCoverage.to_dict` gave.
    """
    with rc_context(SETTINGS):
        figure = Figure(figsize=(WIDTH, 0.85 * WIDTH), layout="constrained")
        axes = figure.subplots()
        rows: list[tuple[str, ...]] = []
        for i, (name, curve) in enumerate(curves.items()):
            axes.plot(
                curve["coverage"],
                curve["risk"],
                color=SERIES[i % len(SERIES)],
                marker=MARKERS[i % len(MARKERS)],
                markersize=3.5,
                markevery=max(1, len(curve["coverage"]) // 8),
                linewidth=1.4,
                label=legend_label(name, 30),
            )
            points = list(zip(curve["threshold"], curve["coverage"], curve["risk"], strict=True))
            told_points = [
                f"{name}, from {percent(threshold)}: {percent(coverage)} answered, {percent(risk)} wrong"
                for threshold, coverage, risk in points
            ]
            point_tips(axes, curve["coverage"], curve["risk"], told_points)
            rows += [(name, *(f"{value:.4f}" for value in point)) for point in points]
        axes.set(
            xlim=(0, 1), ylim=(0, None), xlabel="share of images answered", ylabel="share wrong of these"
        )
        axes.legend(loc="upper left")
        told = "; ".join(f"{name}: mean risk {percent(curve['aurc'])}" for name, curve in curves.items())
        alt = f"Risk against coverage, the surest answers first. {told}."
        data = Table(
            "Risk and coverage by confidence",
            ("model", "answered from confidence", "share answered", "share wrong of these"),
            tuple(rows),
        )
        return Drawing(
            to_svg(figure, "risk-coverage", alt), alt, f"Errors among the surest answers. {told}", data
        )
