"""Numbers of a data card as words: one way to write a share, a size, a brightness."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from mien.data.summary_records import Brightness, Counts, Sizes

DASH: Final = "–"
"""What stands where there is no number."""
CROPS: Final = {
    "came_cropped": "came cropped",
    "aligned": "aligned by the detected eyes",
    "box": "cut by the detected box",
    "annotated": "cut by the set's own annotation",
    "centre": "central square",
}
"""How a face was cut out (`mien.data.manifest_columns.CROPS`), in words."""


def percent(share: float | None) -> str:
    """0.5310 -> `53.1 %`; only none at all is 0.0 %, and only all is 100.0 %."""
    if share is None:
        return DASH
    if 0 < share < 0.0005:
        return "under 0.1 %"
    if 0.9995 <= share < 1:
        return "over 99.9 %"
    return f"{100 * share:.1f} %"


def joined(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else "".join(names)


def counts_text(counts: Counts) -> str:
    """`JPEG 12,000, PNG 3`."""
    return ", ".join(f"{name} {count:,}" for name, count in counts.items()) or DASH


def shares_text(counts: Counts) -> str:
    """`one 93.2 %, none 6.8 %`."""
    whole = sum(counts.values())
    return ", ".join(f"{name} {percent(count / whole)}" for name, count in counts.items() if count) or DASH


def size_text(sizes: Sizes | None) -> str:
    """`48 × 48 px, all`, or the commonest size and the range of the shorter side."""
    if sizes is None:
        return DASH
    width, height = sizes.commonest
    if sizes.share == 1:
        return f"{width} × {height} px, all"
    return (
        f"{width} × {height} px in {percent(sizes.share)}; shorter side {sizes.smallest:,} to "
        f"{sizes.largest:,} px, median {sizes.median:,} px"
    )


def channels_text(grey_share: float | None) -> str:
    """`all grey`, `all colour` or both shares."""
    if grey_share is None:
        return DASH
    if grey_share in (0, 1):
        return "all grey" if grey_share else "all colour"
    return f"grey {percent(grey_share)}, colour {percent(1 - grey_share)}"


def brightness_text(brightness: Brightness | None, of: int) -> str:
    """`129.5, sd 38.2`, and how many were measured where that is fewer than `of`."""
    if brightness is None:
        return DASH
    sample = f" ({brightness.count:,} measured)" if brightness.count < of else ""
    return f"{brightness.mean:.1f}, sd {brightness.sd:.1f}{sample}"


def found_text(found: Counts) -> str:
    """In how many pictures faces were found, of those that were searched."""
    return f"{shares_text(found)} (of {sum(found.values()):,} searched)" if found else "not searched"


def template_text(template: Mapping[str, Any] | None) -> str:
    """Where the eyes lie (`mien.card.CropTemplate`)."""
    if template is None:
        return DASH
    (x0, y0), (x1, y1) = template["left_eye"], template["right_eye"]
    return (
        f"eyes found in {percent(template['detected'])} of {template['count']:,}, in the median at "
        f"({x0:.2f}, {y0:.2f}) and ({x1:.2f}, {y1:.2f}) of the side; spread {template['spread']:.2f} of "
        "their distance"
    )
