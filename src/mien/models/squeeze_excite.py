"""Squeeze-and-excitation for channels-last features (Hu et al., CVPR 2018; the paper's section 3.5).

timm's blocks are channels-first and Swin's maps are channels-last, so these ten lines are ours. On a pooled
feature there is nothing left to squeeze: the paper keeps "only the excitation part" on the encoder's output,
and Swin has no class token, so the pooled feature is the consistent reading.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Excitation(nn.Module):
    """Per-channel gates in 0..1: C -> C / reduction -> ReLU -> C -> sigmoid, multiplied onto the input.

    Args:
        channels: C.
        reduction: factor between the two layers; the hidden width is at least 4.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        hidden = max(channels // reduction, 4)
        self.reduce = nn.Linear(channels, hidden)
        self.expand = nn.Linear(hidden, channels)

    def gates(self, squeezed: Tensor) -> Tensor:
        """Gates of shape [B, C] for a squeezed feature [B, C]."""
        return torch.sigmoid(self.expand(torch.relu(self.reduce(squeezed))))

    def forward(self, feature: Tensor) -> Tensor:
        """[B, C] -> [B, C]."""
        return feature * self.gates(feature)


class SqueezeExcite(Excitation):
    """The whole block for a channels-last map: the squeeze is the mean over height and width."""

    def forward(self, feature: Tensor) -> Tensor:
        """[B, H, W, C] -> [B, H, W, C]."""
        return feature * self.gates(feature.mean(dim=(1, 2)))[:, None, None, :]
