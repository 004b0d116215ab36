"""What corrupted faces cost a model, relative to clean ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from mien.report.document import Block, Gallery, Section, Table, Text
from mien.report.robustness_figures import in_words, robustness_drawing
from mien.report.tables import Column, analyses_of
from mien.report.wording import DASH, joined, percent, seed_notes

WORST_TOLD: Final = 3
"""Corruptions that the sentence names."""


def robustness_section(columns: Sequence[Column]) -> Section | None:
    """Relative accuracies of every model and its accuracy at every severity; None where none was measured.

    Of a column with several seeds it is the first that was measured.
    """
    measured = analyses_of(columns, "robustness")
    if not measured:
        return None
    blocks: list[Block] = [Text(_sentence(name, values)) for name, values in measured.items()]
    blocks += seed_notes(columns, "robustness", "The figures are")
    blocks.append(_summary_table(measured))
    drawings = tuple(
        robustness_drawing(name, values, key=f"robustness-{i}")
        for i, (name, values) in enumerate(measured.items())
    )
    caption = "Percent right under each corruption; the shade is the share that is kept of the clean accuracy"
    blocks.append(Gallery(drawings, caption))
    return Section("Robustness", tuple(blocks))


def _sentence(name: str, values: Mapping[str, Any]) -> str:
    """What hurts most, and what is kept on average."""
    clean, count = values["clean_accuracy"], values["count"]
    begin = f"{name}, right on {percent(clean)} of {count:,} clean faces,"
    worst = sorted(values["relative_accuracy"].items(), key=lambda item: item[1])[:WORST_TOLD]
    if not worst:
        return f"{begin} answered no corrupted ones."
    told = joined([f"{in_words(kind)} ({percent(share, 0)})" for kind, share in worst])
    means = values["mean_relative_accuracy_by_family"]
    common, face = values["mean_relative_accuracy"], means.get("face")
    kept = [
        f"{percent(share, 0)} {what}"
        for share, what in ((common, "under common corruptions"), (face, "under those of faces"))
        if share is not None
    ]
    return f"{begin} keeps {joined(kept)} of that accuracy, least under {told}."


def _summary_table(measured: Mapping[str, Mapping[str, Any]]) -> Table:
    families = list(
        dict.fromkeys(f for values in measured.values() for f in values["mean_relative_accuracy_by_family"])
    )
    rows = tuple(
        (
            name,
            f"{values['count']:,}",
            percent(values["clean_accuracy"], 2),
            _share(values["mean_relative_accuracy"]),
            *(_share(values["mean_relative_accuracy_by_family"].get(family)) for family in families),
        )
        for name, values in measured.items()
    )
    notes = [
        "Relative accuracy: accuracy on corrupted faces over that on the same clean faces, a mean over "
        "severities and then over corruptions. It says nothing of which model is more accurate. Corruptions "
        "and severities are those of Hendrycks and Dietterich (ICLR 2019), at the size of the faces."
    ]
    if not all(values["template"] for values in measured.values()):
        notes.append("Mask and sunglasses are put where eyes lie in FER-2013; this data says nothing of it.")
    return Table(
        "Relative accuracy by kind of corruption",
        ("model", "images", "clean accuracy", "common corruptions", *families),
        rows,
        notes=tuple(notes),
    )


def _share(share: float | None) -> str:
    return DASH if share is None else percent(share)
