"""Mixing of a training batch with itself, labels included: mixup and CutMix.

Both draw one weight a batch from Beta(alpha, alpha) and take each image's partner from a permutation of the
batch, as their authors' code does. They work on soft labels, so votes stay votes.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from mien.config import AugmentConfig


def mix_faces(
    x: Tensor, targets: Tensor, augment: AugmentConfig, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Mix each image and its soft label with another's of the batch, as the config says.

    Args:
        x: float32 [B, C, H, W], on any device.
        targets: float32 [B, K], on the same device.
        augment: `mixup` and `cutmix` are the alphas; where both are on, a batch takes one at even odds.
        generator: the source of all randomness, on the CPU; where both are off nothing is drawn from it.

    Returns:
        x and targets, new tensors of the same shapes; the arguments themselves where both are off.
    """
    if augment.mixup <= 0 and augment.cutmix <= 0:
        return x, targets
    # torch draws no Beta from a given generator; numpy does, seeded from it.
    random = np.random.default_rng(int(torch.randint(2**63 - 1, (), generator=generator)))
    if augment.mixup > 0 and (augment.cutmix <= 0 or random.random() < 0.5):
        return mix_up(x, targets, augment.mixup, random)
    return cut_mix(x, targets, augment.cutmix, random)


def mix_up(x: Tensor, targets: Tensor, alpha: float, random: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Blend each image and its soft label with another's of the batch (Zhang et al., ICLR 2018, eq. 1).

    Args:
        x: float32 [B, C, H, W].
        targets: float32 [B, K].
        alpha: of the Beta distribution of the batch's one weight, above 0.
        random: the source of the weight and the partners.

    Returns:
        x and targets, new tensors of the same shapes.
    """
    weight = random.beta(alpha, alpha)
    partner = _partners(x, random)
    return x[partner].lerp_(x, weight), targets[partner].lerp_(targets, weight)


def cut_mix(x: Tensor, targets: Tensor, alpha: float, random: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Paste one rectangle of each image's partner, at the same place (Yun et al., ICCV 2019, eq. 1 and 2).

    The rectangle has the image's proportions and 1 - weight of its area; its centre is uniform, and what
    lies outside the image is cut off. The labels are weighted by the pixels that were pasted, not by the
    weight that was drawn.

    Args:
        x: float32 [B, C, H, W].
        targets: float32 [B, K].
        alpha: of the Beta distribution of the batch's one weight, above 0.
        random: the source of the weight, the centre and the partners.

    Returns:
        x and targets, new tensors of the same shapes.
    """
    height, width = x.shape[-2:]
    side = math.sqrt(1 - random.beta(alpha, alpha))
    top, bottom = _edges(height, side, random)
    left, right = _edges(width, side, random)
    partner = _partners(x, random)
    mixed = x.clone()
    mixed[..., top:bottom, left:right] = x[..., top:bottom, left:right][partner]
    kept = 1 - (bottom - top) * (right - left) / (height * width)
    return mixed, targets[partner].lerp_(targets, kept)


def _edges(extent: int, share: float, random: np.random.Generator) -> tuple[int, int]:
    """First and one past the last pixel of a side that is `share` of the image's, within the image."""
    centre = random.uniform(0, extent)
    half = share * extent / 2
    return max(round(centre - half), 0), min(round(centre + half), extent)


def _partners(x: Tensor, random: np.random.Generator) -> Tensor:
    return torch.from_numpy(random.permutation(len(x))).to(x.device)
