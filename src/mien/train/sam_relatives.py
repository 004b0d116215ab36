"""Cheaper relatives of SAM behind the same `step(closure)`; what each costs is measured by benchmarks/sam.py.

`LookSAM` climbs every few steps, `ESAM` climbs with some of the weights and some of the images, `MomentumSAM`
climbs along the base optimizer's momentum and needs no second pass.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mien.train.sam import (
    SAM,
    Closure,
    GradientSum,
    RandomState,
    Tensors,
    frozen_batch_statistics,
    gradients_of,
    one_pass,
    restored,
    total_norm,
)


class LookSAM(SAM):
    """SAM every k steps, its effect remembered in between (Liu et al., CVPR 2022, algorithm 1).

    A SAM step also keeps g_v, the part of its gradient g_s that is orthogonal to the gradient g of its first
    pass. The steps until the next one run one pass and take

        g + alpha * ||g|| / ||g_v|| * g_v

    with norms over all weights, as in the paper, not tensor by tensor. g_v and the number of steps since it
    was taken live in the base optimizer's state. Of several micro-batches g and g_s are the means.

    Args:
        every: k; 1 is SAM.
        alpha: weight of g_v; 0 is SAM every k steps and nothing in between, and keeps no g_v.
        others: see `SAM`.

    Raises:
        ValueError: every is below 1, alpha or rho is negative.
    """

    def __init__(
        self, base: Optimizer, model: nn.Module, *, rho: float, every: int, alpha: float, **others: Any
    ) -> None:
        if every < 1 or alpha < 0:
            raise ValueError(f"every is {every} and alpha {alpha}; they must be 1 and 0 or more.")
        super().__init__(base, model, rho=rho, **others)
        self.every = every
        self.alpha = alpha
        self._first = GradientSum()
        self._keep: dict[Tensor, dict[str, Tensor]] = {}

    def _set_gradient(self, closures: Collection[Closure]) -> Tensor:
        self._keep = {}
        if self.rho == 0:
            return super()._set_gradient(closures)
        age = 1 + next((int(s["looksam_age"]) for s in self.state.values() if "looksam_age" in s), self.every)
        self._first = GradientSum()
        if age < self.every:
            loss = self._set_mean_gradient(closures, one_pass)
            self._add_orthogonal()
            self._keep = {p: {} for p in self._moving()}
        else:
            age = 0
            loss = super()._set_gradient(closures)
            self._keep = {p: {} for p in self._moving()}
            for parameter, gradient in self._orthogonal().items():
                self._keep[parameter]["looksam_gradient"] = gradient
        for kept in self._keep.values():
            kept["looksam_age"] = torch.tensor(float(age))
        self._first = GradientSum()
        return loss

    def _base_step(self) -> None:
        super()._base_step()
        # Afterwards, since optimizers take a parameter whose state is not empty for one they have begun.
        for parameter, kept in self._keep.items():
            self.state[parameter].update(kept)
        self._keep = {}

    def _climb(self, parameters: Tensors, radius: float, count: int) -> bool:
        if self.alpha > 0:
            self._first.add(parameters, count)
        return super()._climb(parameters, radius, count)

    def _orthogonal(self) -> dict[Tensor, Tensor]:
        """g_v a parameter, from the gradients of both passes; nothing where alpha is 0."""
        first = self._first.take_mean()
        parameters = [p for p in self._moving() if p in first]
        if not parameters:
            return {}
        plain = [first[p] for p in parameters]
        sharp = gradients_of(parameters)
        if self.average is not None:
            self.average(plain)
        square = float(total_norm(plain)) ** 2
        along = float(sum((a * b).sum() for a, b in zip(plain, sharp, strict=True)))
        share = along / square if square > 0 else 0.0
        return dict(zip(parameters, torch._foreach_add(sharp, plain, alpha=-share), strict=True))

    def _add_orthogonal(self) -> None:
        # Weights that were frozen at the last SAM step have no g_v yet and take no part in the norms.
        parameters = [p for p in self._moving() if "looksam_gradient" in self.state.get(p, {})]
        if self.alpha == 0 or not parameters:
            return
        gradients = gradients_of(parameters)
        kept = [self.state[p]["looksam_gradient"] for p in parameters]
        norm = float(total_norm(kept))
        if norm > 0:
            torch._foreach_add_(gradients, kept, alpha=self.alpha * float(total_norm(gradients)) / norm)


class ESAM(SAM):
    """SAM with some of the weights and some of the images (Du et al., ICLR 2022, algorithm 1).

    Stochastic weight perturbation: a step draws the tensors to perturb, each with probability `beta`, and
    scales the perturbation by 1 / `beta`; the first pass computes no gradient for the others. The draw is by
    whole tensors and the norm over those drawn, as in the authors' code, which is what saves time.
    Sharpness-sensitive data selection: of the batch only the share `gamma` whose loss rises most from w to
    w + e(w) makes the second gradient; the rise costs one more forward pass without gradient.

    The draw comes from torch's global generator, so a loop that seeds it each step reproduces it. A second
    pass over fewer images cannot draw the same stochastic-depth masks as the first; the two passes that are
    compared do.

    Its closure takes two keywords beside what `Closure` says: `rows` (int64 [R], the images to take; none is
    all) and `backward` (off: losses only), and returns one loss an image. Such a closure suits `SAM` as well.

    Args:
        beta: share of tensors to perturb, in (0, 1].
        gamma: share of images in the second pass, in (0, 1]; 1 spares the forward pass that selects.
        others: see `SAM`.

    Raises:
        ValueError: beta or gamma is not in (0, 1], or rho is negative.
    """

    def __init__(
        self, base: Optimizer, model: nn.Module, *, rho: float, beta: float, gamma: float, **others: Any
    ) -> None:
        if not (0 < beta <= 1 and 0 < gamma <= 1):
            raise ValueError(f"beta is {beta} and gamma {gamma}; they must be above 0 and at most 1.")
        super().__init__(base, model, rho=rho, **others)
        self.beta = beta
        self.gamma = gamma

    def _set_sharpness_gradient(self, closure: Closure) -> Tensor:
        if self.rho == 0:
            return one_pass(closure)
        left_out = self._draw_left_out()
        generators = RandomState(self._device())
        with _without_gradient(left_out):
            losses = one_pass(closure)
        if self.gamma < 1 and losses.ndim != 1:
            raise TypeError("ESAM chooses images by their loss; its closure must return one loss an image")
        moving = self._moving()
        with restored(moving), frozen_batch_statistics(self.model):
            rows = None
            if self._climb(moving, self.rho / self.beta, losses.numel()) and self.gamma < 1:
                generators.restore()
                rise = closure(backward=False) - losses
                rows = rise.topk(max(1, round(self.gamma * len(rise)))).indices.sort().values
            generators.restore()
            one_pass(closure, **({} if rows is None else {"rows": rows}))
        return losses

    def _draw_left_out(self) -> list[Tensor]:
        trainable = [p for group in self.param_groups for p in group["params"] if p.requires_grad]
        draws = torch.rand(len(trainable))
        # One tensor at least is perturbed, or there would be nothing to run backward for.
        threshold = max(self.beta, float(draws.min()) if trainable else 0.0)
        return [p for p, draw in zip(trainable, draws.tolist(), strict=True) if draw > threshold]


class MomentumSAM(SAM):
    """One pass a step, at the weights moved along the momentum (Becker et al., 2024, arXiv 2401.12033).

        e(w) = -rho * v / ||v||

    with v the base's momentum: `momentum_buffer` of SGD, `exp_avg` of Adam and its like. The first step has
    none and is the base's. The weights are moved for the pass only, so validation, running averages and
    checkpoints see them unmoved, and weight decay acts on them unmoved. Loss, BatchNorm statistics and
    gradient are those of the moved weights; several micro-batches share one move.

    Raises:
        ValueError: the base keeps no momentum, or rho is negative.
    """

    def __init__(self, base: Optimizer, model: nn.Module, *, rho: float, **others: Any) -> None:
        if not any(group.get("momentum") or group.get("betas", (0,))[0] for group in base.param_groups):
            raise ValueError(f"momentum-SAM needs momentum, and {type(base).__name__} here has none.")
        super().__init__(base, model, rho=rho, **others)

    def _set_gradient(self, closures: Collection[Closure]) -> Tensor:
        momenta = dict(self._momenta())
        parameters = list(momenta) if self.rho > 0 else []
        with restored(parameters):
            if parameters:
                self._move(parameters, list(momenta.values()))
            return self._set_mean_gradient(closures, one_pass)

    def _momenta(self) -> Iterator[tuple[Tensor, Tensor]]:
        # In the order of the groups: that of the state is another after loading, and would round another way.
        for parameter in (p for group in self.param_groups for p in group["params"] if p.requires_grad):
            state = self.state.get(parameter, {})
            momentum = state.get("momentum_buffer", state.get("exp_avg"))
            if momentum is not None:
                yield parameter, momentum

    def _move(self, parameters: Tensors, momenta: Tensors) -> None:
        norm = float(total_norm(momenta))
        if not math.isfinite(norm):
            raise FloatingPointError("the momentum is not finite")
        if norm > 0:
            torch._foreach_add_(parameters, momenta, alpha=-self.rho / norm)


@contextmanager
def _without_gradient(parameters: Tensors) -> Iterator[None]:
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)
