"""`mien export --int8`: accepted by validation accuracy, with figures of its own."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

import mien
from mien.cli import run
from mien.config import DrawnConfig, PrepareConfig
from mien.data.prepare import prepare
from mien.data.prepared import load_prepared
from mien.errors import InputError, MienError
from mien.evaluate.calibration import fit_temperature
from mien.evaluate.predict import predict_logits
from mien.evaluate.run import evaluate_run
from mien.evaluate.split import split_targets
from mien.export import comparison, int8
from mien.export.comparison import comparison_table
from mien.export.int8 import LARGEST_LOSS, Int8Export, export_int8
from mien.export.quantise import METHODS
from mien.export.run import export_run
from mien.models.saved import read_run


def faces_and_labels(data: Path, split: str) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    prepared = load_prepared(data)
    targets = split_targets(prepared, None, split, ())
    faces = np.asarray(prepared.pack)[targets.pack_rows].transpose(0, 2, 3, 1)
    return np.ascontiguousarray(faces), targets.labels


@pytest.fixture(scope="module")
def evaluated(trained: Path, drawn_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose test images were scored, with its fp32 file."""
    folder = shutil.copytree(trained, tmp_path_factory.mktemp("int8") / "run")
    evaluate_run(folder, drawn_folder)
    export_run(folder, folder / "model.onnx")
    return folder


@pytest.fixture(scope="module")
def exported(evaluated: Path, drawn_folder: Path) -> Int8Export:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparison, "_ROUNDS", 2)
        # An image of the drawn validation split is more than the 0.5 points of real ones.
        patch.setattr(int8, "LARGEST_LOSS", 0.2)
        return export_int8(evaluated, evaluated / "model.onnx", evaluated / "small.onnx", data=drawn_folder)


def test_the_fp32_file_answers_as_evaluate_does_to_the_last_image(
    evaluated: Path, drawn_folder: Path
) -> None:
    faces, labels = faces_and_labels(drawn_folder, "test")
    answers = mien.load(evaluated / "model.onnx", detector=None).classify(faces).argmax(1)
    (figures, *_) = evaluate_run(evaluated, drawn_folder)
    assert (answers == labels).sum() == round(figures["accuracy"] * figures["count"])
    assert len(labels) == figures["count"]
    saved = read_run(evaluated)
    rows = np.arange(len(faces))
    expected = predict_logits(saved.model(), faces.transpose(0, 3, 1, 2), rows, saved.config.model)
    np.testing.assert_array_equal(answers, expected.argmax(1))


def test_the_int8_files_figures_are_its_own(
    evaluated: Path, exported: Int8Export, drawn_folder: Path
) -> None:
    model = mien.load(evaluated / "small.onnx", detector=None)
    assert model.card.to_json() == exported.card.to_json()
    for split in ("validation", "test"):
        faces, labels = faces_and_labels(drawn_folder, split)
        measured = (model.classify(faces).argmax(1) == labels).mean()
        entry = next(e for e in model.card.metrics if e["split"] == split and e["labels"] == "all")
        assert entry["values"]["accuracy"] == pytest.approx(measured)
    logits = model.logits(faces_and_labels(drawn_folder, "validation")[0])
    labels = faces_and_labels(drawn_folder, "validation")[1]
    assert model.card.temperature == pytest.approx(fit_temperature(logits, labels).value)
    assert model.card.labels == read_run(evaluated).labels
    assert model.card.template is not None
    assert exported.method in model.card.notes


def test_the_loss_is_stated(evaluated: Path, exported: Int8Export, drawn_folder: Path) -> None:
    faces, labels = faces_and_labels(drawn_folder, "validation")
    right = [
        (mien.load(evaluated / name, detector=None).classify(faces).argmax(1) == labels).mean()
        for name in ("model.onnx", "small.onnx")
    ]
    assert exported.loss == pytest.approx(right[0] - right[1])
    compared = exported.card.metrics[-1]["values"]
    assert compared["accuracy_lost"] == pytest.approx(exported.loss)
    assert compared["accuracy_of_fp32"] == pytest.approx(right[0])


def test_every_method_is_in_the_table(exported: Int8Export, evaluated: Path) -> None:
    lines = comparison_table(exported.files).splitlines()
    assert [line.split("  ")[0] for line in lines] == ["file", "fp32", *(f"int8 {m}" for m in METHODS)]
    assert f"{(evaluated / 'model.onnx').stat().st_size / 1e6:.2f}" in lines[1]
    assert lines[1].count("(1.00x)") == 2
    assert exported.files[0].speed == (1.0, 1.0)


def test_what_loses_too_much_is_refused_and_nothing_is_written(
    evaluated: Path, drawn_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparison, "_ROUNDS", 1)
    monkeypatch.setattr(int8, "LARGEST_LOSS", -1.0)
    with pytest.raises(MienError, match=r"int8 dynamic.*int8 static.*use the fp32 file"):
        export_int8(evaluated, evaluated / "model.onnx", tmp_path / "small.onnx", data=drawn_folder)
    assert list(tmp_path.iterdir()) == []


def test_the_allowed_loss_is_half_a_point() -> None:
    assert LARGEST_LOSS == 0.005


def test_other_data_is_refused(evaluated: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    prepare("drawn", other, PrepareConfig(drawn=DrawnConfig(80), jobs=1))
    with pytest.raises(InputError, match=r"not the data that .* was trained on"):
        export_int8(evaluated, evaluated / "model.onnx", tmp_path / "small.onnx", data=other)
    with pytest.raises(InputError, match=r"must end in \.onnx"):
        export_int8(evaluated, evaluated / "model.onnx", tmp_path / "small")


def test_a_promised_precision_is_of_its_own_answers(
    evaluated: Path, drawn_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparison, "_ROUNDS", 1)
    monkeypatch.setattr(int8, "LARGEST_LOSS", 0.2)
    with pytest.raises(InputError, match=r"promises a precision of 0\.999"):
        export_int8(
            evaluated,
            evaluated / "model.onnx",
            tmp_path / "small.onnx",
            data=drawn_folder,
            precision=0.999,
        )
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_answers_alike_in_every_batch_is_preferred(
    evaluated: Path, exported: Int8Export, drawn_folder: Path
) -> None:
    assert exported.method == "static"
    model = mien.load(evaluated / "small.onnx", detector=None)
    faces, _ = faces_and_labels(drawn_folder, "test")
    together = model.logits(faces, batch=len(faces))
    alone = np.concatenate([model.logits(face[None]) for face in faces])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_the_command_line_writes_it_beside_the_other(
    evaluated: Path, drawn_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparison, "_ROUNDS", 1)
        patch.setattr(int8, "LARGEST_LOSS", 0.2)
        command = ["export", str(evaluated), "--out", str(tmp_path / "a.onnx"), "--int8"]
        assert run([*command, "--data", str(drawn_folder)]) == 0
    printed = capsys.readouterr().out
    assert "int8 static" in printed
    assert "points of the validation accuracy lost" in printed
    small, whole = (tmp_path / name for name in ("a.int8.onnx", "a.onnx"))
    assert small.stat().st_size < whole.stat().st_size
    assert mien.load(small, detector=None).card.notes.startswith("In 8 bits")
