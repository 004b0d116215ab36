"""MODEL_CARD.md holds what was measured, warns, and shows code that runs."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from mien.card import USE_WARNING
from mien.cli import run
from mien.evaluate.models import open_model
from mien.evaluate.prior import with_prior
from mien.evaluate.run import evaluate_model
from mien.evaluate.split import read_evaluation


@pytest.fixture(scope="module")
def exported(trained: Path, drawn_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an exported run."""
    folder = tmp_path_factory.mktemp("exported")
    copy = shutil.copytree(trained, folder / "run")
    assert run(["evaluate", str(copy), "--data", str(drawn_folder)]) == 0
    assert run(["export", str(copy), "--out", str(folder / "model.onnx")]) == 0
    return folder


@pytest.fixture(scope="module")
def card(exported: Path) -> str:
    return (exported / "MODEL_CARD.md").read_text(encoding="utf-8")


def test_the_front_matter_is_yaml_with_the_figures(card: str, exported: Path) -> None:
    _, front, _ = card.split("---\n", 2)
    values = {key: json.loads(value) for key, value in (line.split(": ", 1) for line in front.splitlines())}
    assert values["library_name"] == "mien"
    entries = read_evaluation(exported / "run", "test")
    assert entries is not None
    (result,) = values["model-index"][0]["results"]
    assert result["dataset"]["split"] == "test"
    measured = {metric.get("name", metric["type"]): metric["value"] for metric in result["metrics"]}
    assert measured["accuracy"] == round(entries[0]["accuracy"], 4)
    assert measured["macro recall"] == round(entries[0]["macro_recall"], 4)


def test_it_has_every_section_and_warns(card: str) -> None:
    headings = re.findall(r"^## (.+)$", card, flags=re.MULTILINE)
    assert headings == [
        "Model details",
        "Intended use",
        "Out of scope",
        "How to use",
        "Training data",
        "Evaluation",
        "Limitations",
        "How it was made",
        "Citation",
    ]
    assert USE_WARNING in card
    assert "Less than half is found of" in card
    assert "### Confidence" in card


def test_it_has_the_figures_of_the_file_itself(card: str, exported: Path) -> None:
    entries = read_evaluation(exported / "run", "test")
    assert entries is not None
    table = card.split("### This file")[1].split("###")[0]
    (row,) = re.findall(r"^\| test \| all \| (.+) \|$", table, flags=re.MULTILINE)
    assert row.split(" | ") == [
        f"{entries[0]['count']:,}",
        *(f"{100 * entries[0][name]:.2f} %" for name in ("accuracy", "macro_recall")),
    ]


def test_each_prior_is_scored_as_the_runtime_answers_under_it(
    card: str, exported: Path, drawn_folder: Path
) -> None:
    table = card.split("### The prior at use")[1].split("###")[0]
    rows = dict(re.findall(r"^\| (training|moderate|uniform) \| (.+) \|$", table, flags=re.MULTILINE))
    for prior, row in rows.items():
        model = with_prior(open_model(exported / "model.onnx"), prior)  # type: ignore[arg-type]
        (figures, *_), _ = evaluate_model(model, drawn_folder)
        accuracy, _, recall, _ = row.split(" | ")
        assert accuracy == f"{100 * figures['accuracy']:.1f} %"
        assert recall == f"{100 * figures['macro_recall']:.1f} %"
    assert list(rows) == ["training", "moderate", "uniform"]


def test_it_holds_no_path_of_the_machine(card: str, trained: Path, exported: Path) -> None:
    for path in (trained.parent, exported, Path.home()):
        assert str(path) not in card


def test_the_example_runs(card: str, exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = re.search(r"```python\n(.+?)```", card, flags=re.DOTALL)
    assert found is not None
    from PIL import Image

    Image.new("RGB", (64, 64), "grey").save(exported / "photo.jpg")
    monkeypatch.chdir(exported)
    exec(compile(found[1], "MODEL_CARD.md", "exec"), {})
