"""A run's state in one safetensors file: weights, running average, optimizer, position, history.

One file, written to a temporary name and renamed, so that a kill or a full disk leaves the previous one
whole. Order, augmentation and stochastic depth are drawn from (seed, step), so no generator state has to be
kept.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.optim import Optimizer

from mien.errors import CheckpointError
from mien.files import replacing
from mien.models.weights import read_tensors

LAST = "last.safetensors"
"""The file in a run's folder that `--resume` reads."""


@dataclass
class Position:
    """How far a run has come."""

    epoch: int = 0
    """Epochs finished."""
    step: int = 0
    """Steps of the current epoch finished."""
    loss_sum: float = 0.0
    """Summed loss of the current epoch's images."""
    correct: int = 0
    """Images of the current epoch whose most probable class was predicted."""
    seen: int = 0
    """Images of the current epoch so far."""
    seconds: float = 0.0
    """Training time so far, over all sittings."""
    waited: float = 0.0
    """Seconds of it that process 0 spent waiting for pictures."""
    augmented: float = 0.0
    """Seconds of it that process 0 spent augmenting."""
    validation_seconds: float = 0.0
    """Time of all validations so far."""
    scheduled: int = 0
    """Where on the schedule the last step lay, in steps; beyond its number where a budget hurries it."""
    loss_scale: dict[str, float] = field(default_factory=dict)
    """State of fp16's loss scale."""
    best: float = float("-inf")
    """The selection figure of the kept checkpoint."""
    best_epoch: int = 0
    """The epoch of the kept checkpoint."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """One entry a finished epoch; what history.jsonl holds."""


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file, all of it or nothing.

    Raises:
        OSError: the disk is full or not writable; an older file at `path` is untouched.
    """
    # Serialised in memory first: safetensors' own writer reports a full disk as its own exception.
    data = save({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, metadata)
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def save_state(
    path: Path, position: Position, model: nn.Module, average: nn.Module | None, optimizer: Optimizer
) -> None:
    """Write everything that continuing needs."""
    tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
    if average is not None:
        tensors |= {f"average.{k}": v for k, v in average.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        for key, value in state.items():
            if value is not None:
                tensors[f"optimizer.{index}.{key}"] = torch.as_tensor(value)
    write_tensors(path, tensors, {"position": json.dumps(asdict(position))})


def load_state(path: Path, model: nn.Module, average: nn.Module | None, optimizer: Optimizer) -> Position:
    """Restore what `save_state` wrote into the same objects, and return where the run stood.

    Raises:
        CheckpointError: the file is missing, damaged, or of another model or optimizer.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no checkpoint there; start the run without --resume.")
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "average": {}, "optimizer": {}}
    for name, tensor in read_tensors(path).items():
        part, _, rest = name.partition(".")
        parts.setdefault(part, {})[rest] = tensor
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
    try:
        position = Position(**json.loads(metadata["position"]))
        model.load_state_dict(parts["model"])
        if average is not None:
            average.load_state_dict(parts["average"])
        _load_optimizer(optimizer, parts["optimizer"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(f"{path}: the checkpoint does not fit this run's config ({reason}).") from None
    return position


def _load_optimizer(optimizer: Optimizer, tensors: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = tensor
    groups = optimizer.state_dict()["param_groups"]
    expected = sum(len(group["params"]) for group in groups)
    # Fewer are right: what has been frozen so far has no state yet.
    if state and max(state) >= expected:
        raise ValueError(f"it holds optimizer state of {max(state) + 1} tensors, the model has {expected}")
    optimizer.load_state_dict({"state": state, "param_groups": groups})
