"""What results/ and the lab log say is what the kept logits give."""

import json
from pathlib import Path

import numpy as np
import pytest

from mien.evaluate.metrics import score
from mien.evaluate.split import read_evaluation, read_logits
from mien.models.saved import read_run

ROOT = Path(__file__).parents[1]
RUNS = sorted(path.parent for path in (ROOT / "results").rglob("run.json"))


@pytest.mark.parametrize("run", RUNS, ids=lambda run: f"{run.parent.name}/{run.name}")
@pytest.mark.parametrize("split", ["validation", "test"])
def test_kept_logits_give_the_kept_figures(run: Path, split: str) -> None:
    figures = read_evaluation(run, split)
    assert figures is not None
    kept = read_logits(run, split)
    for entry in figures:
        again = score(
            kept["logits"].astype(np.float32),
            kept["labels"].astype(np.int64),
            read_run(run).labels,
            view=entry["view"],
        )
        # Half precision may turn a tie of the two largest logits round.
        assert abs(again["accuracy"] - entry["accuracy"]) <= 2 / entry["count"]
        assert again["count"] == entry["count"]


@pytest.mark.parametrize("run", RUNS, ids=lambda run: f"{run.parent.name}/{run.name}")
def test_the_docs_hold_the_measured_accuracy(run: Path) -> None:
    figures = read_evaluation(run, "test")
    assert figures is not None
    # The study's page is made from its results; all else is told in the lab log.
    page = "study.md" if run.parent.name == "study" else "lab-log.md"
    log = (ROOT / "docs" / page).read_text(encoding="utf-8")
    assert f"{100 * figures[0]['accuracy']:.2f}" in log


@pytest.mark.parametrize("run", RUNS, ids=lambda run: f"{run.parent.name}/{run.name}")
def test_no_machine_path_is_kept(run: Path) -> None:
    for name in ("run.json", "config.json", "card.json"):
        text = (run / name).read_text(encoding="utf-8")
        assert '"/' not in text
        json.loads(text)
