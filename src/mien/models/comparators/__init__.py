"""What Swin is compared with, one module each: its name is what `model.name` calls the network.

A module in this folder is a comparator by being there; what it has to offer is `Comparator`. CONTRIBUTING.md
shows how to add one.
"""

from __future__ import annotations

import pkgutil
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

from mien.config import ModelConfig, SEPosition

if TYPE_CHECKING:
    from torch import nn


class Comparator(Protocol):
    """What each module here offers."""

    SE_POSITION: SEPosition
    """Where the network has an SE block; a config must say the same."""

    def build(self, config: ModelConfig, classes: int, *, hub_weights: bool) -> nn.Module:
        """The network, on the CPU, in training mode: normalised faces float32 [B, C, S, S] to logits
        [B, classes]. It has an attribute `has_own_loss` and a method `features`, as
        `mien.models.baselines.Baseline`.

        Args:
            config: `size`, `channels`, `drop_path` and `se.reduction` are to be heeded.
            classes: number of logits, at least 2.
            hub_weights: start from weights of timm's hub.

        Raises:
            InputError: the network has no such size.
        """


@cache
def names() -> tuple[str, ...]:
    """The names of the comparators, in alphabetical order; none of them is imported."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def comparator(name: str) -> Comparator:
    """The comparator of that name, one of `names()`."""
    return cast("Comparator", import_module(f"{__name__}.{name}"))
