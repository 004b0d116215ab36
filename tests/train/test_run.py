import dataclasses
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from mien.card import RESEARCH_USE_LICENCE
from mien.config import (
    AugmentConfig,
    DistillConfig,
    DrawnConfig,
    PrepareConfig,
    RunConfig,
    SAMConfig,
    to_dict,
)
from mien.data.prepare import prepare
from mien.data.prepared import load_prepared
from mien.errors import CheckpointError, InputError, TrainingDiverged
from mien.evaluate.run import evaluate_run
from mien.evaluate.split import read_evaluation, read_logits
from mien.models.build import build_model
from mien.models.saved import read_run
from mien.progress import Reporter
from mien.train.checkpoint import LAST
from mien.train.run import CARD, model_card, resume_run, train_run
from mien.train.step import StepFigures, TrainingStep

SLOWED = """
import sys, time
from pathlib import Path
from mien.progress import Reporter
from mien.train import loop
from mien.train.run import resume_run
save = loop.save_state
def saving(*arguments):
    save(*arguments)
    Path(sys.argv[1], "saved").touch()
loop.save_state = saving
resume_run(Path(sys.argv[1]), reporter=Reporter(quiet=True))
"""


def _same(a: Path, b: Path) -> bool:
    left, right = load_file(a), load_file(b)
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def _begin(run: Path, config: RunConfig, trained: Path) -> None:
    """A run's folder as it is before the first step."""
    run.mkdir()
    record = json.loads((trained / "run.json").read_text())
    # Data is stored relative to the run's folder, and this one lies elsewhere.
    record["data"] = os.path.relpath(read_run(trained).data.resolve(), run.resolve())
    (run / "run.json").write_text(json.dumps(record))
    often = dataclasses.replace(config, train=dataclasses.replace(config.train, checkpoint_minutes=0.0))
    (run / "config.json").write_text(json.dumps(to_dict(often)))


def test_a_runs_folder_says_all_that_its_result_depends_on(
    trained: Path, tiny: RunConfig, drawn_folder: Path
) -> None:
    saved = read_run(trained)
    assert saved.config == tiny
    record = saved.record
    assert record["manifest_hash"] == load_prepared(drawn_folder).manifest.hash()
    assert {
        "mien",
        "git_commit",
        "seed",
        "processor",
        "versions",
        "precision",
        "threads",
        "target",
    } <= record.keys()
    assert record["versions"]["torch"] == torch.__version__.partition("+")[0]
    history = [json.loads(line) for line in (trained / "history.jsonl").read_text().splitlines()]
    assert [entry["epoch"] for entry in history] == [1, 2]
    assert {"lr", "train_loss", "train_accuracy", "validation", "kept"} <= history[0].keys()


def test_evaluate_gives_exactly_what_train_said(
    trained: Path, tiny: RunConfig, drawn_folder: Path, tmp_path: Path
) -> None:
    said = train_run(tiny, drawn_folder, tmp_path / "run", reporter=Reporter(quiet=True))
    assert evaluate_run(tmp_path / "run", split="validation", views=["all"]) == [said]
    logits = read_logits(tmp_path / "run", "validation")
    assert logits["logits"].dtype == np.float16
    assert len(logits["logits"]) == said["count"]
    # A second run of the same config is the same run.
    assert _same(tmp_path / "run" / "best.safetensors", trained / "best.safetensors")


def test_the_kept_checkpoint_is_the_best_on_validation(trained: Path) -> None:
    history = [json.loads(line) for line in (trained / "history.jsonl").read_text().splitlines()]
    best = max(entry["validation"]["accuracy"] for entry in history)
    assert evaluate_run(trained, split="validation")[0]["accuracy"] == best


def test_the_card_holds_labels_prior_and_figures(trained: Path) -> None:
    card = model_card(read_run(trained), *evaluate_run(trained, split="test"))
    assert sum(card.prior.values()) == pytest.approx(1)
    assert card.labels == read_run(trained).labels
    assert card.views["7"] == tuple(name for name in card.labels if name != "contempt")
    assert {entry["labels"] for entry in card.metrics} == {"all", "7"}
    assert (trained / CARD).is_file()


@pytest.mark.parametrize(
    "kills", [pytest.param(2, id="two-kills"), pytest.param(10, id="ten-kills", marks=pytest.mark.soak)]
)
def test_killed_at_random_moments_it_ends_with_the_same_weights(
    kills: int, tiny: RunConfig, trained: Path, tmp_path: Path
) -> None:
    run = tmp_path / "killed"
    _begin(run, tiny, trained)
    moments = random.Random(kills)
    for _ in range(kills):
        process = subprocess.Popen(
            [sys.executable, "-c", SLOWED, str(run)], env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
        deadline = time.monotonic() + 120
        while not (run / "saved").exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 0.5))
        process.send_signal(signal.SIGKILL)
        process.wait()
        (run / "saved").unlink(missing_ok=True)
    resume_run(run, reporter=Reporter(quiet=True))
    assert _same(run / "best.safetensors", trained / "best.safetensors")
    assert _same(run / "last.safetensors", trained / "last.safetensors")
    assert _history_without_time(run) == _history_without_time(trained)


def _history_without_time(run: Path) -> list[dict[str, object]]:
    entries = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    return [{k: v for k, v in entry.items() if "seconds" not in k} for entry in entries]


def _interrupt_at(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C at the beginning of one step; no further one may begin."""
    step, steps = TrainingStep.__call__, 0

    def interrupted(self: TrainingStep, *arguments: Any) -> StepFigures:
        nonlocal steps
        steps += 1
        assert steps <= number
        if steps == number:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, *arguments)

    monkeypatch.setattr(TrainingStep, "__call__", interrupted)


def test_ctrl_c_finishes_the_step_saves_and_can_be_resumed(
    tiny: RunConfig, trained: Path, drawn_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "stopped"
    _interrupt_at(3, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        train_run(tiny, drawn_folder, run, reporter=Reporter(quiet=True))
    monkeypatch.undo()
    with safe_open(run / "last.safetensors", framework="pt") as file:
        assert json.loads(file.metadata()["position"])["step"] == 3
    resume_run(run, reporter=Reporter(quiet=True))
    assert _same(run / "best.safetensors", trained / "best.safetensors")


def test_a_full_disk_leaves_the_previous_checkpoint_whole(
    tiny: RunConfig, trained: Path, drawn_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "full"
    write = Path.write_bytes
    writes = 0

    def failing(self: Path, data: bytes) -> int:
        nonlocal writes
        writes += "last" in self.name
        if writes == 2:
            write(self, data[: len(data) // 2])
            raise OSError(28, "No space left on device", str(self))
        return write(self, data)

    monkeypatch.setattr(Path, "write_bytes", failing)
    with pytest.raises(OSError, match="No space left"):
        train_run(tiny, drawn_folder, run, reporter=Reporter(quiet=True))
    monkeypatch.undo()
    assert not list(run.glob(".*.tmp"))
    resume_run(run, reporter=Reporter(quiet=True))
    assert _same(run / "best.safetensors", trained / "best.safetensors")


def test_a_loss_that_is_not_finite_names_step_rate_and_rows(
    tiny: RunConfig, drawn_folder: Path, tmp_path: Path
) -> None:
    hot = dataclasses.replace(
        tiny, optim=dataclasses.replace(tiny.optim, name="sgd", lr=1e12, warmup_epochs=0)
    )
    with pytest.raises(
        TrainingDiverged, match=r"step \d+ of the run, in epoch \d+ \(learning rate .*, rows \d+"
    ):
        train_run(hot, drawn_folder, tmp_path / "run", reporter=Reporter(quiet=True))


def test_other_data_and_other_shapes_are_refused(
    trained: Path, tiny: RunConfig, drawn_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="already holds a run"):
        train_run(tiny, drawn_folder, trained, reporter=Reporter(quiet=True))
    run = tmp_path / "other"
    wider = dataclasses.replace(tiny, model=dataclasses.replace(tiny.model, embed_dim=32))
    _begin(run, wider, trained)
    for name in ("best.safetensors", "last.safetensors"):
        (run / name).write_bytes((trained / name).read_bytes())
    with pytest.raises(CheckpointError, match=r"has shape \[.*\], the model wants \[.*\]"):
        evaluate_run(run)
    with pytest.raises(CheckpointError, match="does not fit this run's config"):
        resume_run(run, reporter=Reporter(quiet=True))
    (run / "last.safetensors").write_bytes(b"half")
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        resume_run(run, reporter=Reporter(quiet=True))


def test_bf16_trains_and_is_scored_in_fp32(tiny: RunConfig, drawn_folder: Path, tmp_path: Path) -> None:
    config = dataclasses.replace(tiny, train=dataclasses.replace(tiny.train, precision="bf16", epochs=1))
    said = train_run(config, drawn_folder, tmp_path / "run", reporter=Reporter(quiet=True))
    assert read_run(tmp_path / "run").record["precision"] == "bf16-mixed"
    assert evaluate_run(tmp_path / "run", split="validation", views=["all"]) == [said]


@pytest.mark.parametrize("balance", ["copies", "sampling", "logit_adjustment"])
def test_every_way_to_balance_trains(
    balance: str, tiny: RunConfig, drawn_folder: Path, tmp_path: Path
) -> None:
    config = dataclasses.replace(
        tiny,
        training_set=dataclasses.replace(tiny.training_set, balance=balance),
        augment=dataclasses.replace(tiny.augment, mixup=0.2),
        train=dataclasses.replace(tiny.train, epochs=1),
    )
    train_run(config, drawn_folder, tmp_path / "run", reporter=Reporter(quiet=True))
    prior = np.array(list(model_card(read_run(tmp_path / "run")).prior.values()))
    np.testing.assert_allclose(prior, 1 / 8, atol=1e-6)


def test_the_cards_prior_is_what_the_loss_saw(trained: Path, drawn_folder: Path) -> None:
    targets = load_prepared(drawn_folder).manifest.target().only("train")
    expected = dict(zip(targets.classes, targets.soft.mean(0), strict=True))
    assert model_card(read_run(trained)).prior == pytest.approx(expected, abs=1e-6)


def test_figures_of_other_data_are_not_kept_as_the_runs_own(
    trained: Path, tiny: RunConfig, tmp_path: Path
) -> None:
    run, other = tmp_path / "run", tmp_path / "other"
    shutil.copytree(trained, run)
    # The copy lies elsewhere, and its data is stored relative to the run's folder.
    own = evaluate_run(run, read_run(trained).data)
    prepare("drawn", other, PrepareConfig(drawn=DrawnConfig(120), jobs=1, seed=9))
    elsewhere = evaluate_run(run, other)
    assert elsewhere[0]["manifest_hash"] != own[0]["manifest_hash"]
    assert read_evaluation(run, "test") == own
    # One view alone is shown, not stored alone.
    assert [entry["view"] for entry in evaluate_run(run, read_run(trained).data, views=["7"])] == ["7"]
    assert [entry["view"] for entry in read_evaluation(run, "test") or []] == ["all", "7"]


def test_a_run_that_stopped_early_is_not_finished(trained: Path, tiny: RunConfig, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    assert read_run(run).finished
    first = (run / "history.jsonl").read_text().splitlines()[0]
    (run / "history.jsonl").write_text(first + "\n")
    assert not read_run(run).finished


def test_fine_tuning_starts_from_a_run_and_keeps_its_licence_and_does_not_need_it_to_resume(
    trained: Path, tiny: RunConfig, drawn_folder: Path, tmp_path: Path
) -> None:
    source, run = tmp_path / "source", tmp_path / "tuned"
    shutil.copytree(trained, source)
    record = json.loads((source / "run.json").read_text())
    (source / "run.json").write_text(json.dumps({**record, "sets": ["fer2013"]}))
    config = dataclasses.replace(tiny, model=dataclasses.replace(tiny.model, pretrained=str(source)))
    train_run(config, drawn_folder, run, reporter=Reporter(quiet=True))
    card = model_card(read_run(run))
    assert card.licence == RESEARCH_USE_LICENCE
    assert read_run(run).record["starting_weights"]["sets"] == ["fer2013"]
    shutil.rmtree(source)
    resume_run(run, reporter=Reporter(quiet=True))


def test_data_that_has_changed_since_is_refused_on_resume(trained: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    prepare("drawn", other, PrepareConfig(drawn=DrawnConfig(120), jobs=1, seed=9))
    with pytest.raises(InputError, match="its manifest is not the one"):
        resume_run(trained, reporter=Reporter(quiet=True), data=other)


@pytest.mark.parametrize("method", ["looksam", "esam", "msam"])
def test_a_relative_of_sam_trains_by_config(
    method: str, tiny: RunConfig, drawn_folder: Path, tmp_path: Path
) -> None:
    sam = dataclasses.replace(tiny.optim.sam, method=method, rho=0.02, every=2)
    config = dataclasses.replace(tiny, optim=dataclasses.replace(tiny.optim, sam=sam))
    train_run(config, drawn_folder, tmp_path / "run", reporter=Reporter(quiet=True))
    history = [json.loads(line) for line in (tmp_path / "run" / "history.jsonl").read_text().splitlines()]
    assert history[1]["train_loss"] < history[0]["train_loss"]


def test_a_frozen_encoder_learns_nothing_until_its_epochs_are_over(
    tiny: RunConfig, drawn_folder: Path, tmp_path: Path
) -> None:
    weights = []
    for epochs in (1, 2):
        optim = dataclasses.replace(tiny.optim, frozen_epochs=1.0)
        loop = dataclasses.replace(tiny.train, epochs=epochs, ema=0.0)
        config = dataclasses.replace(tiny, optim=optim, train=loop)
        train_run(config, drawn_folder, tmp_path / str(epochs), reporter=Reporter(quiet=True))
        weights.append(load_file(tmp_path / str(epochs) / LAST))
    torch.manual_seed(tiny.train.seed)
    start = build_model(tiny.model, 8).state_dict()
    encoder = [name for name in start if name.startswith("encoder.") and name.endswith("weight")]
    assert len(encoder) > 10
    assert all(torch.equal(weights[0][f"model.{name}"], start[name]) for name in encoder)
    assert not torch.equal(weights[0]["model.head.weight"], start["head.weight"])
    assert not any(torch.equal(weights[1][f"model.{name}"], start[name]) for name in encoder)


def test_a_teacher_teaches_by_config_and_hands_on_what_it_has_seen(
    trained: Path, tiny: RunConfig, drawn_folder: Path, tmp_path: Path
) -> None:
    teacher = tmp_path / "teacher"
    shutil.copytree(trained, teacher)
    record = json.loads((teacher / "run.json").read_text())
    (teacher / "run.json").write_text(json.dumps({**record, "sets": ["fer2013"]}))
    distill = DistillConfig(teachers=(str(teacher),), weight=1.0, temperature=1.0)
    config = dataclasses.replace(
        tiny,
        model=dataclasses.replace(tiny.model, pretrained=str(trained), drop_path=0.0),
        augment=AugmentConfig(rotation=0, autocontrast=0),
        optim=dataclasses.replace(tiny.optim, lr=0.0, final_lr=0.0, sam=SAMConfig()),
        train=dataclasses.replace(tiny.train, epochs=1, distill=distill, ema=0.0),
    )
    said = train_run(config, drawn_folder, tmp_path / "run", reporter=Reporter(quiet=True))
    saved = read_run(tmp_path / "run")
    assert saved.record["sets"] == ["drawn", "fer2013"]
    assert [t["source"] for t in saved.record["teachers"]] == ["teacher"]
    assert model_card(saved).licence == RESEARCH_USE_LICENCE
    assert 0 <= said["accuracy"] <= 1
    # The student is the teacher here, so nothing is left to learn but what BatchNorm's batches differ by.
    (entry,) = (json.loads(line) for line in (tmp_path / "run" / "history.jsonl").read_text().splitlines())
    assert (
        entry["train_loss"]
        < 0.1
        < json.loads((trained / "history.jsonl").read_text().splitlines()[0])["train_loss"]
    )
    # A run goes on where it and its teacher have moved together, and not with another teacher.
    moved = tmp_path / "moved"
    moved.mkdir()
    shutil.move(teacher, moved / "teacher")
    shutil.move(tmp_path / "run", moved / "run")
    (moved / "run" / "history.jsonl").unlink()
    (moved / "run" / LAST).unlink()
    resume_run(moved / "run", reporter=Reporter(quiet=True), data=drawn_folder)
    shutil.rmtree(moved / "teacher")
    resume_run(moved / "run", reporter=Reporter(quiet=True), data=drawn_folder)
    (moved / "run" / "history.jsonl").unlink()
    with pytest.raises(InputError, match="the run's teacher is not there, or no longer what it was"):
        resume_run(moved / "run", reporter=Reporter(quiet=True), data=drawn_folder)


@pytest.mark.parametrize("method", ["sam", "esam", "looksam", "msam"])
def test_a_run_stopped_within_an_epoch_ends_with_the_same_weights_by_every_method(
    method: str,
    tiny: RunConfig,
    drawn_folder: Path,
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sam = dataclasses.replace(tiny.optim.sam, method=method, rho=0.02, every=2)
    distill = DistillConfig(teachers=(str(trained),))
    config = dataclasses.replace(
        tiny,
        augment=dataclasses.replace(tiny.augment, cutmix=0.5, mixup=0.5),
        optim=dataclasses.replace(tiny.optim, sam=sam, frozen_epochs=0.4),
        train=dataclasses.replace(tiny.train, epochs=1, accumulate=2, distill=distill),
    )
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    train_run(config, drawn_folder, whole, reporter=Reporter(quiet=True))
    _interrupt_at(4, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        train_run(config, drawn_folder, stopped, reporter=Reporter(quiet=True))
    monkeypatch.undo()
    with safe_open(stopped / LAST, framework="pt") as file:
        assert json.loads(file.metadata()["position"])["step"] == 4
    resume_run(stopped, reporter=Reporter(quiet=True))
    assert _same(stopped / LAST, whole / LAST)
