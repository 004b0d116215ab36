"""The report's figures, drawn by matplotlib as inline SVG from what a run or the manifest holds.

Colours are CSS variables that the page sets for light and dark, with fallbacks that are legible on white;
lines differ by marker and dash as well as by colour. Text stays text. The same data give the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from mien.data import balance
from mien.data.targets import Targets
from mien.report.document import Drawing, Table
from mien.report.runs import ReportedRun
from mien.report.svg import (
    CELL,
    INK,
    ON_CELL,
    SERIES,
    SETTINGS,
    SMALLEST,
    WIDTH,
    legend_label,
    point_tips,
    short,
    tip,
    to_svg,
)
from mien.report.tables import Column, ViewFigures

MARKERS = ("o", "s", "^", "D", "v", "P")
MAX_CLASSES_WITH_TEXT = 12
"""Largest confusion matrix whose cells are labelled; the names of more classes would not be legible."""


def class_count_drawings(targets: Targets) -> tuple[Drawing, ...]:
    """Fig. 2: images of each class, one drawing a split; training before and after the balance plan.

    Args:
        targets: all kept rows of a manifest under a target, as `Manifest.target` gives.

    Returns:
        One drawing for each of train, validation and test that holds an image.
    """
    drawings = []
    for split, title in (("train", "Training"), ("validation", "Validation"), ("test", "Test")):
        part = targets.only(split)
        if len(part) == 0:
            continue
        before = balance.class_counts(part.labels, len(part.classes))
        groups = {"images": before}
        if split == "train":
            after = balance.class_counts(part.labels, len(part.classes), part.copies)
            groups = {"before balancing": before, "after balancing": after}
        drawings.append(_count_drawing(split, title, part.classes, groups))
    return tuple(drawings)


def _count_drawing(
    split: str, title: str, classes: Sequence[str], groups: Mapping[str, balance.Index]
) -> Drawing:
    with rc_context(SETTINGS):
        height = 0.75 + 0.19 * len(classes) * (len(groups) + 0.5) + 0.2 * (len(groups) > 1)
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        axes = figure.subplots()
        thickness = 0.8 / len(groups)
        for i, (label, counts) in enumerate(groups.items()):
            places = np.arange(len(classes)) + (i - (len(groups) - 1) / 2) * thickness
            bars = axes.barh(places, counts, height=thickness * 0.92, color=SERIES[i], label=label)
            axes.bar_label(bars, [f"{count:,}" for count in counts], padding=2, fontsize=SMALLEST)
            for bar, name, count in zip(bars, classes, counts, strict=True):
                bar.set_url(tip(f"{name}, {label}: {count:,}"))
        axes.set_yticks(range(len(classes)), [short(name, 18) for name in classes])
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.margins(x=0.14)
        axes.set_xlabel("images")
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        if len(groups) > 1:
            figure.legend(loc="outside upper center", ncols=2)
        told = "; ".join(
            f"{label}: " + ", ".join(f"{name} {count:,}" for name, count in zip(classes, counts, strict=True))
            for label, counts in groups.items()
        )
        alt = f"{title} split, images of each class. {told}."
        total = ", ".join(f"{int(counts.sum()):,} {label}" for label, counts in groups.items())
        data = Table(
            f"{title} split, images of each class",
            ("class", *groups),
            tuple(
                (name, *(f"{counts[i]:,}" for counts in groups.values())) for i, name in enumerate(classes)
            ),
        )
        return Drawing(to_svg(figure, f"counts-{split}", alt), alt, f"{title}: {total}", data)


def curve_drawings(columns: Sequence[Column]) -> tuple[Drawing, ...]:
    """Fig. 5: training and validation accuracy and loss by epoch, one line a run; none without a history."""
    drawn = [column for column in columns if any(run.history for run in column.runs)]
    if not drawn:
        return ()
    return (
        _curve_drawing("accuracy", drawn, "train_accuracy", "accuracy"),
        _curve_drawing("loss", drawn, "train_loss", "nll"),
    )


def _curve_drawing(what: str, columns: Sequence[Column], training: str, validation: str) -> Drawing:
    with rc_context(SETTINGS):
        figure = Figure(figsize=(WIDTH, 2.9 + 0.2 * len(columns)), layout="constrained")
        axes = figure.subplots()
        handles = [
            Line2D([], [], color=INK, linestyle="-", label="validation"),
            Line2D([], [], color=INK, linestyle=(0, (3, 2)), linewidth=1.0, label="training"),
        ]
        told = []
        rows: list[tuple[str, ...]] = []
        for i, column in enumerate(columns):
            colour, marker = SERIES[i % len(SERIES)], MARKERS[i % len(MARKERS)]
            handles.append(
                Line2D([], [], color=colour, marker=marker, markersize=4, label=legend_label(column.name, 44))
            )
            for run in column.runs:
                if run.history:
                    _draw_run(axes, run.history, training, validation, colour, marker)
                    _curve_tips(axes, f"{column.name}, seed {run.seed}", run.history, validation)
                    told.append(_told_curve(column, run.seed, run.history, validation))
                    rows += _curve_rows(column.name, run, training, validation)
        axes.set_xlabel("epoch")
        axes.set_xlim(0.5, max(len(run.history) for column in columns for run in column.runs) + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
        axes.set_ylabel("accuracy" if what == "accuracy" else "loss (nats)")
        if what == "accuracy":
            axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
        figure.legend(handles=handles, loc="outside lower left", ncols=1 if len(columns) > 2 else 2)
        alt = f"Training and validation {what} by epoch. {' '.join(told)}"
        caption = f"{what.capitalize()} by epoch" + (
            "" if what == "accuracy" else "; validation: negative log-likelihood"
        )
        heads = ("model", "seed", "epoch", f"training {what}", f"validation {what}")
        data = Table(f"Training and validation {what} by epoch", heads, tuple(rows))
        return Drawing(to_svg(figure, f"curves-{what}", alt), alt, caption, data)


def _draw_run(
    axes: Axes, history: Sequence[Mapping[str, Any]], training: str, validation: str, colour: str, marker: str
) -> None:
    epochs = [entry["epoch"] for entry in history]
    axes.plot(
        epochs,
        [entry[training] for entry in history],
        color=colour,
        linestyle=(0, (3, 2)),
        linewidth=1.0,
        marker=".",
        markersize=2.5,
    )
    axes.plot(
        epochs,
        [entry["validation"][validation] for entry in history],
        color=colour,
        linewidth=1.6,
        marker=marker,
        markersize=3.5,
        markevery=max(1, len(epochs) // 8),
    )


def _curve_tips(axes: Axes, name: str, history: Sequence[Mapping[str, Any]], validation: str) -> None:
    values = [float(entry["validation"][validation]) for entry in history]
    shown = [f"{value:.2%}" if validation == "accuracy" else f"{value:.4f}" for value in values]
    epochs = [int(entry["epoch"]) for entry in history]
    texts = [f"{name}, epoch {epoch}: {text}" for epoch, text in zip(epochs, shown, strict=True)]
    point_tips(axes, epochs, values, texts)


def _curve_rows(name: str, run: ReportedRun, training: str, validation: str) -> list[tuple[str, ...]]:
    return [
        (
            name,
            str(run.seed),
            str(entry["epoch"]),
            f"{entry[training]:.4f}",
            f"{entry['validation'][validation]:.4f}",
        )
        for entry in run.history
    ]


def _told_curve(column: Column, seed: int, history: Sequence[Mapping[str, Any]], validation: str) -> str:
    values = [float(entry["validation"][validation]) for entry in history]
    best = int(np.argmax(values) if validation == "accuracy" else np.argmin(values))
    value = f"{values[best]:.1%}" if validation == "accuracy" else f"{values[best]:.3f}"
    epoch = history[best]["epoch"]
    return f"{column.name}, seed {seed}: validation best {value} at epoch {epoch} of {len(history)}."


def confusion_drawing(name: str, figures: ViewFigures, *, key: str, seeds: int = 1) -> Drawing:
    """A confusion matrix, each row's shares as shade and percent, with the counts.

    Args:
        name: of the column.
        figures: of one label view.
        key: unlike any other drawing's of the report.
        seeds: how many runs the counts are summed over.
    """
    counts = np.array(figures.confusion, dtype=np.int64)
    shares = counts / counts.sum(axis=1, keepdims=True).clip(1)
    size = len(figures.labels)
    with rc_context({**SETTINGS, "axes.grid": False}):
        figure = Figure(figsize=(WIDTH, WIDTH), layout="constrained")
        axes = figure.subplots()
        axes.set(xlim=(-0.5, size - 0.5), ylim=(size - 0.5, -0.5), aspect="equal")
        for row, column in np.ndindex(size, size):
            share = float(shares[row, column])
            corner = (column - 0.48, row - 0.48)
            told = f"{figures.labels[row]} taken for {figures.labels[column]}"
            cell = Rectangle(corner, 0.96, 0.96, facecolor=CELL, edgecolor="none", alpha=round(share, 3))
            cell.set_url(tip(f"{told}: {counts[row, column]:,} of {counts[row].sum():,}, {share:.1%}"))
            axes.add_patch(cell)
            if size <= MAX_CLASSES_WITH_TEXT and counts[row, column]:
                # Dark ink reads on the shade up to three quarters of it, white above that, in both themes.
                ink = ON_CELL if share > 0.75 else INK
                axes.text(
                    column, row - 0.16, f"{100 * share:.0f}", color=ink, fontsize=9, ha="center", va="center"
                )
                axes.text(
                    column,
                    row + 0.24,
                    f"{counts[row, column]:,}",
                    color=ink,
                    fontsize=SMALLEST,
                    ha="center",
                    va="center",
                )
        names = [short(label, 14) for label in figures.labels]
        axes.set_xticks(range(size), names, rotation=40, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(size), names)
        axes.tick_params(length=0)
        axes.set_xlabel("predicted")
        axes.set_ylabel("labelled")
        axes.spines[:].set_visible(False)
        alt = _told_confusion(name, figures.labels, shares)
        over = f", summed over {seeds} seeds" if seeds > 1 else ""
        caption = f"{name}: percent of the labelled class, counts below{over}"
        data = Table(
            f"Confusion of {name}: images, rows labelled, columns predicted",
            ("labelled", *figures.labels),
            tuple(
                (label, *(f"{n:,}" for n in row)) for label, row in zip(figures.labels, counts, strict=True)
            ),
        )
        return Drawing(to_svg(figure, key, alt), alt, caption, data)


def _told_confusion(name: str, labels: Sequence[str], shares: np.ndarray[Any, np.dtype[np.float64]]) -> str:
    told = []
    for row, label in enumerate(labels):
        others = [(float(shares[row, column]), other) for column, other in enumerate(labels) if column != row]
        share, other = max(others, default=(0.0, ""))
        mistaken = f", most often mistaken for {other} ({share:.0%})" if share else ""
        told.append(f"{label} {shares[row, row]:.0%} right{mistaken}")
    return f"Confusion matrix of {name}. {'; '.join(told)}."
