"""The time that is left of a study, from histories that are there."""

import json
from pathlib import Path

import pytest
from rich.console import Console

from mien.progress import Reporter
from mien.study.ablation import PlannedRun, plan_study
from mien.study.duration import StudyReporter, duration_text, seconds_left

RECIPE = "[optim.sam]\nrho = 0.05\n[train]\nepochs = 4\n"


@pytest.fixture
def plan(tmp_path: Path) -> tuple[PlannedRun, ...]:
    (tmp_path / "full.toml").write_text(RECIPE)
    return plan_study(tmp_path / "full.toml", "ablation", seeds=1)


def trained(out: Path, name: str, epochs: int, *, training: float, validation: float) -> None:
    entries = [
        {"seconds": training * epoch, "validation_seconds": validation, "last": epoch == 4}
        for epoch in range(1, epochs + 1)
    ]
    (out / name).mkdir(parents=True)
    text = "".join(json.dumps(entry) + "\n" for entry in entries)
    (out / name / "history.jsonl").write_text(text)


def test_nothing_is_known_before_an_epoch(tmp_path: Path, plan: tuple[PlannedRun, ...]) -> None:
    assert seconds_left(tmp_path, plan) is None


def test_what_is_left_counts_passes(tmp_path: Path, plan: tuple[PlannedRun, ...]) -> None:
    # Swin is done at 9 + 1 s an epoch; SAM has 1 of 4 epochs at 2 * 10 s.
    trained(tmp_path, "swin-seed0", 4, training=9, validation=1)
    trained(tmp_path, "swin_se_sam-seed0", 1, training=19, validation=1)
    # Left: Swin-SE 4 passes, SAM 2 * 3, the control 8, two places of SE 4 each.
    assert seconds_left(tmp_path, plan) == pytest.approx(10 * (4 + 6 + 8 + 4 + 4))


def test_a_run_that_its_budget_ended_lacks_nothing(tmp_path: Path, plan: tuple[PlannedRun, ...]) -> None:
    (swin,) = (run for run in plan if run.column == "swin")
    (tmp_path / swin.name).mkdir()
    entry = {"seconds": 30, "validation_seconds": 0, "last": True}
    (tmp_path / swin.name / "history.jsonl").write_text(json.dumps(entry) + "\n")
    assert seconds_left(tmp_path, [swin]) == 0


def test_it_is_told_once_after_the_first_epoch(tmp_path: Path, plan: tuple[PlannedRun, ...]) -> None:
    console = Console(record=True, width=200, quiet=False)
    reporter = StudyReporter(Reporter(console), tmp_path, plan)
    reporter.say("training")
    trained(tmp_path, "swin-seed0", 1, training=899, validation=1)
    reporter.say("epoch 1")
    reporter.say("epoch 2")
    lines = console.export_text().splitlines()
    # 3 passes of Swin, 4 of each Swin-SE, 8 of SAM and of the control, 15 minutes each.
    assert lines == [
        "training",
        "epoch 1",
        "what is left of the study takes about 7.8 hours at this speed.",
        "epoch 2",
    ]


def test_durations_in_words() -> None:
    assert duration_text(1) == "1 minute"
    assert duration_text(89 * 60) == "89 minutes"
    assert duration_text(2.25 * 3600) == "2.2 hours"
