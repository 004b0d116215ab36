"""Random changes of a whole training batch: one fused affine resampling, everything else vectorised.

The paper augments by rotation up to 10 degrees and autocontrast (section 3.3); the other changes are off in
its configs. All randomness comes from the generator that is passed in, so a batch depends on nothing but its
seed.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from mien.config import AugmentConfig, ModelConfig

_BT601 = (0.299, 0.587, 0.114)


def augment_faces(
    faces: Tensor,
    augment: AugmentConfig,
    model: ModelConfig,
    generator: torch.Generator,
    rotated: Tensor | None = None,
) -> Tensor:
    """Faces of the pack to a training input.

    Args:
        faces: uint8 [B, C, H, W], C = 1 grey or 3 RGB.
        augment: what is drawn, and how strongly.
        model: size, channels, mean and std of the input.
        generator: the source of all randomness.
        rotated: bool [B], which faces may be rotated; None rotates all (section 3.3 spares AffectNet's).

    Returns:
        float32 [B, model.channels, model.size, model.size], normalised.
    """
    x = _to_channels(faces.float().div_(255), model.channels)
    if x.shape[-1] > model.size:
        x = F.interpolate(x, size=(model.size, model.size), mode="bilinear", antialias=True)
    x = _warp(x, augment, model.size, generator, rotated)
    x = _change_light(x, augment, generator)
    x = x.sub_(model.mean).div_(model.std)
    return _erase(x, augment.erasing, generator)


def mix_up(x: Tensor, targets: Tensor, alpha: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Blend each image and its soft label with another's of the batch (Zhang et al., ICLR 2018).

    Args:
        x: float32 [B, C, S, S].
        targets: float32 [B, K].
        alpha: of the Beta distribution that the one weight of the batch is drawn from.
        generator: the source of all randomness.
    """
    # torch's Beta takes no generator; a ratio of Gamma draws is one, and numpy is not needed for it.
    gamma = torch._standard_gamma(torch.full((2,), alpha), generator=generator)
    weight = float(gamma[0] / gamma.sum().clamp_min(1e-12))
    partner = torch.randperm(len(x), generator=generator)
    return torch.lerp(x[partner], x, weight), torch.lerp(targets[partner], targets, weight)


def _to_channels(x: Tensor, channels: int) -> Tensor:
    if x.shape[1] == channels:
        return x
    if channels == 3:
        return x.expand(-1, 3, -1, -1).contiguous()
    return (x * x.new_tensor(_BT601)[None, :, None, None]).sum(1, keepdim=True)


def _uniform(count: int, largest: float, generator: torch.Generator) -> Tensor:
    return (torch.rand(count, generator=generator) * 2 - 1) * largest


def _warp(
    x: Tensor, augment: AugmentConfig, size: int, generator: torch.Generator, rotated: Tensor | None
) -> Tensor:
    """Rotation, shift, scale and mirror image in one bilinear resampling; outside is the border's colour."""
    count = len(x)
    angle = _uniform(count, math.radians(augment.rotation), generator)
    if rotated is not None:
        angle = angle * rotated
    scale = 1 / (1 + _uniform(count, augment.scale, generator))
    mirror = torch.where(torch.rand(count, generator=generator) < augment.flip, -1.0, 1.0)
    # A shift of the side is 2 in the sampling grid's coordinates, which run from -1 to 1.
    shift_x = _uniform(count, 2 * augment.translation, generator)
    shift_y = _uniform(count, 2 * augment.translation, generator)
    cos, sin = angle.cos() * scale, angle.sin() * scale
    theta = torch.stack(
        [torch.stack([cos * mirror, -sin, shift_x], 1), torch.stack([sin * mirror, cos, shift_y], 1)], 1
    )
    grid = F.affine_grid(theta.to(x.device), [count, x.shape[1], size, size], align_corners=False)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _change_light(x: Tensor, augment: AugmentConfig, generator: torch.Generator) -> Tensor:
    count = len(x)
    if augment.autocontrast > 0:
        chosen = torch.rand(count, generator=generator) < augment.autocontrast
        low = x.amin(dim=(1, 2, 3), keepdim=True)
        spread = (x.amax(dim=(1, 2, 3), keepdim=True) - low).clamp_min(1 / 255)
        x = torch.where(chosen.to(x.device)[:, None, None, None], (x - low) / spread, x)
    if augment.contrast > 0:
        factor = (1 + _uniform(count, augment.contrast, generator)).to(x.device)[:, None, None, None]
        mean = x.mean(dim=(1, 2, 3), keepdim=True)
        x = (x - mean) * factor + mean
    if augment.brightness > 0:
        x = x + _uniform(count, augment.brightness, generator).to(x.device)[:, None, None, None]
    return x.clamp_(0, 1)


def _erase(x: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """Fill a rectangle of 2 to 25 % of the area with normal noise (Zhong et al., AAAI 2020)."""
    if probability <= 0:
        return x
    count, _, height, width = x.shape
    area = torch.empty(count).uniform_(0.02, 0.25, generator=generator)
    ratio = torch.empty(count).uniform_(math.log(0.4), math.log(2.5), generator=generator).exp()
    tall = (area * ratio).sqrt() * height
    wide = (area / ratio).sqrt() * width
    top = torch.rand(count, generator=generator) * (height - tall)
    left = torch.rand(count, generator=generator) * (width - wide)
    chosen = torch.rand(count, generator=generator) < probability
    rows, columns = torch.arange(height)[None, :], torch.arange(width)[None, :]
    inside_rows = (rows >= top[:, None]) & (rows < (top + tall)[:, None]) & chosen[:, None]
    inside_columns = (columns >= left[:, None]) & (columns < (left + wide)[:, None])
    mask = (inside_rows[:, :, None] & inside_columns[:, None, :])[:, None].to(x.device)
    noise = torch.randn(x.shape, generator=generator).to(x.device)
    return torch.where(mask, noise, x)
