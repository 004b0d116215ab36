"""Figures 2 and 5 as measured: class counts before and after balancing, training curves."""

from __future__ import annotations

from mien.report.document import Block, Gallery, Section, Text
from mien.report.figures import class_count_drawings, curve_drawings
from mien.report.published import TRAINING_ACCURACY, VALIDATION_ACCURACY
from mien.report.report_data import ReportData
from mien.report.tables import Column
from mien.report.wording import percent


def curves_section(columns: tuple[Column, ...]) -> Section | None:
    """Accuracy and loss by epoch, one line a run; None where no column was trained by mien."""
    if all(column.config is None for column in columns):
        return None
    drawings = curve_drawings(columns)
    if not drawings:
        return Section("Training curves (Fig. 5)", (Text("Not drawn: the runs kept no history."),))
    note = (
        "Training figures are of augmented images, before each step; validation is of whole images, "
        f"without augmentation. The paper prints {percent(TRAINING_ACCURACY.value)} training and "
        f"{percent(VALIDATION_ACCURACY.value, 2)} validation accuracy ({TRAINING_ACCURACY.place}), on other "
        "data."
    )
    return Section("Training curves (Fig. 5)", (Gallery(drawings, "One line a run"), Text(note)))


def counts_section(columns: tuple[Column, ...], data: ReportData | None) -> Section:
    """Images of each class and split, and of an epoch after balancing."""
    if data is None:
        reason = "Not drawn: the prepared data is no longer where it was, or has changed since; give --data."
        return Section("Class counts (Fig. 2)", (Text(reason),))
    name = data.targets.name
    drawings = class_count_drawings(data.prepared.manifest.target(name))
    caption = f"Images of each class, target {name}; after balancing: images an epoch"
    blocks: list[Block] = [Gallery(drawings, caption)]
    used = sorted({column.config.training_set.balance for column in columns if column.config is not None})
    if used:
        blocks.append(
            Text(f"Balancing used by these runs: {', '.join(used)} (copies is the plan drawn here).")
        )
    if any(column.record.get("manifest_hash") != data.manifest_hash for column in columns):
        blocks.append(Text("Other models of this report are of other data, which is not drawn."))
    return Section("Class counts (Fig. 2)", tuple(blocks))
