"""How sharp the minimum is that training found: the numbers beside a loss landscape (claim C9).

- `ascent_sharpness`: what SAM minimises, max over ||e|| <= rho of L(w + e) - L(w), with the maximum
  replaced by one ascent step (Foret et al., ICLR 2021, equation 2); `adaptive` takes the ball of ASAM (Kwon
  et al., ICML 2021, equation 8). m-sharpness is its mean over disjoint batches of m images, each with a step
  of its own (Foret et al., section 4.1); training measures it with m = the batch.
- `random_rise`: the mean rise of the loss in many filter-normalised random directions, of which a landscape
  shows two.
- `hessian_top` and `hessian_trace` of `mien.evaluate.hessian`: the largest eigenvalue of the loss's Hessian,
  and the sum of all.

What they are worth. Dinh et al. (ICML 2017, section 3): the weights of two layers with a ReLU between, or of
a layer before a norm, can be scaled against each other without changing the function, which makes the
Hessian and a ball of fixed radius as sharp as one likes. So `hessian_*` and plain `ascent_sharpness` compare
networks only where scales are alike: one architecture, one recipe; `adaptive` and `random_rise` scale with
the weights. And flatter is not better by itself: across networks, sharpness has been found to say little
about generalisation (Andriushchenko et al., ICML 2023).

The Hessian is autograd's, which is blind to the kinks of ReLUs: curvature that sits in them shows in
`ascent_sharpness` and `random_rise` alone. Networks are in evaluation mode; all is float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.special import stdtrit  # type: ignore[import-untyped]
from torch import Tensor, nn

from mien.errors import InputError
from mien.evaluate.landscape import LossSample, filter_normalised, image_losses, move_to, undisturbed


@dataclass(frozen=True)
class Estimate:
    """A mean over repetitions, which are kept so that two networks can be compared pair by pair."""

    value: float
    """The mean."""
    standard_error: float | None
    """Of the mean; None of a single repetition."""
    values: tuple[float, ...]
    """One a repetition: a batch, a direction, a draw."""

    def to_dict(self) -> dict[str, Any]:
        """The fields."""
        return asdict(self) | {"values": list(self.values)}


def ascent_sharpness(
    model: nn.Module, sample: LossSample, *, rho: float, adaptive: bool = False, m: int | None = None
) -> Estimate:
    """The rise of the loss after one ascent step of length rho.

    The step is e = rho g / ||g||, or, `adaptive`, e = rho w^2 g / ||w g||, over all parameters, as in
    training. A single step gives a lower bound of the maximum.

    Args:
        model: normalised faces -> logits; comes back bit by bit as it was.
        sample: the images.
        rho: radius, above 0.
        adaptive: the ball of ASAM; its usual rho is ten times SAM's.
        m: images of a batch that climbs by itself; the images left over are not used. None climbs once, for
            all images together.

    Returns:
        In nats; one value a batch.

    Raises:
        InputError: rho is not above 0, or the sample has not `m` images.
    """
    m = len(sample) if m is None else m
    if not 0 < rho < math.inf or not 0 < m <= len(sample):
        raise InputError(f"sharpness needs rho above 0 and m from 1 to {len(sample)}, not {rho} and {m}.")
    parameters = learned(model)
    rises = []
    with undisturbed(model):
        start = [p.detach().clone() for p in parameters]
        for first in range(0, len(sample) - m + 1, m):
            batch = LossSample(sample.inputs[first : first + m], sample.targets[first : first + m])
            before = float(image_losses(model, batch)[0].double().mean())
            _climb(parameters, _gradient(model, parameters, batch), rho, adaptive)
            rises.append(float(image_losses(model, batch)[0].double().mean()) - before)
            with torch.no_grad():
                torch._foreach_copy_(parameters, start)
    return estimate(rises)


def random_rise(
    model: nn.Module,
    sample: LossSample,
    *,
    radius: float,
    directions: int = 20,
    seed: int = 0,
    advance: Callable[[int], object] | None = None,
) -> Estimate:
    """The rise of the loss in filter-normalised random directions (see `mien.evaluate.landscape`).

    Args:
        model: normalised faces -> logits; comes back bit by bit as it was.
        sample: the images.
        radius: how far, as a share of each filter's norm; both ways are taken, and their mean.
        directions: how many; networks that share layers get the same draws.
        seed: of the directions.
        advance: told of each finished direction by a 1.

    Returns:
        In nats; one value a direction.
    """
    parameters = dict(model.named_parameters())
    rises = []
    with undisturbed(model):
        start = {name: parameters[name].detach().clone() for name in parameters}
        centre = float(image_losses(model, sample)[0].double().mean())
        for draw in range(directions):
            move_to(parameters, start, iter(()))
            direction = filter_normalised(model, (seed << 20) + draw)
            moving = {name: start[name] for name in direction}
            both = []
            for way in (radius, -radius):
                move_to(parameters, moving, iter([(way, direction)]))
                both.append(float(image_losses(model, sample)[0].double().mean()))
            rises.append(sum(both) / 2 - centre)
            if advance is not None:
                advance(1)
    return estimate(rises)


def difference(first: Estimate, second: Estimate) -> dict[str, Any]:
    """Second less first, pair by pair, with a 95 % t interval over the pairs.

    Only for estimates whose repetitions are the same draws or the same batches of the same sample.

    Raises:
        InputError: they have other numbers of repetitions, or fewer than two.
    """
    if len(first.values) != len(second.values) or len(first.values) < 2:
        raise InputError(
            f"a paired comparison needs two repetitions or more of each, and as many, not "
            f"{len(first.values)} and {len(second.values)}."
        )
    change = estimate(list(np.subtract(second.values, first.values)))
    half = float(stdtrit(len(change.values) - 1, 0.975)) * (change.standard_error or 0.0)
    return {
        "difference": change.value,
        "interval": [change.value - half, change.value + half],
        "pairs": len(change.values),
    }


def learned(model: nn.Module) -> list[Tensor]:
    """The parameters that training moves."""
    return [p for p in model.parameters() if p.requires_grad]


def mean_loss(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
    """The mean cross-entropy of one batch in float32, a scalar in nats with a gradient."""
    device = next(model.parameters()).device
    with torch.autocast(device.type, enabled=False), torch.enable_grad():
        return F.cross_entropy(model(x.to(device)).float(), targets.to(device))


def _gradient(model: nn.Module, parameters: Sequence[Tensor], sample: LossSample) -> list[Tensor]:
    total = [torch.zeros_like(p) for p in parameters]
    for x, targets in sample.batches():
        loss = mean_loss(model, x, targets)
        gradients = torch.autograd.grad(loss, parameters, materialize_grads=True)
        torch._foreach_add_(total, list(gradients), alpha=len(x) / len(sample))
    return total


@torch.no_grad()
def _climb(parameters: list[Tensor], gradient: list[Tensor], rho: float, adaptive: bool) -> None:
    # A scaled w * g has the norm that ASAM divides by, and w times that is its step.
    direction = torch._foreach_mul(gradient, parameters) if adaptive else gradient
    norm = float(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(direction))))
    if norm == 0:
        return
    if adaptive:
        direction = torch._foreach_mul(direction, parameters)
    torch._foreach_add_(parameters, direction, alpha=rho / norm)


def estimate(values: Sequence[float]) -> Estimate:
    """The mean of repetitions; NaN of none."""
    array = np.asarray(values, np.float64)
    if len(array) == 0:
        return Estimate(math.nan, None, ())
    error = float(array.std(ddof=1) / math.sqrt(len(array))) if len(array) > 1 else None
    return Estimate(float(array.mean()), error, tuple(array.tolist()))
