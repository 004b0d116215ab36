"""Problems for SAM: a small Swin, batches, and a quadratic whose steps can be worked out."""

import torch
import torch.nn.functional as F
from torch import nn

from mien.config import ModelConfig
from mien.models.build import build_model
from mien.train.sam import SAM


def small_swin() -> nn.Module:
    torch.manual_seed(3)
    return build_model(
        ModelConfig(embed_dim=16, depths=(1, 1), num_heads=(2, 2), drop_path=0.0, stem="patch"), 4
    )


def random_batches(count: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [
        (torch.randn(4, 1, 48, 48, generator=generator), torch.randint(0, 4, (4,), generator=generator))
        for _ in range(count)
    ]


def closure_of(model: nn.Module, optimizer: torch.optim.Optimizer, x: torch.Tensor, y: torch.Tensor):
    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        return loss

    return closure


def quadratic(curvature: list[float], start: list[float], **options: object) -> tuple[nn.Module, SAM, object]:
    """f(w) = 1/2 sum a w^2, its gradient a w."""
    module = nn.Module()
    module.w = nn.Parameter(torch.tensor(start))
    a = torch.tensor(curvature)
    sam = SAM(torch.optim.SGD(module.parameters(), lr=0.1), module, **options)

    def closure() -> torch.Tensor:
        sam.zero_grad()
        loss = 0.5 * (a * module.w**2).sum()
        loss.backward()
        return loss

    return module, sam, closure
