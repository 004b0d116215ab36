"""Features before and after SE (the paper's 3.6, claim C8), and which parts of the face decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from mien.report.document import Block, Gallery, Section, Table, Text
from mien.report.feature_figures import deletion_drawing, embedding_drawings, map_drawings, map_scale
from mien.report.tables import Column, analyses_of
from mien.report.wording import DASH, percent, seed_notes

_MEASURES: Final = {
    "within": "distance within classes",
    "between": "distance between classes",
    "relative_within": "distance within classes, relative",
    "relative_between": "distance between classes, relative",
    "ratio": "between over within",
    "cosine_within": "cosine distance within classes",
    "cosine_between": "cosine distance between classes",
    "cosine_ratio": "cosine, between over within",
    "silhouette": "silhouette",
}
"""Short words for `mien.evaluate.feature_space.MEASURES`; rows can be sorted, so each stands alone."""


def features_section(columns: Sequence[Column]) -> Section | None:
    """Distances before and after SE, the verdict on the paper's claim, and pictures; None without any.

    The verdict is of all seeds of a column that were measured, all else of the first of them.
    """
    measured = analyses_of(columns, "features")
    if not measured:
        return None
    blocks: list[Block] = [
        Text(f"{column.name}: {_verdict(column)}") for column in columns if column.name in measured
    ]
    blocks += seed_notes(columns, "features", "The tables and pictures below are")
    blocks += [
        _measures_table(name, values["comparison"], values["count"])
        for name, values in measured.items()
        if values["comparison"] is not None
    ]
    probed = {name: values for name, values in measured.items() if values["probe"] is not None}
    if probed:
        blocks.append(_probe_table(probed))
    # A gallery each, so that before and after lie side by side.
    for i, (name, values) in enumerate(measured.items()):
        caption = (
            f"{name}, features in two dimensions by t-SNE: neighbours are kept, sizes of clusters and "
            "distances between them mean nothing"
        )
        blocks.append(Gallery(embedding_drawings(name, values["embedding"], key=f"features-{i}"), caption))
    return Section("Features before and after SE (3.6)", tuple(blocks))


def maps_section(columns: Sequence[Column]) -> Section | None:
    """Mean occlusion maps of the classes and whether they are faithful; None without any.

    Of a column with several seeds it is the first that was measured.
    """
    measured = analyses_of(columns, "maps")
    if not measured:
        return None
    blocks: list[Block] = [Text(_maps_sentence(name, values)) for name, values in measured.items()]
    blocks += seed_notes(columns, "maps", "This is")
    scale = map_scale(values["mean_maps"] for values in measured.values())
    for i, (name, values) in enumerate(measured.items()):
        drawings = (
            *map_drawings(name, values["mean_maps"], scale, key=f"maps-{i}"),
            deletion_drawing(name, values["deletion"], key=f"deletion-{i}"),
        )
        blocks.append(Gallery(drawings, _maps_caption(name, values)))
    return Section("Which parts of the face decided", tuple(blocks))


def _verdict(column: Column) -> str:
    """Of every seed that was measured, by today's rule whenever they were."""
    measured = [values for run in column.runs if (values := run.analysis("features")) is not None]
    compared = [values["comparison"] for values in measured if values["comparison"] is not None]
    if not compared:
        verdict: str = measured[0]["verdict"]
        return verdict
    # scikit-learn takes a second to import, which a report without features can do without.
    from mien.evaluate.clusters import Comparison, se_verdict

    def space(comparison: Mapping[str, Any], which: str) -> dict[str, tuple[float, float, float]]:
        return {m: (e["value"], e["interval"][0], e["interval"][1]) for m, e in comparison[which].items()}

    return se_verdict(
        [
            Comparison(
                space(c, "first"),
                space(c, "second"),
                space(c, "difference"),
                c["counts"],
                tuple(c["skipped"]),
            )
            for c in compared
        ]
    )


def _measures_table(name: str, comparison: Mapping[str, Any], count: int) -> Table:
    rows = tuple(
        (
            words,
            *(_value(comparison[space][measure]) for space in ("first", "second")),
            _number(comparison["difference"][measure]["value"], "+.3f"),
            _interval(comparison["difference"][measure]["interval"]),
        )
        for measure, words in _MEASURES.items()
    )
    notes = [
        f"{count:,} images; 95 % bootstrap intervals over images within their class. Relative distances are "
        "over the mean distance of any two images, since gates between 0 and 1 bring everything closer "
        "together. A larger ratio and a larger silhouette are more separate."
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
    return f"{_number(entry['value'])} ({_interval(entry['interval'])})"


def _interval(interval: Sequence[float]) -> str:
    return f"{_number(interval[0])} to {_number(interval[1])}"


def _number(value: float, form: str = ".3f") -> str:
    return f"{value:{form}}".replace("-", "\u2212")


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
    better = "better than" if low > 0 else "worse than" if high < 0 else "no better than"
    return (
        f"{name}: while {values['count']:,} faces are covered in the order of their maps, the probability of "
        f"the labelled class is {_number(deletion['area'])} on average, in random order "
        f"{_number(deletion['random_area'])}; with a gain of {_number(deletion['gain'])} (95 % interval "
        f"{_interval((low, high))}) the maps tell {better} chance which parts the model uses."
    )


def _maps_caption(name: str, values: Mapping[str, Any]) -> str:
    curve = "the probability while the face is covered"
    mapped = sum(entry["count"] for entry in values["mean_maps"].values())
    if not mapped:
        return f"{name}: {curve}; no class has faces enough for a mean map"
    left_out = values["count"] - mapped
    without = f"; {left_out:,} faces are of classes with too few for a mean map" if left_out else ""
    return (
        f"{name}: how far the probability of the labelled class falls where a square of {values['patch']} px "
        f"is covered, a mean over its faces, all models at one scale; then {curve}{without}"
    )
