"""A network, batches and closures for SAM's relatives, and each of these by its name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mien.train.sam import SAM
from mien.train.sam_relatives import ESAM, LookSAM, MomentumSAM

Build = Callable[[torch.optim.Optimizer, nn.Module, float], SAM]

METHODS: dict[str, Build] = {
    "sam": lambda base, model, rho: SAM(base, model, rho=rho),
    "looksam": lambda base, model, rho: LookSAM(base, model, rho=rho, every=3, alpha=0.7),
    "every": lambda base, model, rho: LookSAM(base, model, rho=rho, every=3, alpha=0.0),
    "esam": lambda base, model, rho: ESAM(base, model, rho=rho, beta=0.5, gamma=0.5),
    "msam": lambda base, model, rho: MomentumSAM(base, model, rho=rho),
}


def sgd(model: nn.Module, lr: float = 0.1, momentum: float = 0.9) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=lr, momentum=momentum)


def adamw(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=0.01)


def small_network() -> nn.Module:
    torch.manual_seed(3)
    # More than ten tensors, which a checkpoint file does not keep in the order of the network.
    hidden = [layer for _ in range(5) for layer in (nn.Tanh(), nn.Linear(8, 8))]
    return nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.2), *hidden, nn.Linear(8, 3))


def random_batches(count: int, size: int = 8) -> Iterator[tuple[int, Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    for step in range(count):
        yield (
            step,
            torch.randn(size, 6, generator=generator),
            torch.randint(0, 3, (size,), generator=generator),
        )


class Pass:
    """The closure of a training loop, which counts what it is asked for."""

    def __init__(self, model: nn.Module, sam: SAM, x: Tensor, y: Tensor) -> None:
        self.model, self.sam, self.x, self.y = model, sam, x, y
        self.calls: list[tuple[list[int] | None, bool]] = []
        self.fails_at = 0

    def __call__(self, rows: Tensor | None = None, *, backward: bool = True) -> Tensor:
        self.calls.append((None if rows is None else rows.tolist(), backward))
        if len(self.calls) == self.fails_at:
            raise KeyboardInterrupt
        assert torch.is_grad_enabled() is backward
        x, y = (self.x, self.y) if rows is None else (self.x[rows], self.y[rows])
        losses = F.cross_entropy(self.model(x), y, reduction="none")
        if backward:
            self.sam.zero_grad()
            losses.mean().backward()
        return losses.detach()


def train_all(model: nn.Module, sam: SAM, batches: Any) -> list[int]:
    """As the loop does, which seeds torch before each step; the number of passes a step."""
    passes = []
    for step, x, y in batches:
        torch.manual_seed(step)
        closure = Pass(model, sam, x, y)
        sam.step(closure)
        passes.append(len(closure.calls))
    return passes


def are_same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


def quadratic(start: list[float]) -> nn.Module:
    module = nn.Module()
    module.w = nn.Parameter(torch.tensor(start))
    return module


def quadratic_closure(module: nn.Module, sam: SAM, curvature: list[float]) -> Callable[[], Tensor]:
    """f(w) = 1/2 sum a w^2, its gradient a w."""
    a = torch.tensor(curvature)

    def closure() -> Tensor:
        sam.zero_grad()
        loss = 0.5 * (a * module.w**2).sum()
        loss.backward()
        return loss

    return closure
