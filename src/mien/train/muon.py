"""Muon for the hidden matrices, AdamW for everything else, as one optimizer.

Muon (Jordan et al., 2024, kellerjordan.github.io/posts/muon) replaces the momentum of a weight matrix by the
nearest matrix whose singular values are alike, so that a step turns all directions and not only the few that
gradients are largest in. Its length is that of Liu et al. (2025, arXiv 2502.16982, section 2.2), which lets a
rate and a weight decay of AdamW stand:

    B <- mu B + (1 - mu) g,    w <- (1 - lr wd) w - 0.2 lr sqrt(max(m, n)) O((1 - mu) g + mu B)

with O the Newton-Schulz iteration and w an m x n matrix. `torch.optim.Muon` does the same matrix by matrix;
here equal shapes are iterated together, and kernels of convolutions count as matrices.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.adamw import adamw

_QUINTIC = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5
_RMS_OF_ADAMW = 0.2
_EPSILON = 1e-8


class MuonAdamW(Optimizer):
    """Muon in the groups whose `matrices` is true, AdamW in the others.

    Args:
        groups: parameter groups with `params`, `matrices`, `weight_decay`, and any settings of their own.
            Parameters of a group with `matrices` have two dimensions or more; all but the first count as one.
        lr: learning rate of both.
        betas: moment decay rates of AdamW.
        momentum: of Muon.
    """

    def __init__(
        self, groups: list[dict[str, Any]], *, lr: float, betas: tuple[float, float], momentum: float
    ) -> None:
        # `fused` makes a loaded count of steps follow its parameter to the device.
        super().__init__(groups, {"lr": lr, "betas": betas, "momentum": momentum, "fused": True})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; the gradients stay as they are."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            if group["matrices"]:
                self._step_matrices(group)
            else:
                self._step_others(group)
        return loss

    def _step_others(self, group: dict[str, Any]) -> None:
        moving = [p for p in group["params"] if p.grad is not None]
        for parameter in moving:
            state = self.state[parameter]
            if not state:
                state["step"] = torch.zeros((), device=parameter.device)
                state["exp_avg"] = torch.zeros_like(parameter)
                state["exp_avg_sq"] = torch.zeros_like(parameter)
        states = [self.state[parameter] for parameter in moving]
        beta1, beta2 = group["betas"]
        adamw(
            moving,
            [parameter.grad for parameter in moving],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            fused=True,
            amsgrad=False,
            beta1=beta1,
            beta2=beta2,
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=_EPSILON,
            maximize=False,
        )

    def _step_matrices(self, group: dict[str, Any]) -> None:
        alike: dict[tuple[int, ...], list[tuple[Tensor, Tensor]]] = defaultdict(list)
        for parameter in group["params"]:
            if parameter.grad is None:
                continue
            state = self.state[parameter]
            if "momentum_buffer" not in state:
                state["momentum_buffer"] = torch.zeros_like(parameter)
            buffer = state["momentum_buffer"].lerp_(parameter.grad, 1 - group["momentum"])
            update = parameter.grad.lerp(buffer, group["momentum"]).flatten(1)
            alike[tuple(update.shape)].append((parameter, update))
        for shape, members in alike.items():
            updates = orthogonalised(torch.stack([update for _, update in members]))
            rate = group["lr"] * _RMS_OF_ADAMW * max(shape) ** 0.5
            for (parameter, _), update in zip(members, updates, strict=True):
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.add_(update.view(parameter.shape), alpha=-rate)


def orthogonalised(matrices: Tensor) -> Tensor:
    """Five Newton-Schulz iterations: singular vectors stay, singular values come to about 0.7 to 1.2.

    Products run in bfloat16, whose error is smaller than that of the iteration; float32 takes twice as long.

    Args:
        matrices: float32 [N, m, n].

    Returns:
        float32 [N, m, n]; zeros for a matrix of zeros.
    """
    a, b, c = _QUINTIC
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.transpose(1, 2) if tall else matrices
    x = (x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)).bfloat16()
    for _ in range(_ITERATIONS):
        gram = x @ x.transpose(1, 2)
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, polynomial, x, beta=a)
    return (x.transpose(1, 2) if tall else x).float()
