"""DAN on ResNet-18, see `mien.models.dan`. Its authors start from MS-Celeb-1M's faces; timm's hub has
ImageNet."""

from __future__ import annotations

from typing import Final

from torch import nn

from mien.config import ModelConfig, SEPosition
from mien.models.baselines import resnet_encoder
from mien.models.dan import DAN

SE_POSITION: Final[SEPosition] = "none"


def build(config: ModelConfig, classes: int, *, hub_weights: bool) -> nn.Module:
    """See `mien.models.comparators.Comparator`."""
    return DAN(resnet_encoder("resnet18", config, hub_weights=hub_weights), classes)
