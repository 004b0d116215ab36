"""The metrics beside Table 2's, their intervals, and what becomes of evaluations that lack them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mien.evaluate.further_metrics import further_metrics
from mien.report.document import Table
from mien.report.metric_sections import further_section
from mien.report.runs import read_runs
from mien.report.sections import document_of
from mien.report.tables import columns_of

from .conftest import MakeRun, run_config

CORRECT = [True, False, True] * 24


def _table(folder: Path) -> tuple[Table, dict[str, dict[str, float | None]]]:
    section = further_section(columns_of(read_runs([folder])))
    table = section.blocks[0]
    assert isinstance(table, Table)
    assert section.values is not None
    return table, section.values["Swin"]


def test_every_further_metric_has_a_column_with_its_interval(make_run: MakeRun) -> None:
    table, values = _table(make_run("a", run_config(), CORRECT))
    assert table.columns == ("model", *(name.replace("_", " ") for name in further_metrics()))
    balanced = values["balanced_accuracy"]
    assert balanced["value"] == pytest.approx(2 / 3)
    assert 0.5 < balanced["low"] < 2 / 3 < balanced["high"] < 0.8  # type: ignore[operator]
    cell = table.rows[0][table.columns.index("balanced accuracy")]
    assert cell == f"0.6667 ({balanced['low']:.4f} to {balanced['high']:.4f})"


def test_an_evaluation_older_than_a_metric_takes_it_from_the_logits(make_run: MakeRun) -> None:
    folder = make_run("a", run_config(), CORRECT)
    path = folder / "evaluation" / "test.json"
    entries = json.loads(path.read_text())
    for entry in entries:
        del entry["cohen_kappa"]
    path.write_text(json.dumps(entries))
    assert _table(folder)[1]["cohen_kappa"]["value"] == pytest.approx((2 / 3 - 1 / 8) / (7 / 8))


def test_without_logits_there_is_no_interval(make_run: MakeRun) -> None:
    folder = make_run("a", run_config(), CORRECT)
    (folder / "evaluation" / "test.safetensors").unlink()
    table, values = _table(folder)
    assert values["balanced_accuracy"] == {"value": pytest.approx(2 / 3), "low": None, "high": None}
    assert table.rows[0][1] == "0.6667"


def test_the_report_has_them(make_run: MakeRun) -> None:
    document = document_of(read_runs([make_run("a", run_config(), CORRECT)]))[0]
    assert "Further metrics" in [section.heading for section in document.sections]
