"""The study start to end on drawn faces: order, skipping, continuing, what is refused, what is exported."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mien.config import RunConfig
from mien.errors import InputError
from mien.models.saved import read_run
from mien.progress import Reporter
from mien.study import reproduce as module
from mien.study.reproduce import Reproduced, reproduce

TABLE_2 = ["swin-seed0", "swin_se-seed0", "swin_se_sam-seed0"]


@pytest.fixture(scope="module")
def made(drawn_folder: Path, recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Reproduced:
    """A finished Table 2 of one seed; tests copy its folder before they change it."""
    out = tmp_path_factory.mktemp("study")
    return reproduce(recipe, drawn_folder, out, reporter=Reporter(quiet=True), study="table2")


@pytest.fixture
def again(
    made: Reproduced, drawn_folder: Path, recipe: Path, tmp_path: Path
) -> Callable[..., tuple[Path, Callable[..., Reproduced]]]:
    """A copy of the finished study, and the call that goes on with it."""

    def copied() -> tuple[Path, Callable[..., Reproduced]]:
        out = tmp_path / "out"
        shutil.copytree(made.report.parent, out)

        def go_on(**options: object) -> Reproduced:
            given: dict[str, object] = {"study": "table2", "reporter": Reporter(quiet=True), **options}
            return reproduce(recipe, drawn_folder, out, **given)  # type: ignore[arg-type]

        return out, go_on

    return copied


def never(*_args: object, **_kwargs: object) -> None:
    raise AssertionError("trained again")


def not_exported(*_args: object, **_kwargs: object) -> None:
    """An export takes as long as five of the trainings here; `made` and the second call have real ones."""


def test_start_to_end(made: Reproduced) -> None:
    assert [run.name for run in made.runs] == TABLE_2
    assert made.exported is not None
    assert made.exported.difference <= 1e-4
    assert made.exported.checked > 20
    ranks = {
        run.name: json.loads((run / "evaluation" / "validation.json").read_text())[0]["accuracy"]
        for run in made.runs
    }
    assert ranks[made.exported.run] == max(ranks.values())
    page = made.report.read_text(encoding="utf-8")
    for words in ("Swin-SE-SAM", "contempt", "differ from torch"):
        assert words in page
    assert "Swin to Swin-SE" in made.summary


def test_a_second_call_trains_nothing(
    again: Callable[..., tuple[Path, Callable[..., Reproduced]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, go_on = again()
    monkeypatch.setattr(module, "train_run", never)
    monkeypatch.setattr(module, "resume_run", never)
    assert [run.name for run in go_on().runs] == TABLE_2
    # Committed results have no weights: their figures are read, and there is nothing to export.
    for run in out.glob("*-seed0"):
        (run / "best.safetensors").unlink()
        (run / "last.safetensors").unlink()
    assert go_on().exported is None
    with pytest.raises(InputError, match="another config"):
        go_on(epochs=2)
    shutil.rmtree(out / "swin-seed0" / "evaluation")
    with pytest.raises(InputError, match="neither its weights nor figures"):
        go_on()


def test_other_data_is_refused_before_anything_is_trained(
    again: Callable[..., tuple[Path, Callable[..., Reproduced]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, go_on = again()
    monkeypatch.setattr(module, "train_run", never)
    shutil.rmtree(out / "swin-seed0")
    record = json.loads((out / "swin_se_sam-seed0" / "run.json").read_text())
    (out / "swin_se_sam-seed0" / "run.json").write_text(json.dumps({**record, "manifest_hash": "ab" * 32}))
    with pytest.raises(InputError, match="other data than --data"):
        go_on()


def test_a_stopped_run_is_continued_and_only_the_missing_ones_are_trained(
    again: Callable[..., tuple[Path, Callable[..., Reproduced]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, go_on = again()
    begun = out / "swin_se-seed0"
    # As a run that was killed in its first epoch: no epoch, no figures, a checkpoint or none.
    for name in ("history.jsonl", "card.json", "last.safetensors", "best.safetensors"):
        (begun / name).unlink()
    shutil.rmtree(begun / "evaluation")
    calls: list[str] = []
    resume, train = module.resume_run, module.train_run

    def resumed(run: Path, **options: object) -> object:
        calls.append(f"resume {run.name}")
        return resume(run, **options)  # type: ignore[arg-type]

    def trained(config: RunConfig, data: Path, run: Path, **options: object) -> object:
        calls.append(f"train {run.name}")
        return train(config, data, run, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "resume_run", resumed)
    monkeypatch.setattr(module, "train_run", trained)
    monkeypatch.setattr(module, "export_best", not_exported)
    made = go_on(study="ablation", columns=["swin", "swin_se", "swin_se_equal_cost"])
    assert calls == ["resume swin_se-seed0", "train swin_se_equal_cost-seed0"]
    # The report has the column that this call did not ask for as well.
    assert [run.name for run in made.runs] == [*TABLE_2, "swin_se_equal_cost-seed0"]
    assert read_run(out / "swin_se_equal_cost-seed0").config.train.epochs == 2
    gains = json.loads(made.report.with_suffix(".json").read_text())["gains"]
    assert [gain["question"] for gain in gains] == [
        "SE",
        "SAM",
        "SE and SAM",
        "longer training",
        "SAM at equal cost",
    ]


def test_stopping_says_that_the_same_command_continues_and_leaves_a_report(
    again: Callable[..., tuple[Path, Callable[..., Reproduced]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, go_on = again()
    shutil.rmtree(out / "swin_se-seed0")
    shutil.rmtree(out / "swin_se_sam-seed0")
    (out / "report.html").unlink()
    train = module.train_run

    def trained(config: RunConfig, data: Path, run: Path, **options: object) -> object:
        if config.optim.sam.rho > 0:
            raise KeyboardInterrupt("stopped; continue with: mien train --resume elsewhere")
        return train(config, data, run, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "train_run", trained)
    monkeypatch.setattr(module, "export_best", not_exported)
    with pytest.raises(KeyboardInterrupt, match="the same command continues"):
        go_on()
    values = json.loads((out / "report.json").read_text())
    assert [column["name"] for column in values["columns"]] == ["Swin", "Swin-SE"]
    assert (out / "report.html").is_file()


def test_several_devices_are_refused(drawn_folder: Path, recipe: Path, tmp_path: Path) -> None:
    path = tmp_path / "two.toml"
    path.write_text(recipe.read_text() + "devices = 2\n")
    with pytest.raises(InputError, match="a study trains on one device"):
        reproduce(path, drawn_folder, tmp_path / "out", reporter=Reporter(quiet=True))
