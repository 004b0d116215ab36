"""A loop over twelve images whose network is so small that every figure of it can be worked out by hand."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

from mien.config import (
    AugmentConfig,
    LoopConfig,
    ModelConfig,
    OptimConfig,
    RunConfig,
)
from mien.data.dataset import TrainingBatches
from mien.progress import Reporter
from mien.train.devices import Devices
from mien.train.loop import TrainingLoop

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


def twelve_faces() -> np.ndarray:
    """Noise, and pixel k white where the class is k, else black."""
    faces = np.random.default_rng(0).integers(0, 256, (12, 1, SIDE, SIDE)).astype(np.uint8)
    faces.reshape(12, -1)[:, :CLASSES] = 255 * TARGETS
    return faces


def linear_network() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, CLASSES))


def input_of(faces: np.ndarray) -> torch.Tensor:
    """What the network sees of faces that nothing was done to."""
    return torch.from_numpy(faces).float() / 127.5 - 1


def steady(_: nn.Module) -> dict[str, Any]:
    return {"accuracy": 0.5, "macro_recall": 0.5, "nll": 1.0}


def loop_of(
    config: RunConfig,
    run: Path,
    network: nn.Module,
    *,
    targets: np.ndarray = TARGETS,
    validate: Callable[[nn.Module], dict[str, Any]] = steady,
) -> TrainingLoop:
    run.mkdir(exist_ok=True)
    batches = TrainingBatches(
        twelve_faces(),
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


def inputs_seen(network: nn.Module) -> list[torch.Tensor]:
    """Fills with what the network is given, a batch a pass."""
    inputs: list[torch.Tensor] = []
    network.register_forward_pre_hook(lambda _, arguments: inputs.append(arguments[0].cpu().clone()))
    return inputs


def weights_of(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}


def are_same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def part_of_checkpoint(run: Path, part: str) -> dict[str, torch.Tensor]:
    tensors = load_file(run / "last.safetensors")
    return {k.removeprefix(part): v for k, v in tensors.items() if k.startswith(part)}


def read_lines(run: Path) -> list[dict[str, Any]]:
    """What history.jsonl holds."""
    return [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
