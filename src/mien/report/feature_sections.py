"""Features before and after SE (the paper's 3.6, claim C8), and which parts of the face decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from mien.report.document import Block, Gallery, Section, Table, Text
from mien.report.feature_figures import deletion_drawing, embedding_drawings, map_drawings
from mien.report.tables import Column, analyses_of
from mien.report.wording import DASH, percent

_MEASURES: Final = {
    "relative_within": "distance within classes, relative",
    "relative_between": "distance between classes, relative",
    "ratio": "between over within",
    "cosine_ratio": "the same, cosine distances",
    "silhouette": "silhouette",
    "davies_bouldin": "Davies-Bouldin",
}
"""Those of `mien.evaluate.feature_space.MEASURES` that do not hang on scale."""


def features_section(columns: Sequence[Column]) -> Section | None:
    """Distances before and after SE, the verdict on the paper's claim, and pictures; None without any.

    Of a column with several seeds it is the first that was measured.
    """
    measured = analyses_of(columns, "features")
    if not measured:
        return None
    blocks: list[Block] = [Text(f"{name}: {values['verdict']}") for name, values in measured.items()]
    blocks += [
        _measures_table(name, values["comparison"])
        for name, values in measured.items()
        if values["comparison"] is not None
    ]
    probed = {name: values for name, values in measured.items() if values["probe"] is not None}
    if probed:
        blocks.append(_probe_table(probed))
    drawings = [
        drawing
        for i, (name, values) in enumerate(measured.items())
        for drawing in embedding_drawings(name, values["embedding"], key=f"features-{i}")
    ]
    caption = (
        "Features in two dimensions by t-SNE: neighbours are kept, sizes of clusters and distances between "
        "them mean nothing"
    )
    blocks.append(Gallery(tuple(drawings), caption))
    return Section("Features before and after SE (3.6)", tuple(blocks))


def maps_section(columns: Sequence[Column]) -> Section | None:
    """Mean occlusion maps of the classes and whether they are faithful; None without any.

    Of a column with several seeds it is the first that was measured.
    """
    measured = analyses_of(columns, "maps")
    if not measured:
        return None
    blocks: list[Block] = [Text(_maps_sentence(name, values)) for name, values in measured.items()]
    for i, (name, values) in enumerate(measured.items()):
        drawings = (
            *map_drawings(name, values["mean_maps"], key=f"maps-{i}"),
            deletion_drawing(name, values["deletion"], key=f"deletion-{i}"),
        )
        caption = (
            f"{name}: where covering a square of {values['patch']} px lowers the probability of the class, a "
            "mean over its faces; then the probability while the face is covered"
        )
        blocks.append(Gallery(drawings, caption))
    return Section("Which parts of the face decided", tuple(blocks))


def _measures_table(name: str, comparison: Mapping[str, Any]) -> Table:
    rows = tuple(
        (
            words,
            *(_value(comparison[space][measure]) for space in ("first", "second")),
            f"{comparison['difference'][measure]['value']:+.3f}".replace("-", "\u2212"),
            _interval(comparison["difference"][measure]),
        )
        for measure, words in _MEASURES.items()
    )
    notes = [
        "95 % bootstrap intervals over images within their class. Distances are relative to the mean "
        "distance of any two images, since gates between 0 and 1 bring everything closer together. A larger "
        "silhouette and ratio, and a smaller Davies-Bouldin, are more separate."
    ]
    if comparison["skipped"]:
        notes.append(f"Too few images to be measured: {', '.join(comparison['skipped'])}.")
    return Table(
        f"How well the classes separate, before and after SE: {name}",
        ("measure", "before SE", "after SE", "difference", "95 % interval"),
        rows,
        notes=tuple(notes),
    )


def _value(entry: Mapping[str, Any]) -> str:
    return f"{entry['value']:.3f} ({_interval(entry)})"


def _interval(entry: Mapping[str, Any]) -> str:
    low, high = entry["interval"]
    return f"{low:.3f} to {high:.3f}".replace("-", "\u2212")


def _probe_table(measured: Mapping[str, Mapping[str, Any]]) -> Table:
    return Table(
        "What a line can tell apart: accuracy of logistic regression on the features",
        ("model", "before SE", "after SE"),
        tuple(
            (
                name,
                percent(values["probe"]["before"], 2),
                percent(values["probe"]["after"], 2) if values["comparison"] is not None else DASH,
            )
            for name, values in measured.items()
        ),
    )


def _maps_sentence(name: str, values: Mapping[str, Any]) -> str:
    deletion = values["deletion"]
    low, high = deletion["gain_interval"]
    faithful = (
        "the maps say more than chance of what the model looks at"
        if low > 0
        else "the maps say no more than chance of what the model looks at"
    )
    kept = f"a mean probability of {deletion['area']:.3f}, in random order {deletion['random_area']:.3f}"
    gain = f"{deletion['gain']:.3f} (95 % interval {_interval({'interval': (low, high)})})"
    return (
        f"{name}: while {values['count']:,} faces are covered in the order of their maps, the class keeps "
        f"{kept}; the gain of {gain} says that {faithful}."
    )
