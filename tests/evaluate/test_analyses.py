"""`mien evaluate --also`: every analysis once on a tiny run, kept, and not done again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tests.conftest import quiet

from mien.data.prepared import load_prepared
from mien.errors import InputError
from mien.evaluate import analyses
from mien.evaluate.analyses import analyse
from mien.evaluate.analysis_files import ANALYSES, read_analyses
from mien.evaluate.models import EvaluatedModel, open_model
from mien.evaluate.subject import drawn, drawn_evenly
from mien.progress import Reporter


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return shutil.copytree(trained, tmp_path / "run")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Analyses of a few images, so that all of them end in seconds."""
    for name, value in {
        "LANDSCAPE_STEPS": 3,
        "LANDSCAPE_IMAGES": 20,
        "SHARPNESS_IMAGES": 24,
        "SHARPNESS_BATCH": 8,
        "RANDOM_DIRECTIONS": 2,
        "HESSIAN_IMAGES": 8,
        "HESSIAN_DRAWS": 2,
        "MAP_IMAGES": 8,
        "COMPARED_IMAGES": 36,
        "EMBEDDED_IMAGES": 30,
    }.items():
        monkeypatch.setattr(analyses, name, value)


def kept(folder: Path) -> Mapping[str, Mapping[str, Any]]:
    return read_analyses(folder)


@pytest.mark.usefixtures("small")
def test_every_analysis_is_kept_with_what_it_is_of(run: Path, drawn_folder: Path) -> None:
    model = open_model(run)
    analyse(model, drawn_folder, run, ANALYSES, images=16, reporter=quiet())
    found = kept(run)
    assert set(found) == {
        "test-features",
        "test-maps",
        "test-robustness",
        "train-sharpness",
        "train-landscape",
    }
    for entry in found.values():
        assert entry["manifest_hash"] == load_prepared(drawn_folder).manifest.hash()
        assert entry["weights_sha256"] == model.weights_sha256
        assert entry["seconds"] >= 0
        json.dumps(entry, allow_nan=False)
    features = found["test-features"]["values"]
    assert len(features["embedding"]["before"]) == len(features["embedding"]["labels"]) == 30
    assert features["comparison"] is not None
    assert features["count"] == sum(features["comparison"]["counts"].values()) == 36
    assert 0 <= features["probe"]["before"] <= 1
    assert found["test-robustness"]["values"]["count"] == 16
    assert found["train-sharpness"]["values"]["sam"]["m"] == 8
    assert np.shape(found["train-landscape"]["values"]["loss"]) == (3, 3)


@pytest.mark.usefixtures("small")
def test_a_probe_is_not_asked_what_it_was_fitted_on(run: Path, drawn_folder: Path) -> None:
    analyse(open_model(run), drawn_folder, run, ["features"], split="train", reporter=quiet())
    assert kept(run)["train-features"]["values"]["probe"] is None


@pytest.mark.usefixtures("small")
def test_what_is_there_is_not_done_again(
    run: Path, drawn_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def again(*names: Any, images: int = 16) -> str:
        analyse(open_model(run), drawn_folder, run, names, images=images, reporter=Reporter())
        return capsys.readouterr().err

    assert "robustness: done" in again("robustness")
    assert "robustness: there already" in again("robustness")
    assert "robustness: done" in again("robustness", images=8)
    # Other weights, another answer.
    best = run / "best.safetensors"
    weights = load_file(best)
    save_file({name: np.asarray(value * 1.01, dtype=value.dtype) for name, value in weights.items()}, best)
    assert "robustness: done" in again("robustness", images=8)


def test_an_analysis_that_does_not_fit_is_refused_before_any_is_done(
    run: Path, drawn_folder: Path, tmp_path: Path
) -> None:
    model = EvaluatedModel(
        "theirs",
        "function",
        "theirs",
        open_model(run).labels,
        lambda faces: np.full((len(faces), 8), np.log(1 / 8), dtype=np.float32),
    )
    with pytest.raises(InputError, match="landscape looks into the network, which only a run has"):
        analyse(model, drawn_folder, tmp_path / "out", ["maps", "landscape"], reporter=quiet())
    assert not (tmp_path / "out").exists()


def test_images_are_drawn_evenly_and_the_same_each_time() -> None:
    labels = np.array([0] * 900 + [1] * 90 + [2] * 10)
    chosen = drawn_evenly(labels, 60)
    np.testing.assert_array_equal(chosen, drawn_evenly(labels, 60))
    np.testing.assert_array_equal(np.bincount(labels[chosen]), [20, 20, 10])
    assert (np.diff(chosen) > 0).all()
    assert len(drawn(1000, 0)) == 1000
    some = drawn(1000, 200)
    assert len(set(some.tolist())) == 200
    assert 400 < some.mean() < 600
