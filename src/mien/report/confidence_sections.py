"""What a confidence is worth: calibration before and after a temperature, and what abstaining buys.

Temperature and thresholds are fitted on the validation split and judged on the reported one, so that a report
on validation alone shows the confidence as it came.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mien.evaluate.abstention import AbstainThreshold, apply_threshold, fit_threshold, risk_coverage
from mien.evaluate.calibration import before_and_after, calibration_figures, fit_temperature
from mien.report.confidence_figures import reliability_drawing, risk_coverage_drawing
from mien.report.document import Block, Drawing, Gallery, Section, Table, Text
from mien.report.runs import ReportedRun
from mien.report.tables import Column
from mien.report.wording import DASH, percent, percent_interval

WANTED_PRECISIONS: Final = (0.8, 0.9, 0.95)
"""Precisions for which a report looks for an abstain threshold."""
_SURE: Final = (0.85, 0.95)
"""Confidences that a reader calls 90 %."""


@dataclass(frozen=True)
class RunConfidence:
    """One run's confidence on the reported split."""

    name: str
    """Of the run."""
    temperature: float | None
    """Fitted on validation; None where the run kept no validation logits, or is reported on them."""
    before: dict[str, Any]
    """`calibration_figures` as the model answered."""
    after: dict[str, Any] | None
    """The same at the temperature."""
    thresholds: tuple[tuple[AbstainThreshold, dict[str, Any]], ...]
    """For each wanted precision the threshold of validation, and what it does on the reported split."""
    curve: dict[str, Any]
    """`RiskCoverage.to_dict` at the temperature, where there is one."""


def run_confidence(run: ReportedRun) -> RunConfidence | None:
    """What a run's confidence is worth; None where it kept no logits of the reported split."""
    if run.tensors is None:
        return None
    logits, labels = _arrays(run.tensors)
    names = run.labels
    if run.validation is None or run.split == "validation":
        figures = calibration_figures(logits, labels, names)
        return RunConfidence(run.name, None, figures, None, (), risk_coverage(logits, labels).to_dict())
    held_logits, held_labels = _arrays(run.validation)
    temperature = fit_temperature(held_logits, held_labels).value
    both = before_and_after(logits, labels, names, temperature)
    thresholds = []
    for wanted in WANTED_PRECISIONS:
        found = fit_threshold(held_logits, held_labels, precision=wanted, temperature=temperature)
        reached = apply_threshold(logits, labels, names, found.value, temperature=temperature)
        thresholds.append((found, reached))
    curve = risk_coverage(logits, labels, temperature=temperature).to_dict()
    return RunConfidence(run.name, temperature, both["before"], both["after"], tuple(thresholds), curve)


def confidence_section(columns: Sequence[Column]) -> Section | None:
    """Calibration and abstention of every column; None where no run kept its logits.

    Figures of a column with several seeds are means over them; drawings and thresholds are of its first seed.
    """
    measured: list[tuple[Column, list[RunConfidence]]] = []
    for column in columns:
        runs = [found for run in column.runs if (found := run_confidence(run)) is not None]
        if runs:
            measured.append((column, runs))
    if not measured:
        return None
    blocks: list[Block] = [Text(_sentence(column.name, runs[0])) for column, runs in measured]
    blocks.append(_calibration_table(measured))
    if any(runs[0].thresholds for _, runs in measured):
        blocks.append(_threshold_table(measured))
    blocks.append(Gallery(_drawings(measured), "Confidence against accuracy, and errors against coverage"))
    values = {run.name: dataclasses.asdict(run) for _, runs in measured for run in runs}
    return Section("Confidence", tuple(blocks), values=values)


def _arrays(
    tensors: Any,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    return tensors["logits"].astype(np.float32), tensors["labels"].astype(np.int64)


def _sentence(name: str, run: RunConfidence) -> str:
    """How often answers of about 90 % confidence are right, and the calibration error in words."""
    figures = run.after or run.before
    sure = [part for part in figures["equal_width"]["bins"] if _SURE[0] <= part["confidence"] < _SURE[1]]
    count = sum(part["count"] for part in sure)
    error, chance = figures["equal_mass"]["ece"], figures["equal_mass"]["by_chance"]["high"]
    verdict = "no more than chance would give" if error <= chance else f"chance would give {percent(chance)}"
    how = "as it came" if run.temperature is None else f"at temperature {run.temperature:.2f}"
    text = f"{name}, {how}: confidence and accuracy differ by {percent(error)} on average ({verdict})"
    if count:
        right = sum(part["accuracy"] * part["count"] for part in sure) / count
        text += f"; of the {count:,} answers given with about 90 % confidence, {percent(right)} are right"
    return text + "."


def _calibration_table(measured: Sequence[tuple[Column, list[RunConfidence]]]) -> Table:
    rows = []
    for column, runs in measured:
        temperatures = [run.temperature for run in runs if run.temperature is not None]
        shown = f"{np.mean(temperatures):.3f}" if temperatures else DASH
        rows.append((column.name, shown, *_cells([run.before for run in runs], [run.after for run in runs])))
    heads = ("ECE", "ECE, equal widths", "NLL", "Brier")
    notes = [
        "ECE: mean absolute gap of confidence and accuracy over bins of equally many images. NLL in nats, "
        "Brier from 0 to 2. The temperature was fitted on the validation labels."
    ]
    if any(run.temperature is None for _, runs in measured for run in runs):
        notes.append(
            "Where there is no temperature, the run kept no validation logits, or is reported on them."
        )
    return Table(
        "Calibration before and after the temperature, means over seeds",
        (
            "model",
            "temperature",
            *(f"{head}{suffix}" for head in heads for suffix in (", before", ", after")),
        ),
        tuple(rows),
        notes=tuple(notes),
    )


def _cells(before: Sequence[dict[str, Any]], after: Sequence[dict[str, Any] | None]) -> list[str]:
    cells: list[str] = []
    have = [entry for entry in after if entry is not None]
    for path, is_share in (
        (("equal_mass", "ece"), True),
        (("equal_width", "ece"), True),
        (("nll",), False),
        (("brier",), False),
    ):
        for entries in (before, have):
            values = [_at(entry, path) for entry in entries]
            mean = float(np.mean(values)) if values else float("nan")
            cells.append(percent(mean, 2) if is_share else f"{mean:.4f}" if values else DASH)
    return cells


def _at(entry: Any, path: Sequence[str]) -> float:
    for key in path:
        entry = entry[key]
    return float(entry)


def _threshold_table(measured: Sequence[tuple[Column, list[RunConfidence]]]) -> Table:
    rows = []
    for column, runs in measured:
        for found, reached in runs[0].thresholds:
            promised = found.value is not None
            rows.append(
                (
                    column.name,
                    percent(found.wanted, 0),
                    percent(found.value, 1) if found.value is not None else "cannot be promised",
                    percent(reached["precision"]) if promised and reached["precision"] is not None else DASH,
                    percent_interval(tuple(reached["precision_interval"]))
                    if reached["precision_interval"]
                    else DASH,
                    percent(reached["coverage"]) if promised else DASH,
                )
            )
    return Table(
        "Abstaining: the confidence from which a precision is promised, found on validation, and what it "
        "does here",
        (
            "model",
            "wanted precision",
            "answer from confidence",
            "precision here",
            "95 % interval",
            "share of images answered",
        ),
        tuple(rows),
        notes=(
            "A threshold is promised where the lower bound of its precision on validation, over all "
            "thresholds that were tried, is at least the wanted one. mien export --precision writes one into "
            "the card.",
        ),
        words=frozenset({2}),
    )


def _drawings(measured: Sequence[tuple[Column, list[RunConfidence]]]) -> tuple[Drawing, ...]:
    drawings = [
        reliability_drawing(column.name, runs[0].before, runs[0].after, key=f"reliability-{i}")
        for i, (column, runs) in enumerate(measured)
    ]
    curves = {column.name: runs[0].curve for column, runs in measured}
    return (*drawings, risk_coverage_drawing(curves))
