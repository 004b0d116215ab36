"""ResNet-50 (He et al., CVPR 2016), the backbone of Thinh et al., ICCV workshops 2021."""

from __future__ import annotations

from typing import Final

from torch import nn

from mien.config import ModelConfig, SEPosition
from mien.models.baselines import Baseline, resnet_encoder

SE_POSITION: Final[SEPosition] = "none"


def build(config: ModelConfig, classes: int, *, hub_weights: bool) -> nn.Module:
    """See `mien.models.comparators.Comparator`."""
    return Baseline(resnet_encoder("resnet50", config, hub_weights=hub_weights), classes)
