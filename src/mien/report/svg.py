"""Figures as inline SVG: the look that all have, and one way to write them.

Colours are CSS variables that the page sets for light and dark, with fallbacks that are legible on white.
Text stays text. The same data give the same bytes.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Sequence
from html import escape
from typing import Any, Final

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

INK, RULE, CELL, ON_CELL, PAGE = "#010101", "#010102", "#010103", "#010104", "#010105"
SERIES: Final = tuple(f"#0201{i:02d}" for i in range(1, 7))
"""Stand-ins: matplotlib knows no CSS variable, so that these are replaced in the SVG."""
_CSS: Final = {
    INK: "currentColor",
    RULE: "var(--rule, #b8bec6)",
    CELL: "var(--cell, #08519c)",
    ON_CELL: "var(--on-cell, #ffffff)",
    PAGE: "var(--page, #ffffff)",
    **{
        stand_in: f"var(--series-{i}, {colour})"
        for i, (stand_in, colour) in enumerate(
            zip(SERIES, ("#0072b2", "#c65102", "#00805d", "#a8447f", "#8a6500", "#4d4d4d"), strict=True), 1
        )
    },
}
_TIP: Final = re.compile(r"""<a xlink:href=(["'])tip:(.*?)\1[^>]*>""")
WIDTH: Final = 4.2
"""Inches; wide enough for eight class names and narrow enough for a phone."""
SMALLEST: Final = 7.8
"""Smallest font in points: 9 CSS pixels where a phone shows a drawing of `WIDTH`."""
SETTINGS: Any = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "hatch.linewidth": 0.6,
    "axes.edgecolor": RULE,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.5,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "text.color": INK,
    "legend.frameon": False,
}
"""For `rc_context`, around everything that is drawn."""


def short(text: str, length: int) -> str:
    """The text, cut to a length with an ellipsis."""
    return text if len(text) <= length else text[: length - 1] + "…"


def legend_label(name: str, length: int) -> str:
    """A name as matplotlib's legend will show it."""
    # matplotlib leaves out labels that start with an underscore.
    return " " + short(name, length) if name.startswith("_") else short(name, length)


def tip(text: str) -> str:
    """What to give an artist's `set_url`, so that its shape tells this text when it is pointed at."""
    return f"tip:{text}"


def point_tips(axes: Axes, x: ArrayLike, y: ArrayLike, texts: Sequence[str]) -> None:
    """Put an unseen square over each of N points that tells its text when it is pointed at."""
    sizes = np.full(len(texts), 80.0)
    # Unequal sizes keep matplotlib from drawing all points as one marker, which has one text.
    sizes[-1:] += 0.1
    points = axes.scatter(x, y, s=sizes, marker="s", alpha=0.0, linewidths=0, zorder=10)
    points.set_urls([tip(text) for text in texts])


def to_svg(figure: Figure, key: str, alt: str) -> str:
    """The figure as one `<svg>` element: no prolog, no metadata, ids of its own, colours as CSS variables."""
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with rc_context({"svg.hashsalt": key}), warnings.catch_warnings():
        # Text stays text, so a class name in a script that the measuring font lacks is drawn by the reader's
        # own font.
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    drawn = buffer.getvalue()
    box = re.search(r'viewBox="([^"]+)"', drawn)
    if box is None:
        raise ValueError(f"drawing {key}: matplotlib wrote no viewBox.")
    body = drawn[drawn.index(">", box.end()) + 1 :]
    # matplotlib's own style sheet would apply to the whole page.
    body = re.sub(r"<defs>\s*<style[^>]*>.*?</style>\s*</defs>", "", body, count=1, flags=re.DOTALL)
    body = re.sub(r"<metadata>.*?</metadata>", "", body, count=1, flags=re.DOTALL)
    body = _TIP.sub(r'<g class="tip"><title>\2</title>', body).replace("</a>", "</g>")
    body = body.replace("xlink:href", "href")
    body = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{key}-", body)
    body = re.sub("|".join(_CSS), lambda found: _CSS[found.group()], body)
    style = "stroke-linejoin:round;stroke-linecap:butt"
    head = f'<svg role="img" aria-label="{escape(alt)}" viewBox="{box[1]}" style="{style}">'
    return head + "\n".join(line.rstrip() for line in body.splitlines() if line.strip())
