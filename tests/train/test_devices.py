"""Two processes on the CPU, started by the command line, against one process with two micro-batches."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
import torch
from safetensors.torch import load_file
from torch import nn

from mien.cli import run
from mien.config import LoopConfig, ModelConfig, RunConfig, to_dict
from mien.data.dataset import TrainingBatches
from mien.errors import InputError, LostProcess, TrainingDiverged
from mien.evaluate.predict import BATCH, predict_logits
from mien.progress import Reporter
from mien.train.devices import Devices
from mien.train.loop import TrainingLoop
from mien.train.run import predict_shared, train_run

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    return {k: _without_none(v) if isinstance(v, dict) else v for k, v in values.items() if v is not None}


def _command(config: RunConfig, data: Path, out: Path, *flags: str) -> list[str]:
    file = out.with_suffix(".toml")
    file.write_text(tomli_w.dumps(_without_none(to_dict(config))))
    paths = ["--config", str(file), "--data", str(data), "--out", str(out)]
    return ["-m", "mien", "train", *paths, *flags]


def _run(command: list[str], *, torchrun: bool = False) -> subprocess.CompletedProcess[str]:
    start = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"] if torchrun else []
    return subprocess.run(
        [sys.executable, *start, *command], env=ENVIRONMENT, capture_output=True, text=True, timeout=200
    )


@pytest.fixture(scope="module")
def one_process(tiny: RunConfig, drawn_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("devices") / "one"
    config = dataclasses.replace(tiny, train=dataclasses.replace(tiny.train, accumulate=2))
    train_run(config, drawn_folder, out, reporter=Reporter(quiet=True))
    return out


def test_two_processes_of_torchrun_are_one_with_two_micro_batches(
    tiny: RunConfig, drawn_folder: Path, one_process: Path, tmp_path: Path
) -> None:
    run = tmp_path / "two"
    done = _run(_command(tiny, drawn_folder, run, "--devices", "2"), torchrun=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("validation, labels all") == 1
    _check_equal(run, one_process)


def _check_equal(run: Path, one_process: Path) -> None:
    assert json.loads((run / "run.json").read_text())["devices"] == 2
    theirs = load_file(one_process / "last.safetensors")
    ours = load_file(run / "last.safetensors")
    assert ours.keys() == theirs.keys()
    assert any("running_var" in name for name in ours)
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], rtol=2e-3, atol=2e-5, msg=name)
    for a, b in zip(*(_history(folder) for folder in (run, one_process)), strict=True):
        assert a["train_loss"] == pytest.approx(b["train_loss"], rel=1e-4)
        assert a["images"] == b["images"]
        assert a["validation"]["nll"] == pytest.approx(b["validation"]["nll"], rel=1e-4)


def _history(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]


def test_ctrl_c_stops_both_processes_and_the_run_goes_on(
    tiny: RunConfig, drawn_folder: Path, one_process: Path, tmp_path: Path
) -> None:
    """The one test of the processes that mien starts itself: what they end with is the run as a whole."""
    run = tmp_path / "stopped"
    flags = ["--devices", "2", "--train.checkpoint_minutes", "0"]
    process = subprocess.Popen(
        [sys.executable, *_command(tiny, drawn_folder, run, *flags)],
        env=ENVIRONMENT,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    _wait_for(run / "last.safetensors", process)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.count("continue with: mien train --resume") == 1
    assert "Traceback" not in said
    done = _run(["-m", "mien", "train", "--resume", str(run)])
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("validation, labels all") == 1
    _check_equal(run, one_process)


def _wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not path.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert path.exists()


@pytest.mark.soak
def test_no_process_waits_for_one_that_was_killed(
    tiny: RunConfig, drawn_folder: Path, tmp_path: Path
) -> None:
    run = tmp_path / "killed"
    flags = ["--devices", "2", "--train.checkpoint_minutes", "0", "--train.epochs", "500"]
    process = subprocess.Popen(
        [sys.executable, *_command(tiny, drawn_folder, run, *flags)],
        env=ENVIRONMENT,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    _wait_for(run / "last.safetensors", process)
    other = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(other[-1]), signal.SIGKILL)
    _, said = process.communicate(timeout=60)
    # Fabric kills the first process where it is the first to see it.
    assert process.returncode == -signal.SIGKILL or "another process of the run has ended" in said


class _Dealt:
    """One of two processes; `gather` gives what the test put there."""

    count = 2

    def __init__(self, rank: int, parts: list[Any]) -> None:
        self.rank, self.parts = rank, parts

    def gather(self, own: Any) -> list[Any]:
        self.parts[self.rank] = own
        return self.parts


@pytest.mark.parametrize("images", [3, BATCH, 3 * BATCH + 7])
def test_every_image_is_evaluated_once_by_one_process(images: int) -> None:
    pack = np.random.default_rng(0).integers(0, 256, (images + 5, 1, 4, 4)).astype(np.uint8)
    rows = np.arange(images)[::-1] + 5
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    config = ModelConfig(size=4)
    parts: list[Any] = [[], []]
    for rank in (0, 1):
        try:
            logits = predict_shared(_Dealt(rank, parts), network, pack, rows, config)  # type: ignore[arg-type]
        except IndexError:
            # The other process's share is not there yet.
            assert rank == 0
    assert sum(len(part) for share in parts for part in share) == images
    np.testing.assert_array_equal(logits, predict_logits(network, pack, rows, config))


def test_a_batch_that_does_not_divide_is_refused() -> None:
    with pytest.raises(InputError, match=r"batch_size 32 does not divide by accumulate 3 times devices 1"):
        LoopConfig(batch_size=32, accumulate=3)


def test_another_number_of_processes_than_torchrun_started_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in {"TORCHELASTIC_RUN_ID": "1", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "4"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=r"torchrun started 4 processes and train\.devices is 1"):
        Devices(LoopConfig(precision="fp32"))


def test_processes_that_start_from_other_weights_are_refused(tmp_path: Path) -> None:
    class Other(Devices):
        def gather(self, part: Any) -> list[Any]:
            return [part, (part[0], part[1], part[2] + 1)]

    config = RunConfig(model=ModelConfig(size=4), train=LoopConfig(precision="fp32", threads=1, batch_size=2))
    batches = TrainingBatches(
        np.zeros((2, 1, 4, 4), np.uint8),
        np.arange(2),
        np.arange(2),
        np.eye(2, dtype=np.float32),
        np.ones(2, np.int32),
        np.ones(2, bool),
        balance="none",
        batch_size=2,
        seed=0,
    )
    loop = TrainingLoop(
        nn.Sequential(nn.Flatten(), nn.Linear(16, 2)),
        batches,
        config,
        tmp_path,
        devices=Other(config.train),
        validate=lambda _: {},
        reporter=Reporter(quiet=True),
    )
    with pytest.raises(LostProcess, match="process 1 starts from another checkpoint"):
        loop.fit()


@pytest.mark.parametrize(
    ("error", "rank", "said"),
    [
        (TrainingDiverged("no number."), "1", ""),
        (TrainingDiverged("no number."), "0", "mien: no number.\n"),
        (InputError("no such folder."), "1", "mien: process 1: no such folder.\n"),
    ],
)
def test_what_befalls_all_processes_is_said_once(
    error: Exception,
    rank: str,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def failing(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setenv("RANK", rank)
    monkeypatch.setattr("mien.train.run.train_run", failing)
    assert run(["train", "--data", "d", "--out", "o"]) in (1, 2)
    assert capsys.readouterr().err == said
