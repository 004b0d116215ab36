"""Models of every kind on a prepared folder, printed and kept for a report."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax
from torch import nn

from mien.card import ModelCard
from mien.cli import run
from mien.config import ModelConfig
from mien.errors import InputError
from mien.evaluate.calibration import calibration_figures, fit_temperature
from mien.evaluate.evaluated_model import read_evaluated
from mien.evaluate.models import open_model
from mien.evaluate.predict import predict_logits
from mien.evaluate.run import evaluate_model, evaluate_run
from mien.evaluate.split import read_evaluation, read_logits
from mien.export.onnx import export_model
from mien.export.run import export_run
from mien.labels import EMOTIONS
from mien.models.saved import read_run

CONSTANT = """
import numpy as np

LABELS = ("happy", "sad")

def always_happy(faces):
    return np.tile([0.9, 0.1], (len(faces), 1))
"""

HEIGHTS = """
import numpy as np

LABELS = ("anger", "contempt", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")

def by_light(faces):
    light = faces.mean((1, 2, 3)) / 255
    scores = np.exp(30 * np.cos(np.arange(8)[None] + 40 * light[:, None]))
    return scores / scores.sum(1, keepdims=True)
"""


@pytest.fixture
def constant(tmp_path: Path) -> str:
    """A function that knows two classes and gives one of them."""
    file = tmp_path / "constant.py"
    file.write_text(CONSTANT)
    return f"{file}:always_happy"


def test_a_run_and_its_exported_file_have_the_same_figures(
    trained: Path, drawn_folder: Path, tmp_path: Path
) -> None:
    file = tmp_path / "model.onnx"
    export_run(trained, file)
    from_run, sentences = evaluate_model(open_model(trained), drawn_folder, views=["all"])
    from_file, _ = evaluate_model(open_model(file), drawn_folder, views=["all"])
    assert sentences == ()
    for name, value in from_run[0].items():
        known = from_file[0][name]
        assert known == (pytest.approx(value, abs=1e-5) if isinstance(value, float) else value)
    # evaluate_run scores the logits as they are; the temperature changes confidence and no answer.
    (kept,) = evaluate_run(trained, split="test", views=["all"])
    assert kept["confusion"] == from_run[0]["confusion"]
    assert kept["nll"] != from_run[0]["nll"]


def test_the_temperature_of_the_card_is_that_of_validation(trained: Path) -> None:
    card = read_run(trained).card
    assert card is not None
    kept = read_logits(trained, "validation")
    labels = kept["labels"].astype(np.int64)

    def loss(temperature: float) -> float:
        scaled = log_softmax(kept["logits"].astype(np.float64) / temperature, axis=1)
        # The prior of one image (see fit_temperature), which so few images feel.
        return float(
            -scaled[np.arange(len(labels)), labels].sum() + 1 / temperature - 1 + np.log(temperature)
        )

    assert card.temperature != 1
    assert loss(card.temperature) <= min(loss(card.temperature * factor) for factor in (0.99, 1.01))


def test_an_over_confident_model_comes_out_calibrated(tmp_path: Path) -> None:
    """Labels are drawn from a network's probabilities, and its logits then made 5 times too large: its
    exported file answers as sure as it may be."""
    rng = np.random.default_rng(1)
    config = ModelConfig(size=48, channels=1)
    faces = rng.integers(0, 256, size=(8000, 48, 48, 1), dtype=np.uint8)
    pack, rows = faces.transpose(0, 3, 1, 2), np.arange(8000)
    network = nn.Sequential(nn.Flatten(), nn.Linear(48 * 48, 8, bias=False)).eval()
    with torch.no_grad():
        network[1].weight.normal_(0, 0.05)
        truth = softmax(predict_logits(network, pack, rows, config).astype(np.float64), axis=1)
        network[1].weight.mul_(5)
    labels = (truth.cumsum(1) < rng.random(8000)[:, None]).sum(1).clip(max=7)
    fitted = fit_temperature(predict_logits(network, pack, rows[:4000], config), labels[:4000])
    assert fitted.value == pytest.approx(5, rel=0.1)
    ece = {}
    for temperature in (1.0, fitted.value):
        card = ModelCard("sure", EMOTIONS, size=48, channels=1, temperature=temperature)
        export_model(network, card, tmp_path / "sure.onnx")
        answers = open_model(tmp_path / "sure.onnx").log_probabilities(faces[4000:])
        figures = calibration_figures(answers, labels[4000:], EMOTIONS)
        ece[temperature] = max(figures["equal_mass"]["ece"], figures["equal_width"]["ece"])
    assert ece[1.0] > 0.3
    assert ece[fitted.value] < 0.03


def test_a_function_with_fewer_classes_is_scored_on_those(
    drawn_folder: Path, constant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (figures,), sentences = evaluate_model(open_model(constant), drawn_folder, split="train")
    assert figures["labels"] == ["happiness", "sadness"]
    happy = figures["per_class"]["happiness"]["count"]
    assert figures["accuracy"] == happy / figures["count"]
    assert sentences[0].startswith("constant:always_happy does not know")
    assert run(["evaluate", constant, "--data", str(drawn_folder), "--labels", "happiness,sadness"]) == 0
    assert "labels happiness,sadness (2 classes)" in capsys.readouterr().out


def test_what_is_evaluated_of_a_function_is_kept_and_reported(
    drawn_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out, page = tmp_path / "heights.py", tmp_path / "theirs", tmp_path / "theirs.html"
    file.write_text(HEIGHTS)
    command = ["evaluate", f"{file}:by_light", "--data", str(drawn_folder), "--out", str(out)]
    assert run([*command, "--also", "maps", "--report", str(page)]) == 0
    printed = capsys.readouterr().out
    assert f"report: {page}" in printed
    folder = read_evaluated(out)
    assert (folder.name, folder.kind, folder.spec) == ("heights:by_light", "function", "heights.py:by_light")
    assert folder.data_folder.resolve() == drawn_folder.resolve()
    assert str(tmp_path) not in (out / "model.json").read_text(encoding="utf-8")
    entries = read_evaluation(out, "test")
    assert entries is not None
    assert [entry["view"] for entry in entries] == ["all", "7"]
    assert f"{entries[0]['accuracy']:.6f}" in printed
    kept = read_logits(out, "test")
    assert (kept["logits"].argmax(1) == kept["labels"]).mean() == entries[0]["accuracy"]
    assert (out / "evaluation" / "test-maps.json").is_file()
    values = json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))
    assert values["columns"][0]["figures"]["all"]["accuracy"] == entries[0]["accuracy"]


def test_a_run_is_evaluated_and_reported_in_its_folder(
    trained: Path, drawn_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy, page = shutil.copytree(trained, tmp_path / "copy"), tmp_path / "run.html"
    command = ["evaluate", str(copy), "--data", str(drawn_folder), "--report", str(page)]
    assert run([*command, "--also", "features"]) == 0
    assert "features: done" in capsys.readouterr().err
    assert (copy / "evaluation" / "test-features.json").is_file()
    assert page.is_file()
    assert run([*command, "--also", "features"]) == 0
    assert "features: there already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["bundled"], "give --data"),
        (["{run}", "--data", "{data}", "--out", "{run}"], "is a run's folder; name another --out"),
        (["{constant}", "--data", "{data}", "--also", "maps"], "--also and --report need a folder"),
        (["{constant}", "--data", "{data}", "--out", "{out}", "--also", "features"], "only a run has"),
        (["{run}", "--data", "{data}", "--images", "9"], "--images is of robustness alone"),
        (["{constant}", "--data", "{data}", "--out", "{file}"], "is no folder; name another --out"),
        (["{constant}", "--data", "{data}", "--labels", "7"], "does not know"),
        (["{run}", "--data", "{data}", "--also", "robustness", "--images", "-1"], "0 (all) or more images"),
        (["{out}", "--data", "{data}"], "no run there"),
        (["{run}", "--data", "{other}", "--also", "maps"], "trained on other data"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_in_a_sentence(
    trained: Path,
    drawn_folder: Path,
    other_folder: Path,
    constant: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    said: str,
) -> None:
    places = {
        "run": shutil.copytree(trained, tmp_path / "run"),
        "data": drawn_folder,
        "other": other_folder,
        "constant": constant,
        "out": tmp_path / "out",
        "file": constant.rpartition(":")[0],
    }
    assert run(["evaluate", *(option.format(**places) for option in options)]) == 2
    printed, told = capsys.readouterr()
    assert said in told
    assert told.count("\n") == 1
    # Before any face was looked at.
    assert printed == ""
    assert not (tmp_path / "out").exists()


def test_another_model_does_not_overwrite_a_folder(drawn_folder: Path, constant: str, tmp_path: Path) -> None:
    file, out = tmp_path / "heights.py", tmp_path / "out"
    file.write_text(HEIGHTS)
    evaluate_model(open_model(constant), drawn_folder, out=out)
    kept = (out / "model.json").read_bytes()
    with pytest.raises(InputError, match=r"holds the evaluation of another model or data \(name differs\)"):
        evaluate_model(open_model(f"{file}:by_light"), drawn_folder, out=out)
    assert (out / "model.json").read_bytes() == kept


@pytest.fixture(scope="module")
def other_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared folder of other drawn faces."""
    from mien.config import DrawnConfig, PrepareConfig
    from mien.data.prepare import prepare

    out = tmp_path_factory.mktemp("other") / "drawn"
    prepare("drawn", out, PrepareConfig(drawn=DrawnConfig(80), jobs=1, seed=5))
    return out
