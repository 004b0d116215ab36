"""The loss around a trained network, on a plane through its weights (the paper's Fig. 4, claim C9).

Li et al., "Visualizing the loss landscape of neural nets", NeurIPS 2018, section 4: two random Gaussian
directions, each filter scaled to the norm of the network's own filter,

    d[i] <- d[i] / ||d[i]|| * ||w[i]||

and L(w + alpha d1 + beta d2) on a grid. A filter is what makes one output: a row of a linear layer, a
kernel of a convolution. Biases, norms, position tables and class tokens do not move. The scaling takes away
what ReLU and norms leave open, the size of a layer's weights, so that networks can be set side by side. One
pair of directions out of millions shows no more than itself: `mien.evaluate.sharpness.random_rise` goes with
it.

Everything is computed in float32. bf16 is faster, but keeps 8 bits of a weight: what it rounds would show as
roughness of a surface whose smoothness is the question. Networks are in evaluation mode, so the surface is of
the function that is used: no stochastic depth, BatchNorm by its running statistics.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from scipy.ndimage import minimum_filter  # type: ignore[import-untyped]
from torch import Tensor, nn

from mien.config import ModelConfig
from mien.data.targets import Targets
from mien.errors import InputError
from mien.evaluate.predict import BATCH, input_batches

Directions = Mapping[str, Tensor]
"""Parameter name to what is added to it for a coordinate of 1, of the parameter's shape."""

RINGS = (0.25, 0.5, 1.0)
"""Distances from the centre at which the rise of the loss is given."""

MOVING_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True)
class LossSample:
    """The images on which a loss is measured; the same for all networks that are compared."""

    inputs: Tensor
    """float32 [N, C, S, S], normalised faces."""
    targets: Tensor
    """float32 [N, K], soft labels that sum to 1."""

    def __post_init__(self) -> None:
        if len(self.inputs) != len(self.targets) or len(self.inputs) == 0:
            raise InputError(
                f"a loss needs images and as many targets, not {len(self.inputs)} and {len(self.targets)}."
            )

    def __len__(self) -> int:
        return len(self.inputs)

    def batches(self, size: int = BATCH) -> Iterator[tuple[Tensor, Tensor]]:
        """Inputs and targets, `size` images at a time."""
        yield from zip(self.inputs.split(size), self.targets.split(size), strict=True)


@dataclass(frozen=True)
class Landscape:
    """A surface of loss and accuracy."""

    coordinates: npt.NDArray[np.float64]
    """float64 [G], along both directions; 0 is among them and stands for the trained weights."""
    loss: npt.NDArray[np.float64]
    """float64 [G, G], mean cross-entropy in nats, rows by the first direction; inf or NaN where it is
    not finite."""
    accuracy: npt.NDArray[np.float64]
    """float64 [G, G], share of images whose likeliest class is the target's."""
    count: int
    """Images."""
    seed: int
    """Of the directions."""
    standard_error: float
    """Of the loss at the trained weights, over images."""
    moving: float
    """Share of the parameters that move."""

    def rises(self) -> dict[str, float]:
        """Mean rise of the loss over the centre at the distances of `RINGS`, within half a grid step; NaN
        where no point but the centre lies there."""
        distance = np.hypot(*np.meshgrid(self.coordinates, self.coordinates, indexing="ij"))
        half_step = (self.coordinates[1] - self.coordinates[0]) / 2
        middle = len(self.coordinates) // 2
        rises = {}
        for ring in RINGS:
            there = (np.abs(distance - ring) <= half_step + 1e-12) & (distance > 0)
            mean = float(self.loss[there].mean()) if there.any() else math.nan
            rises[f"{ring:g}"] = mean - float(self.loss[middle, middle])
        return rises

    def local_minima(self) -> int:
        """Inner points of the grid whose eight neighbours are all higher: 1 for a single bowl."""
        filled = np.where(np.isfinite(self.loss), self.loss, np.inf)
        ring = np.ones((3, 3), bool)
        ring[1, 1] = False
        lower = filled < minimum_filter(filled, footprint=ring, mode="nearest")
        return int(lower[1:-1, 1:-1].sum())

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: `alphas`, `betas`, `loss` and `accuracy` as lists (null where not finite), and what
        they are worth."""
        coordinates = self.coordinates.tolist()
        return {
            "alphas": coordinates,
            "betas": coordinates,
            "loss": [[v if math.isfinite(v) else None for v in row] for row in self.loss.tolist()],
            "accuracy": self.accuracy.tolist(),
            "count": self.count,
            "seed": self.seed,
            "standard_error": self.standard_error,
            "moving": self.moving,
            "rises": {k: v if math.isfinite(v) else None for k, v in self.rises().items()},
            "local_minima": self.local_minima(),
        }


def loss_sample(
    pack: npt.NDArray[np.uint8], targets: Targets, config: ModelConfig, *, count: int = 500, seed: int = 0
) -> LossSample:
    """Images drawn without replacement from one split, as many classes as come.

    Args:
        pack: uint8 [N, C, H, W].
        targets: one split's rows; Li et al. and SAM speak of the training loss.
        config: the network's input.
        count: images; all where there are fewer.
        seed: of the draw.
    """
    drawn = np.random.default_rng(seed).permutation(len(targets))[:count]
    x = torch.cat(list(input_batches(pack, targets.pack_rows[drawn], config)))
    return LossSample(x, torch.from_numpy(targets.soft[drawn]))


def filter_normalised(model: nn.Module, seed: int) -> dict[str, Tensor]:
    """One random direction, scaled filter by filter to the weights of a network.

    A parameter's draw depends on its name, its shape and the seed alone: two networks that differ in an SE
    block get the same draw everywhere else.

    Args:
        model: has parameters on one device.
        seed: of the draw, not negative.

    Raises:
        InputError: the network has no linear or convolutional layer.
    """
    direction: dict[str, Tensor] = {}
    weights = {id(m.weight) for m in model.modules() if isinstance(m, MOVING_LAYERS)}
    for name, parameter in model.named_parameters():
        if id(parameter) not in weights:
            continue
        random = np.random.default_rng([seed, zlib.crc32(name.encode())])
        drawn = torch.from_numpy(random.standard_normal(tuple(parameter.shape), np.float32)).flatten(1)
        norms = parameter.detach().cpu().flatten(1).norm(dim=1, keepdim=True)
        scaled = drawn * (norms / drawn.norm(dim=1, keepdim=True))
        direction[name] = scaled.view(parameter.shape).to(parameter)
    if not direction:
        raise InputError("the network has no linear or convolutional layer, so no filter could be moved.")
    return direction


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Evaluation mode for a block; weights, buffers, gradients and modes come back bit by bit, whatever is
    raised."""
    tensors = [*model.parameters(), *model.buffers()]
    # A copy, not a subtraction: (w + d) - d is not w in floating point.
    kept = [t.detach().clone() for t in tensors]
    gradients = [(p, p.grad) for p in model.parameters()]
    modes = [(module, module.training) for module in model.modules()]
    # Weights that an enclosing autocast has cast would not be seen to move.
    torch.clear_autocast_cache()
    model.eval()
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, value in zip(tensors, kept, strict=True):
                tensor.copy_(value)
        for parameter, gradient in gradients:
            parameter.grad = gradient
        for module, mode in modes:
            module.training = mode
        torch.clear_autocast_cache()


@torch.no_grad()
def image_losses(model: nn.Module, sample: LossSample) -> tuple[Tensor, Tensor]:
    """Each image's cross-entropy in nats, float32 [N], and whether its likeliest class is right, bool [N]."""
    device = next(model.parameters()).device
    losses, correct = [], []
    with torch.autocast(device.type, enabled=False):
        for x, targets in sample.batches():
            targets = targets.to(device)
            logits = model(x.to(device)).float()
            losses.append(F.cross_entropy(logits, targets, reduction="none"))
            # The argmax of NaNs is a class too.
            correct.append((logits.argmax(1) == targets.argmax(1)) & losses[-1].isfinite())
    return torch.cat(losses), torch.cat(correct)


def loss_landscape(
    model: nn.Module,
    sample: LossSample,
    *,
    steps: int = 21,
    extent: float = 1.0,
    seed: int = 0,
    advance: Callable[[int], object] | None = None,
) -> Landscape:
    """Loss and accuracy on a plane through the trained weights, along two filter-normalised directions.

    Args:
        model: normalised faces -> logits; comes back bit by bit as it was.
        sample: the images, of which the mean is taken.
        steps: points along each direction, odd, so that the trained weights are one of them.
        extent: largest coordinate; at 1 a filter has moved by its own norm.
        seed: of the directions.
        advance: told of each finished point by a 1.

    Raises:
        InputError: `steps` is even or below 3, `extent` is not above 0, or no layer of the network moves.
    """
    if steps < 3 or steps % 2 == 0 or not 0 < extent < math.inf:
        raise InputError(
            f"a landscape needs an odd number of steps, 3 or more, and an extent above 0, not {steps} and "
            f"{extent}."
        )
    coordinates = np.arange(-(steps // 2), steps // 2 + 1, dtype=np.float64) * (extent / (steps // 2))
    directions = [filter_normalised(model, 2 * seed + which) for which in (0, 1)]
    parameters = dict(model.named_parameters())
    loss, accuracy = np.empty((steps, steps)), np.empty((steps, steps))
    spread = 0.0
    with undisturbed(model):
        start = {name: parameters[name].detach().clone() for name in directions[0]}
        for row, alpha in enumerate(coordinates):
            for column, beta in enumerate(coordinates):
                move_to(parameters, start, zip((alpha, beta), directions, strict=True))
                losses, correct = image_losses(model, sample)
                loss[row, column] = float(losses.double().mean())
                accuracy[row, column] = float(correct.double().mean())
                if alpha == beta == 0 and len(losses) > 1:
                    spread = float(losses.double().std())
                if advance is not None:
                    advance(1)
    moving = sum(t.numel() for t in start.values()) / sum(p.numel() for p in parameters.values())
    return Landscape(coordinates, loss, accuracy, len(sample), seed, spread / math.sqrt(len(sample)), moving)


@torch.no_grad()
def move_to(
    parameters: Mapping[str, Tensor], start: Directions, along: Iterator[tuple[float, Directions]]
) -> None:
    """Set parameters to `start` plus the sum of coordinates times directions, in place."""
    moved = [parameters[name] for name in start]
    torch._foreach_copy_(moved, list(start.values()))
    for coordinate, direction in along:
        if coordinate != 0:
            torch._foreach_add_(moved, [direction[name] for name in start], alpha=float(coordinate))
