"""The loop around a network so small that every figure of it can be worked out by hand."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from mien.config import (
    AugmentConfig,
    LoopConfig,
    ModelConfig,
    OptimConfig,
    RunConfig,
    SAMConfig,
    TrainingSetConfig,
)
from mien.data.dataset import TrainingBatches
from mien.progress import Reporter
from mien.train.devices import Devices
from mien.train.loop import TrainingLoop
from mien.train.precision import autocast_plugin

SIDE, CLASSES = 4, 3
# Twelve images: 6, 4 and 2 of a class.
LABELS = np.repeat(np.arange(CLASSES), (6, 4, 2))
TARGETS = np.eye(CLASSES, dtype=np.float32)[LABELS]

STILL = RunConfig(
    model=ModelConfig(size=SIDE),
    augment=AugmentConfig(rotation=0, autocontrast=0),
    optim=OptimConfig(lr=0.0),
    train=LoopConfig(epochs=1, batch_size=12, precision="fp32", threads=1),
)
"""Nothing is drawn and nothing is learned."""

LEARNING = dataclasses.replace(
    STILL, optim=OptimConfig(lr=0.1, warmup_epochs=0), train=dataclasses.replace(STILL.train, epochs=3)
)


def _faces() -> np.ndarray:
    """Noise, and pixel k white where the class is k, else black."""
    faces = np.random.default_rng(0).integers(0, 256, (12, 1, SIDE, SIDE)).astype(np.uint8)
    faces.reshape(12, -1)[:, :CLASSES] = 255 * TARGETS
    return faces


def _network() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, CLASSES))


def _input(faces: np.ndarray) -> torch.Tensor:
    """What the network sees of faces that nothing was done to."""
    return torch.from_numpy(faces).float() / 127.5 - 1


def _steady(_: nn.Module) -> dict[str, Any]:
    return {"accuracy": 0.5, "macro_recall": 0.5, "nll": 1.0}


def _loop(
    config: RunConfig,
    run: Path,
    network: nn.Module,
    *,
    targets: np.ndarray = TARGETS,
    validate: Callable[[nn.Module], dict[str, Any]] = _steady,
) -> TrainingLoop:
    run.mkdir(exist_ok=True)
    batches = TrainingBatches(
        _faces(),
        np.arange(12),
        targets.argmax(1),
        targets,
        np.ones(12, np.int32),
        np.ones(12, bool),
        balance=config.training_set.balance,
        batch_size=config.train.batch_size,
        parts=config.train.accumulate,
        seed=config.train.seed,
    )
    return TrainingLoop(
        network,
        batches,
        config,
        run,
        devices=Devices(config.train),
        validate=validate,
        reporter=Reporter(quiet=True),
    )


def _seen(network: nn.Module) -> list[torch.Tensor]:
    """Fills with what the network is given, a batch a pass."""
    inputs: list[torch.Tensor] = []
    network.register_forward_pre_hook(lambda _, arguments: inputs.append(arguments[0].cpu().clone()))
    return inputs


def _weights(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}


def _same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def _part(run: Path, part: str) -> dict[str, torch.Tensor]:
    tensors = load_file(run / "last.safetensors")
    return {k.removeprefix(part): v for k, v in tensors.items() if k.startswith(part)}


@pytest.mark.parametrize("rho", [0.0, 0.5])
def test_accuracy_and_loss_are_those_of_the_epochs_images_before_the_climb(
    tmp_path: Path, rho: float
) -> None:
    config = dataclasses.replace(
        STILL,
        optim=OptimConfig(lr=0.0, sam=SAMConfig(rho=rho)),
        train=dataclasses.replace(STILL.train, epochs=2, batch_size=4),
    )
    # Soft labels: the most probable class counts.
    targets = 0.7 * TARGETS + 0.1
    network = _network()
    with torch.no_grad():
        logits = network(_input(_faces()))
    right = sum(int(logits[i].argmax()) == LABELS[i] for i in range(12))
    assert 0 < right < 12
    loss = -(torch.from_numpy(targets) * logits.log_softmax(1)).sum(1).mean()
    history = _loop(config, tmp_path, network, targets=targets).fit().history
    assert [entry["train_accuracy"] for entry in history] == [right / 12] * 2
    assert [entry["train_loss"] for entry in history] == pytest.approx([float(loss)] * 2, rel=1e-5)


def test_logit_adjustment_adds_the_log_of_the_class_shares(tmp_path: Path) -> None:
    config = dataclasses.replace(STILL, training_set=TrainingSetConfig(balance="logit_adjustment"))
    targets = 0.7 * TARGETS + 0.1
    network = _network()
    for parameter in network.parameters():
        nn.init.zeros_(parameter)
    # A network that knows nothing then predicts the shares of the soft labels: its loss is their entropy.
    shares = 0.7 * np.array([6, 4, 2]) / 12 + 0.1
    (entry,) = _loop(config, tmp_path, network, targets=targets).fit().history
    assert entry["train_loss"] == pytest.approx(float(-(shares * np.log(shares)).sum()), rel=1e-5)


def test_label_smoothing_spreads_the_target(tmp_path: Path) -> None:
    config = dataclasses.replace(STILL, train=dataclasses.replace(STILL.train, label_smoothing=0.3))
    network = _network()
    with torch.no_grad():
        logarithms = network(_input(_faces())).log_softmax(1)
    loss = -(torch.from_numpy(0.7 * TARGETS + 0.1) * logarithms).sum(1).mean()
    (entry,) = _loop(config, tmp_path, network).fit().history
    assert entry["train_loss"] == pytest.approx(float(loss), rel=1e-5)


def test_mixup_blends_what_the_network_sees_and_what_it_should_say(tmp_path: Path) -> None:
    config = dataclasses.replace(STILL, augment=dataclasses.replace(STILL.augment, mixup=5.0))
    network = _network()
    seen = _seen(network)
    (entry,) = _loop(config, tmp_path, network).fit().history
    # The first pixels are the label, so they tell the blended label too.
    blended = (seen[0].flatten(1)[:, :CLASSES] + 1) / 2
    assert bool(((blended > 0.1) & (blended < 0.9)).any())
    with torch.no_grad():
        loss = -(blended * network.cpu()(seen[0]).log_softmax(1)).sum(1).mean()
    assert entry["train_loss"] == pytest.approx(float(loss), rel=1e-5)


def test_the_network_sees_augmented_faces(tmp_path: Path) -> None:
    config = dataclasses.replace(STILL, augment=AugmentConfig(rotation=0, autocontrast=0, flip=1.0))
    network = _network()
    seen = _seen(network)
    loop = _loop(config, tmp_path, network)
    faces = _faces()[loop.batches.order(0)[0]]
    loop.fit()
    torch.testing.assert_close(seen[0], _input(faces).flip(-1), rtol=0, atol=1e-5)


def test_augmentation_is_drawn_anew_for_each_step_and_once_for_both_passes_of_sam(tmp_path: Path) -> None:
    config = dataclasses.replace(
        STILL,
        augment=AugmentConfig(rotation=0, autocontrast=0, flip=0.5),
        optim=OptimConfig(lr=0.0, sam=SAMConfig(rho=0.1)),
        train=dataclasses.replace(STILL.train, epochs=2),
    )
    network = _network()
    seen = _seen(network)
    loop = _loop(config, tmp_path, network)
    orders = [loop.batches.order(epoch)[0] for epoch in range(2)]
    loop.fit()
    assert len(seen) == 4
    assert torch.equal(seen[0], seen[1])
    assert torch.equal(seen[2], seen[3])
    # Which places of the batch hold a mirror image.
    mirrored = [
        ((x - _input(_faces()[order])).abs() > 0.01).flatten(1).any(1)
        for x, order in zip(seen[::2], orders, strict=True)
    ]
    assert not torch.equal(*mirrored)


def test_the_running_average_is_what_is_validated_and_kept(tmp_path: Path) -> None:
    config = dataclasses.replace(
        LEARNING, train=dataclasses.replace(LEARNING.train, epochs=1, batch_size=4, ema=0.9)
    )
    validated = []

    def validate(network: nn.Module) -> dict[str, Any]:
        validated.append(_weights(network))
        return _steady(network)

    network = _network()
    start = _weights(network)
    _loop(config, tmp_path, network, validate=validate).fit()
    average, trained = _part(tmp_path, "average.module."), _part(tmp_path, "model.")
    assert _same(load_file(tmp_path / "best.safetensors"), average)
    assert _same(validated[0], average)
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
        validated.append(_weights(network))
        return figures[len(validated) - 1]

    position = _loop(config, tmp_path, _network(), validate=validate).fit()
    assert position.best_epoch == kept
    best = load_file(tmp_path / "best.safetensors")
    assert [_same(best, weights) for weights in validated] == [epoch == kept for epoch in (1, 2, 3)]


def _micro(config: RunConfig, accumulate: int) -> RunConfig:
    return dataclasses.replace(config, train=dataclasses.replace(config.train, accumulate=accumulate))


def test_micro_batches_without_sam_take_the_same_step(tmp_path: Path) -> None:
    networks = []
    for accumulate in (1, 3):
        torch.manual_seed(0)
        networks.append(_network())
        folder = tmp_path / str(accumulate)
        history = _loop(_micro(LEARNING, accumulate), folder, networks[-1]).fit().history
        assert [entry["images"] for entry in history] == [12] * 3
    for a, b in zip(*(_weights(network).values() for network in networks), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_each_micro_batch_climbs_by_itself(tmp_path: Path) -> None:
    config = dataclasses.replace(
        LEARNING,
        optim=OptimConfig(
            name="sgd", lr=0.1, momentum=0, weight_decay=0, warmup_epochs=0, sam=SAMConfig(rho=0.5)
        ),
        train=dataclasses.replace(LEARNING.train, epochs=1, accumulate=2),
    )
    torch.manual_seed(0)
    network = _network()
    linear = network[1]
    start = [linear.weight.detach().clone(), linear.bias.detach().clone()]
    loop = _loop(config, tmp_path, network)
    order = loop.batches.order(0)[0]
    loop.fit()

    def gradient(weights: list[torch.Tensor], rows: np.ndarray) -> tuple[torch.Tensor, ...]:
        leaves = [w.clone().requires_grad_() for w in weights]
        logits = torch.nn.functional.linear(_input(_faces()[rows]).flatten(1), *leaves)
        loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(LABELS[rows]))
        return torch.autograd.grad(loss, leaves)

    wanted = []
    for rows in (order[:6], order[6:]):
        first = gradient(start, rows)
        norm = torch.sqrt(sum((g**2).sum() for g in first))
        wanted.append(gradient([w + 0.5 * g / norm for w, g in zip(start, first, strict=True)], rows))
    for now, before, one, two in zip(network.parameters(), start, *wanted, strict=True):
        torch.testing.assert_close(now.detach().cpu(), before - 0.1 * (one + two) / 2, rtol=1e-4, atol=1e-6)


def test_a_budget_ends_the_run_and_the_schedule_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = dataclasses.replace(
        LEARNING,
        optim=OptimConfig(lr=0.1, warmup_epochs=0, final_lr=0.0),
        train=dataclasses.replace(LEARNING.train, epochs=100, batch_size=4, max_minutes=1.0),
    )
    # Two seconds a step, four a validation.
    loop = _loop(config, tmp_path, _network())
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
        return _steady(_)

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


def test_a_step_that_overflows_in_fp16_is_taken_again_with_a_smaller_scale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A command line asks for a GPU; the processor's fp16 is slow but right.
    monkeypatch.setattr(
        "mien.train.devices.precision_plugin", lambda config: autocast_plugin("16-mixed", "cpu")
    )
    config = dataclasses.replace(LEARNING, train=dataclasses.replace(LEARNING.train, precision="fp16"))
    finals, scales = [], []
    for name, scale in (("fits", 2.0**10), ("overflows", 2.0**40)):
        torch.manual_seed(0)
        network = _network()
        loop = _loop(config, tmp_path / name, network)
        loop.step.loss_scale.scale = scale
        position = loop.fit()
        assert [entry["images"] for entry in position.history] == [12] * 3
        finals.append(_weights(network))
        scales.append(loop.step.loss_scale.scale)
    assert scales[0] == 2.0**10 < scales[1] < 2.0**40
    for a, b in zip(*(final.values() for final in finals), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)
    resumed = _loop(config, tmp_path / "overflows", _network())
    resumed.resume()
    assert resumed.step.loss_scale.scale == scales[1]


def read_lines(run: Path) -> list[dict[str, Any]]:
    """What history.jsonl holds."""
    return [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]


def test_an_epochs_last_rate_is_what_the_history_says(tmp_path: Path) -> None:
    config = dataclasses.replace(
        LEARNING,
        optim=OptimConfig(lr=0.1, warmup_epochs=0, final_lr=0.0),
        train=dataclasses.replace(LEARNING.train, batch_size=4),
    )
    history = _loop(config, tmp_path, _network()).fit().history
    # Nine steps of half a cosine.
    rates = [0.05 * (1 + np.cos(np.pi * step / 9)) for step in (2, 5, 8)]
    assert [entry["lr"] for entry in history] == pytest.approx(rates)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_each_micro_batch_draws_its_own_augmentation(tmp_path: Path, accumulate: int) -> None:
    config = dataclasses.replace(
        STILL,
        augment=AugmentConfig(rotation=0, autocontrast=0, flip=0.5),
        train=dataclasses.replace(STILL.train, accumulate=accumulate),
    )
    network = _network()
    seen = _seen(network)
    loop = _loop(config, tmp_path, network)
    faces = _input(_faces()[loop.batches.order(0)[0]]).split(12 // accumulate)
    loop.fit()
    mirrored = [((x - face).abs() > 0.01).flatten(1).any(1) for x, face in zip(seen, faces, strict=True)]
    assert all(bool(m.any()) and not bool(m.all()) for m in mirrored)
    assert accumulate == 1 or not torch.equal(*mirrored)


def test_the_running_average_by_hand(tmp_path: Path) -> None:
    config = dataclasses.replace(
        LEARNING, train=dataclasses.replace(LEARNING.train, epochs=2, batch_size=4, ema=0.4)
    )
    network = _network()
    loop = _loop(config, tmp_path, network)
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
    torch.testing.assert_close(_part(tmp_path, "average.module.")["1.weight"], average.cpu())


def test_a_finished_run_whose_history_was_cut_off_is_whole_again_after_resuming(tmp_path: Path) -> None:
    history = _loop(LEARNING, tmp_path, _network()).fit().history
    lines = (tmp_path / "history.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "history.jsonl").write_text("".join(lines[:-1]))
    loop = _loop(LEARNING, tmp_path, _network())
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
    loop = _loop(config, tmp_path, _network())
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
    _loop(
        dataclasses.replace(LEARNING, train=dataclasses.replace(LEARNING.train, epochs=1)),
        tmp_path,
        _network(),
    ).fit()
    assert not (tmp_path / "evaluation").exists()


def test_a_selection_figure_that_is_no_number_is_never_the_best(tmp_path: Path) -> None:
    for name, nlls, kept in (("first", [np.nan, 1.0, 2.0], 2), ("later", [1.0, np.nan, 0.5], 3)):
        train = dataclasses.replace(LEARNING.train, selection="nll")
        values = iter(nlls)

        def validate(_: nn.Module, values: Any = values) -> dict[str, Any]:
            return {"accuracy": 0.5, "macro_recall": 0.5, "nll": float(next(values))}

        config = dataclasses.replace(LEARNING, train=train)
        assert _loop(config, tmp_path / name, _network(), validate=validate).fit().best_epoch == kept


def test_ctrl_c_during_validation_stops_the_run_after_its_checkpoint(tmp_path: Path) -> None:
    def validate(network: nn.Module) -> dict[str, Any]:
        os.kill(os.getpid(), signal.SIGINT)
        return _steady(network)

    with pytest.raises(KeyboardInterrupt, match="continue with"):
        _loop(LEARNING, tmp_path, _network(), validate=validate).fit()
    assert len(read_lines(tmp_path)) == 1


class _WithOwnLoss(nn.Module):
    has_own_loss = True

    def __init__(self) -> None:
        super().__init__()
        self.inner = _network()

    def forward(self, x: torch.Tensor, targets: torch.Tensor | None = None) -> Any:
        logits = self.inner(x)
        return logits if targets is None else (logits, 3.0 * self.inner[1].bias.sum())


def test_a_networks_own_loss_is_added_to_what_is_learned(tmp_path: Path) -> None:
    biases = []
    for wrapped in (False, True):
        torch.manual_seed(0)
        network: Any = _WithOwnLoss() if wrapped else _network()
        layer = network.inner[1] if wrapped else network[1]
        optim = OptimConfig(name="sgd", lr=0.1, momentum=0, weight_decay=0, warmup_epochs=0)
        config = dataclasses.replace(STILL, optim=optim)
        _loop(config, tmp_path / str(wrapped), network).fit()
        biases.append(layer.bias.detach().cpu())
    torch.testing.assert_close(biases[1], biases[0] - 0.1 * 3.0)


def test_a_run_within_its_budget_is_the_run_without_one(tmp_path: Path) -> None:
    finals = []
    for name, minutes in (("without", None), ("with", 1000.0)):
        config = dataclasses.replace(LEARNING, train=dataclasses.replace(LEARNING.train, max_minutes=minutes))
        torch.manual_seed(0)
        network = _network()
        _loop(config, tmp_path / name, network).fit()
        finals.append(_weights(network))
    assert _same(*finals)


def test_the_history_says_where_the_time_went(tmp_path: Path) -> None:
    history = _loop(LEARNING, tmp_path, _network()).fit().history
    for entry in history:
        assert 0 <= entry["data_wait_seconds"] + entry["augment_seconds"] <= entry["seconds"] + 0.1
    assert [entry["last"] for entry in history] == [False, False, True]


def test_tensorboard_holds_one_point_an_epoch(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    history = _loop(LEARNING, tmp_path, _network()).fit().history
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    losses = events.Scalars("train/loss")
    assert [point.step for point in losses] == [1, 2, 3]
    assert [point.value for point in losses] == pytest.approx([entry["train_loss"] for entry in history])
    assert {"train/lr", "train/accuracy", "validation/accuracy", "validation/nll"} <= set(
        events.Tags()["scalars"]
    )
