"""Accuracy under each corruption and severity, as a shaded grid."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from mien.report.document import Drawing, Table
from mien.report.svg import CELL, INK, ON_CELL, SETTINGS, SMALLEST, WIDTH, tip, to_svg
from mien.report.wording import percent, points, points_interval

_WIDE = 5
"""Cells of a common corruption, one a severity; a corruption of faces has one as wide as all of them."""


def robustness_drawing(name: str, values: Mapping[str, Any], *, key: str) -> Drawing:
    """Rows are corruptions, columns severities; each cell says its accuracy in percent.

    Args:
        name: of the model.
        values: what `mien.evaluate.robustness.RobustnessTable.to_dict` gave.
        key: unlike any other drawing's of the report.
    """
    kinds = list(dict.fromkeys(row["corruption"] for row in values["rows"]))
    severities = sorted({row["severity"] for row in values["rows"] if row["severity"] is not None})
    with rc_context({**SETTINGS, "axes.grid": False}):
        figure = Figure(figsize=(WIDTH, 0.7 + 0.21 * len(kinds)), layout="constrained")
        axes = figure.subplots()
        axes.set(xlim=(-0.5, _WIDE - 0.5), ylim=(len(kinds) - 0.5, -0.5))
        for row in values["rows"]:
            left, width = (0, _WIDE) if row["severity"] is None else (severities.index(row["severity"]), 1)
            share = min(1.0, row["relative_accuracy"] or 0.0)
            place = kinds.index(row["corruption"])
            cell = Rectangle(
                (left - 0.48, place - 0.46), width - 0.04, 0.92, facecolor=CELL, alpha=round(share**2, 3)
            )
            cell.set_url(tip(_told(row)))
            axes.add_patch(cell)
            ink = ON_CELL if share**2 > 0.6 else INK
            axes.text(
                left + (width - 1) / 2,
                place,
                f"{100 * row['accuracy']:.0f}",
                color=ink,
                fontsize=SMALLEST,
                ha="center",
                va="center",
            )
        axes.set_yticks(range(len(kinds)), [in_words(kind) for kind in kinds], fontsize=SMALLEST)
        axes.set_xticks(range(len(severities)), [str(severity) for severity in severities])
        axes.set_xlabel("severity; corruptions of faces have one strength")
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        shares = values["relative_accuracy"]
        worst = min(shares, key=lambda kind: shares[kind]) if shares else ""
        kept = f" Least is kept under {in_words(worst)}, {percent(shares[worst])}." if worst else ""
        alt = f"Accuracy of {name} under {len(kinds)} corruptions at up to {_WIDE} severities.{kept}"
        caption = (
            f"{name}: percent right of {values['count']:,}, {percent(values['clean_accuracy'])} when clean"
        )
        return Drawing(to_svg(figure, key, alt), alt, caption, _data(name, values))


def in_words(kind: str) -> str:
    """`gaussian_noise` as `gaussian noise`."""
    return kind.replace("_", " ")


def _told(row: Mapping[str, Any]) -> str:
    severity = "" if row["severity"] is None else f", severity {row['severity']}"
    drop = f"{points(-row['drop'])} points ({points_interval((-row['drop_high'], -row['drop_low']))})"
    return f"{in_words(row['corruption'])}{severity}: {percent(row['accuracy'])} right, {drop}"


def _data(name: str, values: Mapping[str, Any]) -> Table:
    return Table(
        f"Robustness of {name}, by corruption and severity",
        ("corruption", "family", "severity", "accuracy", "macro recall", "drop", "95 % low", "95 % high"),
        tuple(
            (
                in_words(row["corruption"]),
                row["family"],
                "" if row["severity"] is None else str(row["severity"]),
                *(
                    f"{row[name]:.4f}"
                    for name in ("accuracy", "macro_recall", "drop", "drop_low", "drop_high")
                ),
            )
            for row in values["rows"]
        ),
        words=frozenset({1}),
    )
