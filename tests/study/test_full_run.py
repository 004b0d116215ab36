"""The whole study on drawn faces: the chosen radius, two processes, what is kept and taken from there."""

import json
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from mien.data.prepared import load_prepared
from mien.errors import InputError, TrainingDiverged
from mien.evaluate.split import read_evaluation
from mien.models.saved import read_run
from mien.progress import Reporter
from mien.study import full_run as module
from mien.study import reproduce
from mien.study.ablation import PlannedRun, recipe_columns
from mien.study.full import RADII, plan_full, scan_name
from mien.study.full_run import (
    _claimed,
    _is_done,
    _possible,
    _Study,
    judged_folder,
    list_full,
    reproduce_full,
    tuned_radius,
)

SCAN = [scan_name(rho) for rho in RADII]
COLUMNS = [*SCAN, "swin", "swin_se_sam"]


@pytest.fixture(scope="module")
def made(drawn_folder: Path, recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished part of the study, with what it kept in `kept`; tests leave it as it is."""
    out = tmp_path_factory.mktemp("study")
    patch = pytest.MonkeyPatch()
    # The analyses have tests of their own, and take longest here.
    patch.setattr(module, "analyse", lambda *_, **__: None)
    try:
        reproduce_full(
            recipe,
            drawn_folder,
            out / "out",
            keep=out / "kept",
            columns=COLUMNS,
            reporter=Reporter(quiet=True),
        )
    finally:
        patch.undo()
    return out


def never(*_args: object, **_kwargs: object) -> None:
    raise AssertionError("trained again")


def test_the_chosen_radius_is_the_one_that_validation_ranks_first(made: Path) -> None:
    accuracies = {
        folder.name: json.loads((folder / "evaluation" / "validation.json").read_text())[0]["accuracy"]
        for folder in (made / "out").glob("swin_se_sam_rho*-seed0")
    }
    assert len(accuracies) == len(SCAN)
    chosen = tuned_radius(made / "out")
    assert accuracies[f"swin_se_sam_rho{chosen:g}-seed0"] == max(accuracies.values())
    for seed in range(3):
        config = json.loads((made / "out" / f"swin_se_sam-seed{seed}" / "config.json").read_text())
        assert config["optim"]["sam"]["rho"] == chosen
    # Seed 0 of it is the scan's own run.
    ours, theirs = (
        (made / "out" / name / "run.json").read_text()
        for name in ("swin_se_sam-seed0", f"swin_se_sam_rho{chosen:g}-seed0")
    )
    assert ours == theirs


def test_what_is_kept_goes_on_elsewhere_without_weights(
    made: Path, recipe: Path, drawn_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = made / "kept"
    assert not list(kept.rglob("best.safetensors"))
    assert not list(kept.rglob("last.safetensors"))
    monkeypatch.setattr(reproduce, "train_run", never)
    monkeypatch.setattr(reproduce, "resume_run", never)
    out = tmp_path / "elsewhere"
    quiet = Reporter(quiet=True)
    made_again = reproduce_full(recipe, drawn_folder, out, keep=kept, columns=COLUMNS, reporter=quiet)
    assert len(made_again.runs) == len(SCAN) + 3 + 3
    verdicts = [json.loads((folder / "verdicts.json").read_text()) for folder in (out, made / "out")]
    assert verdicts[0] == verdicts[1]


def test_a_run_that_another_process_has_is_left_to_it(
    made: Path, recipe: Path, drawn_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    shutil.copytree(made / "out", out)
    shutil.rmtree(out / "swin-seed1")
    monkeypatch.setattr(reproduce, "train_run", never)
    monkeypatch.setattr(_Study, "judge", never)
    quiet = Reporter(quiet=True)
    for folder in out.glob("*-seed*/best.safetensors"):
        folder.unlink()
    with _claimed(out, "swin-seed1") as ours:
        assert ours
        again = reproduce_full(recipe, drawn_folder, out, columns=["swin"], reporter=quiet)
    assert [run.name for run in again.runs] == ["swin-seed0", "swin-seed2"]


def test_a_run_that_diverges_does_not_stop_the_others(
    made: Path, recipe: Path, drawn_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    shutil.copytree(made / "out", out)
    for seed in (0, 1):
        shutil.rmtree(out / f"swin-seed{seed}")
    for folder in out.glob("*-seed*/best.safetensors"):
        folder.unlink()

    def diverges(_config: object, _data: Path, run: Path, **_options: object) -> None:
        run.mkdir()
        raise TrainingDiverged("the loss is not finite")

    monkeypatch.setattr(reproduce, "train_run", diverges)
    again = reproduce_full(recipe, drawn_folder, out, columns=["swin"], reporter=Reporter(quiet=True))
    assert [run.name for run in again.runs] == ["swin-seed2"]
    assert "not finite" in (out / "swin-seed0" / "failed.json").read_text()


def test_an_unknown_column_is_refused(recipe: Path, drawn_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="swin_x is no column of this study"):
        reproduce_full(
            recipe, drawn_folder, tmp_path / "out", columns=["swin_x"], reporter=Reporter(quiet=True)
        )


def test_without_second_labels_the_runs_that_need_them_are_left_out(recipe: Path) -> None:
    plan = plan_full(recipe_columns(recipe))
    drawn = _possible(plan, {"drawn": ()})
    assert {run.column for run in plan} - {run.column for run in drawn} == {
        "swin_se_fer2013",
        "swin_se_sam_fer2013",
        "paper_48",
    }
    assert not any(run.judged_on for run in drawn)
    assert _possible(plan, {"fer2013": (), "ferplus": ("anger",)}) == plan


def test_a_run_is_analysed_and_judged_by_other_labels_right_after_training(
    made: Path, drawn_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(made / "out" / "swin-seed0", out / "swin-seed0")
    annotation = load_prepared(drawn_folder).manifest.info.target
    config = read_run(out / "swin-seed0").config
    run = PlannedRun("swin", config, analyses=("features",), judged_on=(annotation,))
    assert not _is_done(out, run)
    _Study(out, drawn_folder, "", keep=None, reporter=Reporter(quiet=True)).judge(run)
    assert _is_done(out, run)
    # The same labels under their own name: the same answers.
    judged = read_evaluation(judged_folder(out, run.name, annotation), "test")
    own = read_evaluation(out / run.name, "test")
    assert judged is not None
    assert own is not None
    assert judged[0]["accuracy"] == own[0]["accuracy"]


def test_the_plan_is_told_in_order_with_its_time(recipe: Path, tmp_path: Path) -> None:
    console = Console(record=True, width=200)
    list_full(recipe, tmp_path, reporter=Reporter(console), columns=["swin", "swin_se_sam"], epochs=60)
    lines = console.export_text().splitlines()
    # 55 s a pass of FER+; SAM takes two.
    assert lines[0] == "step 1: swin-seed0, about 55 minutes, C1 C7"
    assert lines[1] == "step 1: swin_se_sam-seed0, about 110 minutes, C2 C4 C8 C9"
    assert lines[-1].startswith("6 runs, 0 done; what is left takes about 8.2 hours of one core")
