"""A leaky split is called leaky, a clean one clean, and what a leak does to the accuracy is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from tests.planted import CLASSES, COUNTS, blot, prepared_of

from mien.data.prepared import Prepared
from mien.evaluate.metrics import score
from mien.evaluate.split import SplitPredictions, write_evaluation
from mien.report.document import Section, Table, Text
from mien.report.leak_sections import leak_section, leak_sentence
from mien.report.report_data import ReportData
from mien.report.runs import read_runs
from mien.report.tables import Column, columns_of

from .conftest import MakeRun, run_config

COPIES = {f"test-{i}": blot(i) for i in range(4)} | {"test-4": blot(COUNTS["train"])}
LEAKY = (
    "The test split is leaky: of its 16 images 25.0 % (4) have a twin in the training split and 6.2 % (1) "
    "have a twin in the validation split."
)


def data_of(prepared: Prepared, split: str = "test") -> ReportData:
    return ReportData(prepared, prepared.manifest.target().only(split), prepared.manifest.hash())


def column_of(make_run: MakeRun, data: ReportData, correct: npt.NDArray[np.bool_]) -> Column:
    """A run that answers right where told."""
    targets = data.targets
    run = make_run("run", run_config(), [True] * 4, classes=CLASSES, manifest_hash=data.manifest_hash)
    logits = np.zeros((len(targets), 2), dtype=np.float32)
    logits[np.arange(len(targets)), np.where(correct, targets.labels, 1 - targets.labels)] = 2.0
    scored = {"split": "test", "rule": "label", **score(logits, targets.labels, CLASSES)}
    write_evaluation(
        run, SplitPredictions("test", targets.labels, targets.soft, logits, targets.pack_rows), [scored]
    )
    return columns_of(read_runs([run]))[0]


def tables_of(section: Section) -> list[Table]:
    return [block for block in section.blocks if isinstance(block, Table)]


def words_of(section: Section) -> str:
    return " ".join(block.text for block in section.blocks if isinstance(block, Text))


@pytest.fixture(scope="module")
def leaky(tmp_path_factory: pytest.TempPathFactory) -> ReportData:
    return data_of(prepared_of(tmp_path_factory.mktemp("leaky") / "raw", copied=COPIES))


def test_a_leaky_split_is_called_leaky(make_run: MakeRun, leaky: ReportData) -> None:
    files = dict(
        zip(leaky.prepared.manifest.frame["id"], leaky.prepared.manifest.frame["source_file"], strict=True)
    )
    shared = np.array(
        [Path(files[name]).stem in COPIES and files[name] != "test-4.png" for name in leaky.targets.ids]
    )
    correct = shared.copy()
    correct[np.flatnonzero(~shared)[:3]] = True
    section = leak_section([column_of(make_run, leaky, correct)], leaky)
    assert section is not None
    assert leak_sentence(leaky) == LEAKY
    assert isinstance(section.blocks[0], Text)
    assert section.blocks[0].text == LEAKY
    counts, accuracies = tables_of(section)
    assert counts.rows == (
        ("exact twin (equal pixels)", "4 (25.0 %)", "1 (6.2 %)"),
        ("near twin, or twin of a twin", "0 (0.0 %)", "0 (0.0 %)"),
        ("any of these", "4 (25.0 %)", "1 (6.2 %)"),
    )
    trained = accuracies.rows[0]
    assert trained[:4] == ("Swin", "training", "100.00 %", "25.00 %")
    assert trained[5] == "+75.00"
    assert section.values is not None
    assert section.values["leaky"]
    assert section.values["accuracy"]["Swin"]["train"]["new"]["count"] == 12


def test_a_clean_split_is_called_clean(make_run: MakeRun, tmp_path: Path) -> None:
    data = data_of(prepared_of(tmp_path / "raw"))
    section = leak_section([column_of(make_run, data, np.ones(16, dtype=bool))], data)
    assert section is not None
    assert leak_sentence(data) == ""
    assert words_of(section).startswith("The test split is clean: none of its 16 images")
    assert tables_of(section) == []
    assert section.values is not None
    assert not section.values["leaky"]


def test_persons_in_two_splits_are_a_leak(make_run: MakeRun, tmp_path: Path) -> None:
    named = prepared_of(tmp_path / "raw", subjects={"train-0": "anna", "test-3": "anna", "test-4": "ben"})
    data = data_of(named)
    assert leak_sentence(data) == (
        "The test split is leaky: of its 16 images 6.2 % (1) show a person who is also in the training split."
    )
    section = leak_section([column_of(make_run, data, np.ones(16, dtype=bool))], data)
    assert section is not None
    assert tables_of(section)[0].rows[2] == ("same person", "1 (6.2 %)", "0 (0.0 %)")


def test_answers_on_other_data_are_not_judged(make_run: MakeRun, leaky: ReportData) -> None:
    other = make_run("other", run_config(), [True] * 16, classes=CLASSES, manifest_hash="cd" * 32)
    section = leak_section(columns_of(read_runs([other])), leaky)
    assert section is not None
    assert len(tables_of(section)) == 1


def test_without_the_data_nothing_is_said(make_run: MakeRun) -> None:
    columns = columns_of(read_runs([make_run("run", run_config(), [True] * 16)]))
    assert leak_section(columns, None) is None
    assert leak_sentence(None) == ""
