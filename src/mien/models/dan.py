"""DAN (Wen et al., "Distract Your Attention: Multi-head Cross Attention Network for Facial Expression
Recognition", Biomimetics 2023, arXiv 2109.07270): a ResNet-18 whose features are pulled to class centres,
several attention heads over its last map, and a fusion that keeps the heads apart.

Where the paper leaves a choice, such as the layers of a head or how its two losses average, the authors' code
decides (github.com/yaoing/DAN at 4253ad9, networks/dan.py and rafdb.py). One thing departs from it: the
squared distance of the affinity loss is taken directly, not by the expanded product, which loses most of its
digits in bf16.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mien.models.swin import Features

HEADS = 4
"""Attention heads, the paper's choice."""


def _convolution(inputs: int, outputs: int, kernel: tuple[int, int]) -> nn.Sequential:
    padding = (kernel[0] // 2, kernel[1] // 2)
    return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, padding=padding), nn.BatchNorm2d(outputs))


class SpatialAttention(nn.Module):
    """One weight for each place of a map: 1x1, then 3x3, 1x3 and 3x1 side by side, summed over the channels.

    Args:
        channels: C, even.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.squeeze = _convolution(channels, channels // 2, (1, 1))
        self.square = _convolution(channels // 2, channels, (3, 3))
        self.row = _convolution(channels // 2, channels, (1, 3))
        self.column = _convolution(channels // 2, channels, (3, 1))

    def forward(self, feature_map: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W]; the weights are not bounded."""
        squeezed = self.squeeze(feature_map)
        local = torch.relu(self.square(squeezed) + self.row(squeezed) + self.column(squeezed))
        return feature_map * local.sum(dim=1, keepdim=True)


class ChannelAttention(nn.Module):
    """The mean over the map, times one gate in 0..1 for each channel.

    Args:
        channels: C, at least 16.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = channels // 16
        self.gates = nn.Sequential(
            nn.Linear(channels, hidden),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Linear(hidden, channels),
            nn.Sigmoid(),
        )

    def forward(self, feature_map: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C]."""
        pooled = feature_map.mean(dim=(2, 3))
        return pooled * self.gates(pooled)


class CrossAttentionHead(nn.Sequential):
    """Spatial, then channel attention (section 3.2): [B, C, H, W] -> [B, C].

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(SpatialAttention(channels), ChannelAttention(channels))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.001)
            if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)


class AffinityLoss(nn.Module):
    """Pulls a feature to the centre of its class and the centres apart (section 3.1.1).

    The mean over the batch of |x - c_y|^2, divided by the centres' variance, which is unbiased over the
    classes and summed over the channels. The centres are learned.

    Args:
        classes: K, at least 2.
        channels: C.
    """

    def __init__(self, classes: int, channels: int) -> None:
        super().__init__()
        self.centres = nn.Parameter(torch.randn(classes, channels))

    def forward(self, features: Tensor, targets: Tensor) -> Tensor:
        """The loss of one batch, a scalar.

        Args:
            features: [B, C], pooled.
            targets: soft labels [B, K]; a face belongs to one centre, that of its likeliest class (the first
                of several).
        """
        distances = (features - self.centres[targets.argmax(dim=1)]).square().sum(dim=1)
        return distances.mean() / self.centres.var(dim=0).sum()


def partition_loss(heads: Tensor) -> Tensor:
    """Pushes the heads apart (section 3.3.1): log(1 + H / v), a scalar.

    v is the unbiased variance over the heads, averaged over batch and channels.

    Args:
        heads: [B, H, C], after the log-softmax over the heads; H is at least 2.
    """
    variance = heads.var(dim=1).mean()
    return torch.log(1 + heads.shape[1] / (variance + torch.finfo(torch.float64).eps))


class ClassHead(nn.Linear):
    """Logits [B, K] of a fused feature [B, C], normalised over the batch.

    All that depends on the classes is here, the affinity loss's centres too: starting weights of a run with
    other classes leave it out.
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__(channels, classes)
        self.norm = nn.BatchNorm1d(classes)
        self.affinity = AffinityLoss(classes, channels)

    def forward(self, feature: Tensor) -> Tensor:
        """[B, C] -> [B, K]."""
        logits: Tensor = self.norm(super().forward(feature))
        return logits


class DAN(nn.Module):
    """Backbone, attention heads, fusion, linear head: normalised faces to logits.

    Args:
        encoder: a timm ResNet built with `num_classes=0`.
        classes: number of logits, at least 2.
    """

    has_own_loss: ClassVar[bool] = True
    """In training, `forward` takes the targets and returns a loss that is added to the cross-entropy."""

    def __init__(self, encoder: nn.Module, classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.channels = int(encoder.num_features)  # type: ignore[arg-type]
        self.attention = nn.ModuleList(CrossAttentionHead(self.channels) for _ in range(HEADS))
        self.head = ClassHead(self.channels, classes)

    def _map(self, x: Tensor) -> Tensor:
        return self.encoder.forward_features(x)  # type: ignore[operator]

    def _attend(self, feature_map: Tensor) -> Tensor:
        """[B, C, H, W] -> the heads' features [B, heads, C], in competition with each other (section 3.3)."""
        return F.log_softmax(torch.stack([head(feature_map) for head in self.attention], dim=1), dim=1)

    def forward(self, x: Tensor, targets: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor]:
        """Logits [B, K]; in training mode with targets, logits and the affinity and partition losses' sum.

        Args:
            x: normalised faces, float32 [B, C, S, S]; in training mode B is at least 2.
            targets: soft labels, float32 [B, K].
        """
        feature_map = self._map(x)
        heads = self._attend(feature_map)
        logits: Tensor = self.head(heads.sum(dim=1))
        if targets is None or not self.training:
            return logits
        clustered = self.head.affinity(feature_map.mean(dim=(2, 3)), targets)
        return logits, clustered + partition_loss(heads)

    def features(self, x: Tensor) -> Features:
        """The fused feature that the head reads, twice: there is no SE block.

        Args:
            x: normalised faces, float32 [B, C, S, S].
        """
        fused = self._attend(self._map(x)).sum(dim=1)
        return Features(fused, fused)
