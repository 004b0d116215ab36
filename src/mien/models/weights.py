"""Where starting weights come from: timm's hub, a safetensors file, or a run's folder. Never a pickle."""

from __future__ import annotations

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


def load_weights(model: nn.Module, path: Path, *, except_head: bool = False) -> None:
    """Fill `model` from a safetensors file.

    Args:
        model: the network, already of the shape that the file should have.
        path: a .safetensors file.
        except_head: leave the head as it is, for classes of another number.

    Raises:
        CheckpointError: a tensor is missing, left over or of another shape; the first such tensor is named.
    """
    tensors = read_tensors(path)
    expected = model.state_dict()
    if except_head:
        tensors = {**tensors, **{k: v for k, v in expected.items() if k.startswith("head.")}}
        tensors = {k: v for k, v in tensors.items() if k in expected or not k.startswith("head.")}
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
