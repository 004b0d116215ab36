"""`mien export`: the file carries temperature, figures and a promised precision."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy.special import softmax

from mien.cli import run
from mien.errors import InputError
from mien.evaluate.metrics import score
from mien.evaluate.split import SplitPredictions, read_evaluation, read_logits, write_evaluation
from mien.export.run import export_run
from mien.models.saved import read_run
from mien.runtime.classifier import Classifier


@pytest.fixture
def sure(trained: Path, tmp_path: Path) -> Path:
    """A run whose kept validation logits are right in nine of ten, and surer where they are."""
    folder = shutil.copytree(trained, tmp_path / "sure")
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 8, size=4000)
    right = rng.random(4000) < 0.9
    logits = np.zeros((4000, 8), dtype=np.float32)
    logits[np.arange(4000), np.where(right, labels, (labels + 1) % 8)] = np.where(right, 6, 3)
    logits += rng.normal(0, 0.5, size=logits.shape)
    votes = np.eye(8, dtype=np.float32)[labels]
    figures = read_evaluation(folder, "validation")
    assert figures is not None
    names = read_run(folder).labels
    figures = [
        {**entry, **score(logits, labels, names, view=entry["view"], votes=votes)} for entry in figures
    ]
    rows = np.arange(4000, dtype=np.int64)
    write_evaluation(folder, SplitPredictions("validation", labels, votes, logits, rows), figures)
    return folder


def test_the_file_has_the_temperature_and_figures_of_the_run(trained: Path, tmp_path: Path) -> None:
    card = export_run(trained, tmp_path / "model.onnx")
    of_run = read_run(trained).card
    assert of_run is not None
    assert card.temperature == of_run.temperature != 1
    assert card.abstain_threshold is None
    kept = Classifier(tmp_path / "model.onnx").card
    assert kept.temperature == card.temperature
    validation = read_evaluation(trained, "validation")
    assert validation is not None
    assert kept.metrics[0]["values"]["accuracy"] == pytest.approx(validation[0]["accuracy"])


def test_a_promised_precision_becomes_the_threshold(
    sure: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "model.onnx"
    assert run(["export", str(sure), "--out", str(path), "--precision", "0.95"]) == 0
    assert "abstains below" in capsys.readouterr().out
    card = Classifier(path).card
    assert card.abstain_threshold is not None
    kept = read_logits(sure, "validation")
    shares = softmax(kept["logits"].astype(np.float64) / card.temperature, axis=1)
    answered = shares.max(1) >= card.abstain_threshold
    right = shares.argmax(1) == kept["labels"]
    assert right.mean() < 0.95 <= right[answered].mean()
    assert 0.5 < answered.mean() < 1


@pytest.mark.parametrize("precision", [0.0, 1.0, float("nan")])
def test_a_precision_that_is_no_share_is_refused(sure: Path, tmp_path: Path, precision: float) -> None:
    with pytest.raises(InputError, match="precision"):
        export_run(sure, tmp_path / "model.onnx", precision=precision)
    assert not (tmp_path / "model.onnx").exists()


def test_a_precision_out_of_reach_is_refused(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"no abstain threshold promises a precision of 0\.99 .* ask for less"
    ):
        export_run(trained, tmp_path / "model.onnx", precision=0.99)
    assert not (tmp_path / "model.onnx").exists()
