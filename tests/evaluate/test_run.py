"""Models of every kind on a prepared folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from mien.cli import run
from mien.errors import InputError
from mien.evaluate.run import evaluate_model, evaluate_run
from mien.export.run import export_run

CONSTANT = """
import numpy as np

LABELS = ("happy", "sad")

def always_happy(faces):
    return np.tile([0.9, 0.1], (len(faces), 1))
"""


def test_a_run_and_its_exported_file_have_the_same_figures(
    trained: Path, drawn_folder: Path, tmp_path: Path
) -> None:
    file = tmp_path / "model.onnx"
    export_run(trained, file)
    (kept,) = evaluate_run(trained, split="test", views=["all"])
    for spec in (str(trained), str(file)):
        (figures,), sentences = evaluate_model(spec, drawn_folder)
        assert sentences == ()
        assert figures.keys() == kept.keys()
        for name, value in kept.items():
            assert figures[name] == (pytest.approx(value, abs=1e-5) if isinstance(value, float) else value)


def test_a_function_with_fewer_classes_is_scored_on_those(
    drawn_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "constant.py"
    file.write_text(CONSTANT)
    (figures,), sentences = evaluate_model(f"{file}:always_happy", drawn_folder, split="train")
    assert figures["labels"] == ["happiness", "sadness"]
    happy = figures["per_class"]["happiness"]["count"]
    assert figures["accuracy"] == happy / figures["count"]
    assert sentences[0].startswith("constant:always_happy does not know")
    command = [
        "evaluate",
        f"{file}:always_happy",
        "--data",
        str(drawn_folder),
        "--labels",
        "happiness,sadness",
    ]
    assert run(command) == 0
    assert "labels happiness,sadness (2 classes)" in capsys.readouterr().out


def test_what_cannot_be_evaluated_is_refused_in_a_sentence(
    drawn_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["evaluate", "bundled"]) == 2
    assert "give --data" in capsys.readouterr().err
    with pytest.raises(InputError, match="no such model"):
        evaluate_model(str(tmp_path / "nowhere"), drawn_folder)
    file = tmp_path / "constant.py"
    file.write_text(CONSTANT)
    with pytest.raises(InputError, match="does not know"):
        evaluate_model(f"{file}:always_happy", drawn_folder, views=["7"])
