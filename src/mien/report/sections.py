"""What the report says, in order: figures beside the paper's, where they hold, how they came about."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from mien.card import USE_WARNING
from mien.report.class_sections import classes_section, confusion_section
from mien.report.comparisons import ColumnGain, gains_of
from mien.report.confidence_sections import confidence_section
from mien.report.document import Document, Section, Text
from mien.report.failure_sections import failure_sections
from mien.report.feature_sections import features_section, maps_section
from mien.report.gain_sections import gains_section, steps_sentence
from mien.report.geometry_sections import landscape_section, sharpness_section
from mien.report.leak_sections import leak_section, leak_sentence
from mien.report.metric_sections import further_section
from mien.report.provenance import made_sections
from mien.report.report_data import open_report_data
from mien.report.robustness_section import robustness_section
from mien.report.runs import ReportedRun, evaluated_splits
from mien.report.table2_sections import figures_section
from mien.report.tables import Column, columns_of
from mien.report.training_sections import counts_section, curves_section
from mien.report.wording import accuracy_sentence

TITLE: Final = "Facial expression recognition: what was measured"


def document_of(
    runs: Sequence[ReportedRun],
    *,
    data: Path | None = None,
    extra: Sequence[Section | str] = (),
    pictures: bool = True,
) -> tuple[Document, tuple[Column, ...], tuple[ColumnGain, ...]]:
    """All that a report holds.

    Args:
        runs: at least one, all with figures of the same split.
        data: the prepared folder, for what is shown of the images; none takes the runs' own where it is still
            there.
        extra: sections that stand before "How it was made"; sentences become one section, "Besides".
        pictures: whether faces of the data are shown.

    Returns:
        The document, and the columns and gains that it was made from.

    Raises:
        InputError: `data` is no prepared folder, or not what the models were evaluated on.
    """
    columns = columns_of(runs)
    steps = gains_of(columns)
    opened = open_report_data(columns, data)
    summary = (
        accuracy_sentence(columns),
        steps_sentence(steps) if steps else "",
        leak_sentence(opened),
        _split_warning(runs),
    )
    sections = (
        figures_section(columns),
        gains_section(steps) if steps else None,
        classes_section(columns),
        confusion_section(columns),
        further_section(columns),
        confidence_section(columns),
        *failure_sections(columns, opened, pictures=pictures),
        robustness_section(columns),
        curves_section(columns),
        landscape_section(columns),
        sharpness_section(columns),
        features_section(columns),
        maps_section(columns),
        counts_section(columns, opened),
        leak_section(columns, opened),
        *_extra_sections(extra),
        *made_sections(columns),
        Section("Limits", (Text(USE_WARNING), Text(_worth(columns)))),
    )
    kept = tuple(section for section in sections if section is not None)
    return Document(TITLE, " ".join(filter(None, summary)), kept), columns, steps


def _extra_sections(extra: Sequence[Section | str]) -> list[Section]:
    sentences = tuple(Text(item) for item in extra if isinstance(item, str))
    sections = [item for item in extra if isinstance(item, Section)]
    return [*sections, *([Section("Besides", sentences)] if sentences else [])]


def _split_warning(runs: Sequence[ReportedRun]) -> str:
    if runs[0].split == "test":
        return ""
    lacking = [run.name for run in runs if "test" not in evaluated_splits(run.folder)]
    return (
        f"These are validation figures, because the test split was not evaluated for {', '.join(lacking)}; "
        "the checkpoint was chosen on these same images, so they flatter the model."
    )


def _worth(columns: tuple[Column, ...]) -> str:
    sets = sorted({name for column in columns for name in column.record.get("sets", ())})
    return (
        f"The figures hold for images like those of {', '.join(sets) or 'the data used'}, labelled as those "
        "were. They say nothing about other cameras, ages, skin tones or cultures, and a label is what "
        "people saw in a picture, not what the person felt."
    )
