"""What the loop keeps, writes and stops by, from epoch to epoch."""

from __future__ import annotations

import dataclasses
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.train.small_loop import (
    LEARNING,
    are_same,
    linear_network,
    loop_of,
    part_of_checkpoint,
    read_lines,
    steady,
    weights_of,
)
from torch import nn

from mien.config import (
    OptimConfig,
)


def test_the_running_average_is_what_is_validated_and_kept(tmp_path: Path) -> None:
    config = dataclasses.replace(
        LEARNING, train=dataclasses.replace(LEARNING.train, epochs=1, batch_size=4, ema=0.9)
    )
    validated = []

    def validate(network: nn.Module) -> dict[str, Any]:
        validated.append(weights_of(network))
        return steady(network)

    network = linear_network()
    start = weights_of(network)
    loop_of(config, tmp_path, network, validate=validate).fit()
    average, trained = part_of_checkpoint(tmp_path, "average.module."), part_of_checkpoint(tmp_path, "model.")
    assert are_same(load_file(tmp_path / "best.safetensors"), average)
    assert are_same(validated[0], average)
    # The average follows the trained weights, behind them.
    for name, value in average.items():
        lag, way = (trained[name] - value).norm(), (trained[name] - start[name]).norm()
        assert 0 < float(lag) < float(way)


@pytest.mark.parametrize(("selection", "kept"), [("accuracy", 1), ("macro_recall", 3), ("nll", 2)])
def test_the_selection_figure_chooses_the_epoch_that_is_kept(
    tmp_path: Path, selection: str, kept: int
) -> None:
    config = dataclasses.replace(LEARNING, train=dataclasses.replace(LEARNING.train, selection=selection))
    figures = [
        {"accuracy": 0.6, "macro_recall": 0.4, "nll": 1.2},
        {"accuracy": 0.4, "macro_recall": 0.3, "nll": 0.9},
        {"accuracy": 0.5, "macro_recall": 0.5, "nll": 1.4},
    ]
    validated = []

    def validate(network: nn.Module) -> dict[str, Any]:
        validated.append(weights_of(network))
        return figures[len(validated) - 1]

    position = loop_of(config, tmp_path, linear_network(), validate=validate).fit()
    assert position.best_epoch == kept
    best = load_file(tmp_path / "best.safetensors")
    assert [are_same(best, weights) for weights in validated] == [epoch == kept for epoch in (1, 2, 3)]


def test_a_budget_ends_the_run_and_the_schedule_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = dataclasses.replace(
        LEARNING,
        optim=OptimConfig(lr=0.1, warmup_epochs=0, final_lr=0.0),
        train=dataclasses.replace(LEARNING.train, epochs=100, batch_size=4, max_minutes=1.0),
    )
    # Two seconds a step, four a validation.
    loop = loop_of(config, tmp_path, linear_network())
    step = loop.step.__class__.__call__
    rates: list[float] = []
    clock = 0.0

    def slow(self: Any, positions: np.ndarray, number: int, rate: float) -> Any:
        nonlocal clock
        clock += 2.0
        rates.append(rate)
        return step(self, positions, number, rate)

    def validate(_: nn.Module) -> dict[str, Any]:
        nonlocal clock
        clock += 4.0
        return steady(_)

    monkeypatch.setattr("mien.train.loop.time.monotonic", lambda: clock)
    monkeypatch.setattr(type(loop.step), "__call__", slow)
    loop.validate = validate
    position = loop.fit()
    assert 54 <= clock <= 60
    assert position.history[-1]["last"]
    assert not any(entry["last"] for entry in position.history[:-1])
    assert position.history[-1]["lr"] == rates[-1]
    # A hundred epochs of three steps would hardly have left the peak.
    assert rates[0] == pytest.approx(0.1)
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < 0.01
    assert read_lines(tmp_path) == position.history


def test_an_epochs_last_rate_is_what_the_history_says(tmp_path: Path) -> None:
    config = dataclasses.replace(
        LEARNING,
        optim=OptimConfig(lr=0.1, warmup_epochs=0, final_lr=0.0),
        train=dataclasses.replace(LEARNING.train, batch_size=4),
    )
    history = loop_of(config, tmp_path, linear_network()).fit().history
    # Nine steps of half a cosine.
    rates = [0.05 * (1 + np.cos(np.pi * step / 9)) for step in (2, 5, 8)]
    assert [entry["lr"] for entry in history] == pytest.approx(rates)


def test_the_running_average_by_hand(tmp_path: Path) -> None:
    config = dataclasses.replace(
        LEARNING, train=dataclasses.replace(LEARNING.train, epochs=2, batch_size=4, ema=0.4)
    )
    network = linear_network()
    loop = loop_of(config, tmp_path, network)
    weights: list[torch.Tensor] = []
    step = loop.step.__class__.__call__

    class Recorded(type(loop.step)):  # type: ignore[misc]
        def __call__(self, *arguments: Any) -> Any:
            figures = step(self, *arguments)
            weights.append(network[1].weight.detach().clone())  # type: ignore[union-attr]
            return figures

    loop.step.__class__ = Recorded
    loop.fit()
    assert len(weights) == 6
    average = weights[0]
    for t, weight in enumerate(weights[1:]):
        decay = min(0.4, t / (9 + t))
        average = decay * average + (1 - decay) * weight
    torch.testing.assert_close(part_of_checkpoint(tmp_path, "average.module.")["1.weight"], average.cpu())


def test_a_finished_run_whose_history_was_cut_off_is_whole_again_after_resuming(tmp_path: Path) -> None:
    history = loop_of(LEARNING, tmp_path, linear_network()).fit().history
    lines = (tmp_path / "history.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "history.jsonl").write_text("".join(lines[:-1]))
    loop = loop_of(LEARNING, tmp_path, linear_network())
    loop.resume()
    loop.fit()
    assert read_lines(tmp_path) == history


def test_checkpoints_are_written_within_an_epoch_as_often_as_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = 0.0
    monkeypatch.setattr("mien.train.loop.time.monotonic", lambda: clock)
    config = dataclasses.replace(
        LEARNING, train=dataclasses.replace(LEARNING.train, epochs=1, batch_size=1, checkpoint_minutes=0.1)
    )
    loop = loop_of(config, tmp_path, linear_network())
    saved: list[int] = []
    save, step = loop._save, type(loop.step).__call__

    def saving() -> None:
        saved.append(loop.position.step)
        save()

    def slow(self: Any, *arguments: Any) -> Any:
        nonlocal clock
        clock += 2.0
        return step(self, *arguments)

    monkeypatch.setattr(loop, "_save", saving)
    monkeypatch.setattr(type(loop.step), "__call__", slow)
    loop.fit()
    # Six seconds are not yet more than a tenth of a minute; the last is that of the finished epoch.
    assert saved == [4, 8, 12, 0]


def test_a_better_epoch_removes_what_was_scored_of_the_one_before(tmp_path: Path) -> None:
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "evaluation" / "test.json").write_text("[]")
    loop_of(
        dataclasses.replace(LEARNING, train=dataclasses.replace(LEARNING.train, epochs=1)),
        tmp_path,
        linear_network(),
    ).fit()
    assert not (tmp_path / "evaluation").exists()


def test_a_selection_figure_that_is_no_number_is_never_the_best(tmp_path: Path) -> None:
    for name, nlls, kept in (("first", [np.nan, 1.0, 2.0], 2), ("later", [1.0, np.nan, 0.5], 3)):
        train = dataclasses.replace(LEARNING.train, selection="nll")
        values = iter(nlls)

        def validate(_: nn.Module, values: Any = values) -> dict[str, Any]:
            return {"accuracy": 0.5, "macro_recall": 0.5, "nll": float(next(values))}

        config = dataclasses.replace(LEARNING, train=train)
        assert loop_of(config, tmp_path / name, linear_network(), validate=validate).fit().best_epoch == kept


def test_ctrl_c_during_validation_stops_the_run_after_its_checkpoint(tmp_path: Path) -> None:
    def validate(network: nn.Module) -> dict[str, Any]:
        os.kill(os.getpid(), signal.SIGINT)
        return steady(network)

    with pytest.raises(KeyboardInterrupt, match="continue with"):
        loop_of(LEARNING, tmp_path, linear_network(), validate=validate).fit()
    assert len(read_lines(tmp_path)) == 1


def test_a_run_within_its_budget_is_the_run_without_one(tmp_path: Path) -> None:
    finals = []
    for name, minutes in (("without", None), ("with", 1000.0)):
        config = dataclasses.replace(LEARNING, train=dataclasses.replace(LEARNING.train, max_minutes=minutes))
        torch.manual_seed(0)
        network = linear_network()
        loop_of(config, tmp_path / name, network).fit()
        finals.append(weights_of(network))
    assert are_same(*finals)


def test_the_history_says_where_the_time_went(tmp_path: Path) -> None:
    history = loop_of(LEARNING, tmp_path, linear_network()).fit().history
    for entry in history:
        assert 0 <= entry["data_wait_seconds"] + entry["augment_seconds"] <= entry["seconds"] + 0.1
    assert [entry["last"] for entry in history] == [False, False, True]


def test_tensorboard_holds_one_point_an_epoch(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    history = loop_of(LEARNING, tmp_path, linear_network()).fit().history
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    losses = events.Scalars("train/loss")
    assert [point.step for point in losses] == [1, 2, 3]
    assert [point.value for point in losses] == pytest.approx([entry["train_loss"] for entry in history])
    assert {"train/lr", "train/accuracy", "validation/accuracy", "validation/nll"} <= set(
        events.Tags()["scalars"]
    )
