"""Where starting weights come from: timm's hub, a safetensors file, or a run's folder. Never a pickle."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from mien.errors import CheckpointError, InputError

BEST = "best.safetensors"
"""The file in a run's folder that holds the weights that validation chose."""


def weights_path(source: str | Path) -> Path:
    """The .safetensors file that a run's folder or a path stands for.

    Raises:
        InputError: there is none.
    """
    path = Path(source)
    if path.is_dir():
        path = path / BEST
    if not path.is_file():
        raise InputError(f"{path}: no weights there; give a run's folder or a .safetensors file.")
    if path.suffix != ".safetensors":
        raise InputError(f"{path}: weights are read from .safetensors only, never from a pickle.")
    return path


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file, on the CPU.

    Raises:
        CheckpointError: the file is not whole or not of this format.
    """
    try:
        return load_file(path)
    except SafetensorError as error:
        raise CheckpointError(f"{path}: not a whole safetensors file ({error}).") from None


def load_weights(model: nn.Module, path: Path) -> None:
    """Fill `model` from a safetensors file.

    Args:
        model: the network, already of the shape that the file should have.
        path: a .safetensors file.

    Raises:
        CheckpointError: a tensor is missing, left over or of another shape; the first such tensor is named.
    """
    _fill(model, read_tensors(path), path)


def load_starting_weights(model: nn.Module, source: Path, labels: Sequence[str]) -> None:
    """Fill `model` from another run or from a file of timm's; the head only where it has the same classes.

    Args:
        model: the network that is trained next.
        source: a run's folder, its weights, or timm's .safetensors of the encoder.
        labels: the model's class names.

    Raises:
        InputError: there are no weights.
        CheckpointError: the encoder's tensors do not fit.
    """
    path = weights_path(source)
    tensors = read_tensors(path)
    if not any(name.startswith("encoder.") for name in tensors):
        # timm's own file: it knows neither our prefix nor our head, nor what lies between the two.
        tensors = {
            f"encoder.{name}": value
            for name, value in tensors.items()
            if not name.startswith(("head.", "fc.", "classifier."))
        }
        tensors |= {n: value for n, value in model.state_dict().items() if not n.startswith("encoder.")}
    own = model.state_dict()
    record = path.parent / "run.json"
    theirs = json.loads(record.read_text(encoding="utf-8"))["labels"] if record.is_file() else None
    head = tensors.get("head.weight")
    same_head = head is not None and head.shape == own["head.weight"].shape
    if not same_head or (theirs is not None and labels and list(labels) != theirs):
        tensors |= {name: value for name, value in own.items() if name.startswith("head.")}
    if not any(name.startswith("se.") for name in tensors):
        tensors |= {name: value for name, value in own.items() if name.startswith("se.")}
    _fill(model, tensors, path)


def _fill(model: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    expected = model.state_dict()
    for name, value in expected.items():
        if name not in tensors:
            raise CheckpointError(f"{path}: it holds no {name}; the weights are of another model.")
        if tensors[name].shape != value.shape:
            raise CheckpointError(
                f"{path}: {name} has shape {list(tensors[name].shape)}, the model wants {list(value.shape)}; "
                "use the config that the weights were trained with."
            )
    left_over = sorted(tensors.keys() - expected.keys())
    if left_over:
        raise CheckpointError(
            f"{path}: it holds {left_over[0]}, which the model has not; the weights are of another model."
        )
    model.load_state_dict(tensors)


def hub_failure(name: str, error: Exception) -> InputError:
    """What to say when timm's hub could not be reached or has no weights of that name."""
    reason = str(error).strip().splitlines()[0][:160] if str(error).strip() else type(error).__name__
    return InputError(
        f"model.pretrained: the hub's weights of {name} could not be had ({reason}); "
        "fetch the .safetensors file where there is a network and give its path as model.pretrained."
    )
