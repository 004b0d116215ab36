"""Models that are no runs of mien's stand beside runs: read, compared, shown."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from mien.errors import InputError
from mien.evaluate.evaluated_model import EvaluatedFolder
from mien.evaluate.metrics import score
from mien.evaluate.split import SplitPredictions, write_evaluation
from mien.labels import EMOTIONS, SEVEN
from mien.report.comparisons import gains_of
from mien.report.html import write_report
from mien.report.runs import read_runs
from mien.report.tables import columns_of

from .conftest import MakeRun, answers, run_config

MOST = [i % 10 < 7 for i in range(400)]
MORE = [i % 10 < 9 for i in range(400)]


def make_model(
    folder: Path, correct: Sequence[bool], *, labels: tuple[str, ...] = EMOTIONS, first_row: int = 100
) -> Path:
    """What `mien evaluate theirs:predict --out` writes; a model of fewer classes saw only their images."""
    truth, logits = answers(correct, len(EMOTIONS))
    columns = [EMOTIONS.index(name) for name in labels]
    kept = np.isin(truth, columns)
    truth, logits = np.searchsorted(columns, truth[kept]), logits[kept][:, columns]
    rows = np.arange(first_row, first_row + len(kept), dtype=np.int64)[kept]
    views = ["all", "7"]
    scored = [
        {"split": "test", "rule": "label", **score(logits, truth, labels, view=view), "view": view}
        for view in views
    ]
    votes = np.eye(len(labels), dtype=np.float32)[truth]
    write_evaluation(folder, SplitPredictions("test", truth, votes, logits, rows), scored)
    EvaluatedFolder(
        folder=folder,
        name="theirs.api:predict",
        kind="function",
        spec="theirs.api:predict",
        labels=labels,
        views={"7": SEVEN},
        target="drawn",
        rule="label",
        sets=("drawn",),
        data="../gone",
        manifest_hash="ab" * 32,
        weights_sha256="",
        parameters=None,
        card=None,
    ).write()
    return folder


def test_a_model_that_is_no_run_stands_last(make_run: MakeRun, tmp_path: Path) -> None:
    theirs = make_model(tmp_path / "theirs", MORE)
    run = make_run("ours", run_config(), MOST)
    page = write_report([theirs, run], tmp_path / "report.html")
    values = json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))
    ours, other = values["columns"]
    assert (ours["name"], other["name"]) == ("Swin", "theirs")
    assert other["figures"]["all"]["accuracy"] == pytest.approx(0.9)
    assert (other["parameters"], other["epochs"], other["published"]) == (None, None, None)
    (gain,) = values["gains"]
    assert (gain["from"], gain["to"], gain["question"]) == ("Swin", "theirs", "another model")
    assert [view["verdict"] for view in gain["views"]] == ["gain", "gain"]
    assert gain["views"][0]["difference"] == pytest.approx(0.2)
    markdown = page.with_suffix(".md").read_text(encoding="utf-8")
    assert "Models that are no runs of mien's" in markdown
    assert "theirs.api:predict" in markdown


def test_models_alone_make_a_report(tmp_path: Path) -> None:
    folders = [make_model(tmp_path / name, correct) for name, correct in (("one", MOST), ("two", MORE))]
    page = write_report(folders, tmp_path / "report.html")
    markdown = page.with_suffix(".md").read_text(encoding="utf-8")
    assert "Gain: one to two (+20.00 points)." in markdown
    assert "Training curves" not in markdown
    assert "All shared settings" not in markdown


def test_a_model_of_seven_classes_is_compared_on_seven(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run("ours", run_config(), MOST)
    theirs = make_model(tmp_path / "theirs", MORE, labels=SEVEN)
    (step,) = gains_of(columns_of(read_runs([run, theirs])))
    all_classes, seven = step.gains
    assert (all_classes.verdict, all_classes.reason) == ("not paired", "their classes differ")
    assert (seven.view, seven.verdict, seven.count) == ("7", "gain", 350)


def test_a_model_against_itself_is_no_difference(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run("ours", run_config(), MOST)
    copy = shutil.copytree(run, tmp_path / "copy")
    theirs = make_model(tmp_path / "theirs", MOST)
    page = write_report([run, copy, theirs], tmp_path / "report.html")
    values = json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))
    verdicts = [view["verdict"] for gain in values["gains"] for view in gain["views"]]
    assert verdicts == ["no difference"] * 4
    assert "no difference; both are right on the same of 400 images" in page.with_suffix(".md").read_text(
        encoding="utf-8"
    )


def test_a_damaged_model_is_refused_in_one_sentence(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "theirs", MOST)
    (folder / "model.json").write_text('{"format": 0}', encoding="utf-8")
    with pytest.raises(InputError, match=r"model\.json: not in the format of this mien"):
        read_runs([folder])
