"""Random changes of a whole training batch: one affine resampling, one change of light, and what spoils a
picture: lost resolution, noise, erased rectangles.

The paper augments by rotation up to 10 degrees and autocontrast (section 3.3); the other changes are off in
its configs. Rotation, shift, scale and mirror image are one bilinear resampling; autocontrast, contrast,
brightness and normalisation are one gain and one offset an image, so each pixel is touched few times. All
randomness comes from the generator that is passed in, so a batch depends on nothing but its seed; what is off
draws nothing.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from mien.config import AugmentConfig, ModelConfig

_LOWEST_RESOLUTION = 0.25
"""Share of a side that is left of a face at the least."""
_LARGEST_NOISE = 0.2
"""Standard deviation, as a share of the full range."""
_RED, _GREEN, _BLUE = 0.299, 0.587, 0.114
"""ITU-R BT.601, as in the evaluation path."""


def augment_faces(
    faces: Tensor,
    augment: AugmentConfig,
    model: ModelConfig,
    generator: torch.Generator,
    rotated: Tensor | None = None,
) -> Tensor:
    """Faces of the pack to a training input.

    Args:
        faces: uint8 [B, C, H, H], 0..255, C = 1 grey or 3 RGB, on any device.
        augment: what is drawn, and how strongly.
        model: size, channels, mean and std of the input.
        generator: the source of all randomness, on the CPU, so that every device sees the same batch.
        rotated: bool [B], which faces may be rotated; None rotates all (section 3.3 spares AffectNet's).

    Returns:
        float32 [B, model.channels, model.size, model.size], normalised, on the device of `faces`.
    """
    x = to_grey(faces) if faces.shape[1] == 3 and model.channels == 1 else faces.float()
    warps = max(augment.rotation, augment.translation, augment.scale, augment.flip) > 0
    # The resampling only interpolates, so it may enlarge, but a smaller image would alias.
    if x.shape[-1] > model.size or (x.shape[-1] < model.size and not warps):
        x = F.interpolate(x, size=(model.size, model.size), mode="bilinear", antialias=True)
    if warps:
        x = _warp(x, augment, model.size, generator, rotated)
    if augment.low_resolution > 0:
        _lose_resolution(x, augment.low_resolution, generator)
    x = _normalise(x, augment, model, generator)
    if augment.noise > 0:
        _add_noise(x, augment.noise, model, generator)
    if x.shape[1] < model.channels:
        # Grey is repeated this late so that nothing above is done three times.
        x = x.expand(-1, model.channels, -1, -1).contiguous()
    if augment.erasing > 0:
        _erase(x, augment.erasing, generator)
    return x


def to_grey(faces: Tensor) -> Tensor:
    """RGB [B, 3, H, W], of any type, to float32 grey [B, 1, H, W] (ITU-R BT.601)."""
    red, green, blue = faces[:, 0:1], faces[:, 1:2], faces[:, 2:3]
    return (red * _RED).add_(green, alpha=_GREEN).add_(blue, alpha=_BLUE)


def _signed(draw: Tensor, largest: float) -> Tensor:
    """Uniform in 0..1 to uniform in -largest..largest."""
    return (draw * 2 - 1) * largest


def _warp(
    x: Tensor, augment: AugmentConfig, size: int, generator: torch.Generator, rotated: Tensor | None
) -> Tensor:
    """Rotation, shift, scale and mirror image in one bilinear resampling; outside is the border's colour."""
    turn, zoom, mirrored, right, down = torch.rand(5, len(x), generator=generator)
    angle = _signed(turn, math.radians(augment.rotation))
    if rotated is not None:
        angle = angle * rotated.to(angle.device)
    scale = 1 / (1 + _signed(zoom, augment.scale))
    mirror = torch.where(mirrored < augment.flip, -1.0, 1.0)
    cos, sin = angle.cos() * scale, angle.sin() * scale
    # A shift of the side is 2 in the sampling grid's coordinates, which run from -1 to 1.
    shift_x, shift_y = _signed(right, 2 * augment.translation), _signed(down, 2 * augment.translation)
    affine = torch.stack([cos * mirror, sin * mirror, -sin, cos, shift_x, shift_y])
    along_x, along_y, shift = affine.view(3, 2, len(x), 1).to(x.device)
    centres = (torch.arange(size, device=x.device) * 2 + 1) / size - 1
    # A sum of what depends on the column and what depends on the row takes one pass where F.affine_grid takes
    # a batch of thin matrix products, and keeps x and y in planes, which grid_sample reads fastest.
    grid = (along_x * centres)[:, :, None, :] + (along_y * centres + shift)[:, :, :, None]
    return F.grid_sample(
        x, grid.permute(1, 2, 3, 0), mode="bilinear", padding_mode="border", align_corners=False
    )


def _lose_resolution(x: Tensor, probability: float, generator: torch.Generator) -> None:
    """Shrink chosen faces of [B, C, S, S] to sides of their own and enlarge them again, in place."""
    chosen, share = torch.rand(2, len(x), generator=generator)
    sides = ((_LOWEST_RESOLUTION + (1 - _LOWEST_RESOLUTION) * share) * x.shape[-1]).round().long()
    sides = torch.where(chosen < probability, sides, x.shape[-1])
    for side in sorted(set(sides.tolist())):
        if side < x.shape[-1]:
            faces = (sides == side).nonzero()[:, 0].to(x.device)
            small = F.interpolate(x[faces], size=(side, side), mode="bilinear", antialias=True)
            x[faces] = F.interpolate(small, size=x.shape[-2:], mode="bilinear")


def _normalise(x: Tensor, augment: AugmentConfig, model: ModelConfig, generator: torch.Generator) -> Tensor:
    """Autocontrast, contrast, brightness and normalisation of intensities in 0..255, in place.

    Autocontrast stretches the range of all channels together, which keeps the hue, and leaves an image of one
    colour as it is. Contrast is around the image's mean.
    """
    flat = x.flatten(1)
    gain, offset = x.new_full((len(x),), 1 / 255), x.new_zeros(len(x))
    if augment.autocontrast > 0:
        chosen = (torch.rand(len(x), generator=generator) < augment.autocontrast).to(x.device)
        low = flat.amin(1)
        spread = flat.amax(1) - low
        # Less than one grey level is the rounding of the resampling, not a picture.
        stretched = chosen & (spread >= 1)
        gain = torch.where(stretched, 1 / spread, gain)
        offset = torch.where(stretched, -low / spread, offset)
    if augment.contrast > 0:
        factor = (1 + _signed(torch.rand(len(x), generator=generator), augment.contrast)).to(x.device)
        mean = flat.mean(1) * gain + offset
        gain, offset = gain * factor, torch.lerp(mean, offset, factor)
    if augment.brightness > 0:
        offset = offset + _signed(torch.rand(len(x), generator=generator), augment.brightness).to(x.device)
    gain, offset = gain / model.std, (offset - model.mean) / model.std
    x.mul_(gain[:, None, None, None]).add_(offset[:, None, None, None])
    return x.clamp_(-model.mean / model.std, (1 - model.mean) / model.std)


def _add_noise(x: Tensor, probability: float, model: ModelConfig, generator: torch.Generator) -> None:
    """Normal noise over chosen normalised faces, cut to the range of intensities, in place."""
    chosen, strength = torch.rand(2, len(x), generator=generator)
    faces = (chosen < probability).nonzero()[:, 0]
    noise = torch.randn(len(faces), *x.shape[1:], generator=generator)
    noise *= (strength[faces] * (_LARGEST_NOISE / model.std)).view(-1, 1, 1, 1)
    faces = faces.to(x.device)
    noisy = x[faces] + noise.to(x.device)
    x[faces] = noisy.clamp_(-model.mean / model.std, (1 - model.mean) / model.std)


def _erase(x: Tensor, probability: float, generator: torch.Generator) -> None:
    """Fill a rectangle of 2 to 25 % of the area with normal noise, in place (Zhong et al., AAAI 2020)."""
    count, channels, height, width = x.shape
    draws = torch.rand(5, count, generator=generator)
    faces = (draws[0] < probability).nonzero()[:, 0]
    share, aspect, down, right = draws[1:, faces]
    area = 0.02 + 0.23 * share
    ratio = (_signed(aspect, math.log(2.5))).exp()
    tall, wide = (area * ratio).sqrt() * height, (area / ratio).sqrt() * width
    top, left = down * (height - tall), right * (width - wide)
    rectangles = torch.stack([top, top + tall, left, left + wide]).ceil().long()
    sizes = (rectangles[1] - rectangles[0]) * (rectangles[3] - rectangles[2]) * channels
    # One draw and one transfer for all; no noise for what is kept.
    noise = torch.randn(int(sizes.sum()), generator=generator).to(x.device)
    pieces = torch.split(noise, sizes.tolist())
    for face, (y0, y1, x0, x1), values in zip(faces.tolist(), rectangles.T.tolist(), pieces, strict=True):
        x[face, :, y0:y1, x0:x1] = values.view(channels, y1 - y0, x1 - x0)
