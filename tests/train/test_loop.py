"""What a step of the loop sees and learns, with a network whose figures can be worked out by hand."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.train.small_loop import (
    CLASSES,
    LABELS,
    LEARNING,
    STILL,
    TARGETS,
    input_of,
    inputs_seen,
    linear_network,
    loop_of,
    twelve_faces,
    weights_of,
)
from torch import nn

from mien.config import (
    AugmentConfig,
    OptimConfig,
    RunConfig,
    SAMConfig,
    TrainingSetConfig,
)
from mien.train.precision import autocast_plugin


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
    network = linear_network()
    with torch.no_grad():
        logits = network(input_of(twelve_faces()))
    right = sum(int(logits[i].argmax()) == LABELS[i] for i in range(12))
    assert 0 < right < 12
    loss = -(torch.from_numpy(targets) * logits.log_softmax(1)).sum(1).mean()
    history = loop_of(config, tmp_path, network, targets=targets).fit().history
    assert [entry["train_accuracy"] for entry in history] == [right / 12] * 2
    assert [entry["train_loss"] for entry in history] == pytest.approx([float(loss)] * 2, rel=1e-5)


def test_logit_adjustment_adds_the_log_of_the_class_shares(tmp_path: Path) -> None:
    config = dataclasses.replace(STILL, training_set=TrainingSetConfig(balance="logit_adjustment"))
    targets = 0.7 * TARGETS + 0.1
    network = linear_network()
    for parameter in network.parameters():
        nn.init.zeros_(parameter)
    # A network that knows nothing then predicts the shares of the soft labels: its loss is their entropy.
    shares = 0.7 * np.array([6, 4, 2]) / 12 + 0.1
    (entry,) = loop_of(config, tmp_path, network, targets=targets).fit().history
    assert entry["train_loss"] == pytest.approx(float(-(shares * np.log(shares)).sum()), rel=1e-5)


def test_label_smoothing_spreads_the_target(tmp_path: Path) -> None:
    config = dataclasses.replace(STILL, train=dataclasses.replace(STILL.train, label_smoothing=0.3))
    network = linear_network()
    with torch.no_grad():
        logarithms = network(input_of(twelve_faces())).log_softmax(1)
    loss = -(torch.from_numpy(0.7 * TARGETS + 0.1) * logarithms).sum(1).mean()
    (entry,) = loop_of(config, tmp_path, network).fit().history
    assert entry["train_loss"] == pytest.approx(float(loss), rel=1e-5)


def test_mixup_blends_what_the_network_sees_and_what_it_should_say(tmp_path: Path) -> None:
    config = dataclasses.replace(STILL, augment=dataclasses.replace(STILL.augment, mixup=5.0))
    network = linear_network()
    seen = inputs_seen(network)
    (entry,) = loop_of(config, tmp_path, network).fit().history
    # The first pixels are the label, so they tell the blended label too.
    blended = (seen[0].flatten(1)[:, :CLASSES] + 1) / 2
    assert bool(((blended > 0.1) & (blended < 0.9)).any())
    with torch.no_grad():
        loss = -(blended * network.cpu()(seen[0]).log_softmax(1)).sum(1).mean()
    assert entry["train_loss"] == pytest.approx(float(loss), rel=1e-5)


def test_the_network_sees_augmented_faces(tmp_path: Path) -> None:
    config = dataclasses.replace(STILL, augment=AugmentConfig(rotation=0, autocontrast=0, flip=1.0))
    network = linear_network()
    seen = inputs_seen(network)
    loop = loop_of(config, tmp_path, network)
    faces = twelve_faces()[loop.batches.order(0)[0]]
    loop.fit()
    torch.testing.assert_close(seen[0], input_of(faces).flip(-1), rtol=0, atol=1e-5)


def test_augmentation_is_drawn_anew_for_each_step_and_once_for_both_passes_of_sam(tmp_path: Path) -> None:
    config = dataclasses.replace(
        STILL,
        augment=AugmentConfig(rotation=0, autocontrast=0, flip=0.5),
        optim=OptimConfig(lr=0.0, sam=SAMConfig(rho=0.1)),
        train=dataclasses.replace(STILL.train, epochs=2),
    )
    network = linear_network()
    seen = inputs_seen(network)
    loop = loop_of(config, tmp_path, network)
    orders = [loop.batches.order(epoch)[0] for epoch in range(2)]
    loop.fit()
    assert len(seen) == 4
    assert torch.equal(seen[0], seen[1])
    assert torch.equal(seen[2], seen[3])
    # Which places of the batch hold a mirror image.
    mirrored = [
        ((x - input_of(twelve_faces()[order])).abs() > 0.01).flatten(1).any(1)
        for x, order in zip(seen[::2], orders, strict=True)
    ]
    assert not torch.equal(*mirrored)


def _micro(config: RunConfig, accumulate: int) -> RunConfig:
    return dataclasses.replace(config, train=dataclasses.replace(config.train, accumulate=accumulate))


def test_micro_batches_without_sam_take_the_same_step(tmp_path: Path) -> None:
    networks = []
    for accumulate in (1, 3):
        torch.manual_seed(0)
        networks.append(linear_network())
        folder = tmp_path / str(accumulate)
        history = loop_of(_micro(LEARNING, accumulate), folder, networks[-1]).fit().history
        assert [entry["images"] for entry in history] == [12] * 3
    for a, b in zip(*(weights_of(network).values() for network in networks), strict=True):
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
    network = linear_network()
    linear = network[1]
    start = [linear.weight.detach().clone(), linear.bias.detach().clone()]
    loop = loop_of(config, tmp_path, network)
    order = loop.batches.order(0)[0]
    loop.fit()

    def gradient(weights: list[torch.Tensor], rows: np.ndarray) -> tuple[torch.Tensor, ...]:
        leaves = [w.clone().requires_grad_() for w in weights]
        logits = torch.nn.functional.linear(input_of(twelve_faces()[rows]).flatten(1), *leaves)
        loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(LABELS[rows]))
        return torch.autograd.grad(loss, leaves)

    wanted = []
    for rows in (order[:6], order[6:]):
        first = gradient(start, rows)
        norm = torch.sqrt(sum((g**2).sum() for g in first))
        wanted.append(gradient([w + 0.5 * g / norm for w, g in zip(start, first, strict=True)], rows))
    for now, before, one, two in zip(network.parameters(), start, *wanted, strict=True):
        torch.testing.assert_close(now.detach().cpu(), before - 0.1 * (one + two) / 2, rtol=1e-4, atol=1e-6)


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
        network = linear_network()
        loop = loop_of(config, tmp_path / name, network)
        loop.step.loss_scale.scale = scale
        position = loop.fit()
        assert [entry["images"] for entry in position.history] == [12] * 3
        finals.append(weights_of(network))
        scales.append(loop.step.loss_scale.scale)
    assert scales[0] == 2.0**10 < scales[1] < 2.0**40
    for a, b in zip(*(final.values() for final in finals), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)
    resumed = loop_of(config, tmp_path / "overflows", linear_network())
    resumed.resume()
    assert resumed.step.loss_scale.scale == scales[1]


@pytest.mark.parametrize("accumulate", [1, 2])
def test_each_micro_batch_draws_its_own_augmentation(tmp_path: Path, accumulate: int) -> None:
    config = dataclasses.replace(
        STILL,
        augment=AugmentConfig(rotation=0, autocontrast=0, flip=0.5),
        train=dataclasses.replace(STILL.train, accumulate=accumulate),
    )
    network = linear_network()
    seen = inputs_seen(network)
    loop = loop_of(config, tmp_path, network)
    faces = input_of(twelve_faces()[loop.batches.order(0)[0]]).split(12 // accumulate)
    loop.fit()
    mirrored = [((x - face).abs() > 0.01).flatten(1).any(1) for x, face in zip(seen, faces, strict=True)]
    assert all(bool(m.any()) and not bool(m.all()) for m in mirrored)
    assert accumulate == 1 or not torch.equal(*mirrored)


class _WithOwnLoss(nn.Module):
    has_own_loss = True

    def __init__(self) -> None:
        super().__init__()
        self.inner = linear_network()

    def forward(self, x: torch.Tensor, targets: torch.Tensor | None = None) -> Any:
        logits = self.inner(x)
        return logits if targets is None else (logits, 3.0 * self.inner[1].bias.sum())


def test_a_networks_own_loss_is_added_to_what_is_learned(tmp_path: Path) -> None:
    biases = []
    for wrapped in (False, True):
        torch.manual_seed(0)
        network: Any = _WithOwnLoss() if wrapped else linear_network()
        layer = network.inner[1] if wrapped else network[1]
        optim = OptimConfig(name="sgd", lr=0.1, momentum=0, weight_decay=0, warmup_epochs=0)
        config = dataclasses.replace(STILL, optim=optim)
        loop_of(config, tmp_path / str(wrapped), network).fit()
        biases.append(layer.bias.detach().cpu())
    torch.testing.assert_close(biases[1], biases[0] - 0.1 * 3.0)
