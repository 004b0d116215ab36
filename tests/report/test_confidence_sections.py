"""What the report says of confidence: of models whose right confidence is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from scipy.special import softmax
from sklearn.metrics import log_loss

from mien.evaluate.metrics import score
from mien.evaluate.split import SplitPredictions, write_evaluation
from mien.labels import EMOTIONS
from mien.report.confidence_sections import confidence_section, run_confidence
from mien.report.document import Gallery, Section, Table, Text
from mien.report.runs import read_runs
from mien.report.tables import columns_of

from .conftest import MakeRun, run_config

CLASSES = len(EMOTIONS)
RIGHT = [True] * 8


def drawn(
    seed: int, count: int, *, sharpened: float
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Labels drawn from softmax(logits), and the logits times a factor: 1 is calibrated, more too sure."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, size=(count, CLASSES)).astype(np.float32)
    chosen = rng.random(count)[:, None]
    labels = (softmax(logits, axis=1).cumsum(1) < chosen).sum(1).clip(max=CLASSES - 1).astype(np.int64)
    return labels, logits * np.float32(sharpened)


@pytest.fixture
def make_confident(make_run: MakeRun) -> MakeRun:
    """Writes a run whose logits are `sharpened` times too large, on test and, if told, on validation."""

    def make(name: str, *, sharpened: float, validation: bool = True, seed: int = 0) -> Path:
        folder = make_run(name, run_config(seed=seed), RIGHT)
        for split, count in {"test": 6000, **({"validation": 5000} if validation else {})}.items():
            labels, logits = drawn(len(split), count, sharpened=sharpened)
            votes = np.eye(CLASSES, dtype=np.float32)[labels]
            rows = np.arange(count, dtype=np.int64)
            scored = {"split": split, "rule": "label", **score(logits, labels, EMOTIONS)}
            write_evaluation(folder, SplitPredictions(split, labels, votes, logits, rows), [scored])
        return folder

    return make


def section_of(*folders: Path) -> Section:
    section = confidence_section(columns_of(read_runs(folders)))
    assert section is not None
    return section


def tables_of(section: Section) -> list[Table]:
    return [block for block in section.blocks if isinstance(block, Table)]


def test_an_over_confident_model_comes_out_calibrated(make_confident: MakeRun) -> None:
    (run,) = read_runs([make_confident("sure", sharpened=3.0)])
    found = run_confidence(run)
    assert found is not None
    assert found.after is not None
    assert found.temperature == pytest.approx(3.0, rel=0.1)
    assert found.before["equal_mass"]["ece"] > 0.1
    assert found.after["equal_mass"]["ece"] < 0.03
    labels, logits = drawn(len("test"), 6000, sharpened=3.0)
    probabilities = softmax(logits.astype(np.float16).astype(np.float64) / found.temperature, axis=1)
    assert found.after["nll"] == pytest.approx(
        log_loss(labels, probabilities, labels=range(CLASSES)), abs=1e-5
    )
    section = section_of(run.folder)
    assert isinstance(section.blocks[0], Text)
    assert "Swin, at temperature 2.9" in section.blocks[0].text or "temperature 3.0" in section.blocks[0].text
    assert section.values is not None
    assert section.values["sure"]["temperature"] == found.temperature


def test_a_promised_precision_is_kept(make_confident: MakeRun) -> None:
    section = section_of(make_confident("sure", sharpened=2.0))
    thresholds = tables_of(section)[1]
    labels, logits = drawn(len("test"), 6000, sharpened=2.0)
    right = logits.argmax(1) == labels
    assert [row[1] for row in thresholds.rows] == ["80 %", "90 %", "95 %"]
    assert thresholds.rows[2][2] == "cannot be promised"
    for row in thresholds.rows[:2]:
        wanted, value, precision, coverage = (float(row[i].removesuffix(" %")) for i in (1, 2, 3, 5))
        assert precision >= wanted
        confidence = softmax(logits / 2.0, axis=1).max(1)
        answered = confidence >= value / 100
        assert coverage == pytest.approx(100 * answered.mean(), abs=2)
        assert precision == pytest.approx(100 * right[answered].mean(), abs=1)


def test_a_precision_out_of_reach_is_not_promised(make_run: MakeRun) -> None:
    folder = make_run(
        "even", run_config(), [i % 2 == 0 for i in range(400)], splits=("test", "validation"), views=("all",)
    )
    for row in tables_of(section_of(folder))[1].rows:
        assert row[2:] == ("cannot be promised", "–", "–", "–")


def test_without_validation_confidence_stays_as_it_came(make_confident: MakeRun) -> None:
    section = section_of(make_confident("bare", sharpened=1.0, validation=False))
    assert isinstance(section.blocks[0], Text)
    assert section.blocks[0].text.startswith("Swin, as it came: confidence and accuracy differ by")
    assert "no more than chance would give" in section.blocks[0].text
    (table,) = tables_of(section)
    assert table.rows[0][1] == "–"
    assert table.rows[0][3] == "–"
    assert any("kept no validation logits" in note for note in table.notes)


def test_figures_are_means_over_seeds(make_confident: MakeRun) -> None:
    folders = [make_confident(f"s{seed}", sharpened=1.0 + seed, seed=seed) for seed in (0, 1)]
    table = tables_of(section_of(*folders))[0]
    runs = [run_confidence(run) for run in read_runs(folders)]
    temperatures = [run.temperature for run in runs if run is not None and run.temperature is not None]
    assert table.rows[0][1] == f"{np.mean(temperatures):.3f}"
    nll = [run.before["nll"] for run in runs if run is not None]
    assert table.rows[0][6] == f"{np.mean(nll):.4f}"


def test_drawings_have_their_numbers(make_confident: MakeRun) -> None:
    section = section_of(make_confident("sure", sharpened=2.0))
    gallery = section.blocks[-1]
    assert isinstance(gallery, Gallery)
    reliability, risk = gallery.drawings
    for drawing in (reliability, risk):
        assert getattr(drawing, "data", None) is not None
    counted = [int(row[1].replace(",", "")) for row in reliability.data.rows]  # type: ignore[union-attr]
    assert sum(counted) == 2 * 6000


def test_without_logits_there_is_no_section(make_run: MakeRun) -> None:
    folder = make_run("old", run_config(), RIGHT)
    (folder / "evaluation" / "test.safetensors").unlink()
    assert confidence_section(columns_of(read_runs([folder]))) is None
