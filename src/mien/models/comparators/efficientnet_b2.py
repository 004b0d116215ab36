"""EfficientNet-B2 (Tan and Le, ICML 2019) in the TensorFlow form of Savchenko's networks (Savchenko et al.,
IEEE Transactions on Affective Computing, 2022)."""

from __future__ import annotations

from typing import Final

from torch import nn

from mien.config import ModelConfig, SEPosition
from mien.models.baselines import CLOSE_BELOW, Baseline, timm_encoder

SE_POSITION: Final[SEPosition] = "none"


def build(config: ModelConfig, classes: int, *, hub_weights: bool) -> nn.Module:
    """See `mien.models.comparators.Comparator`."""
    encoder = timm_encoder("tf_efficientnet_b2", config, hub_weights=hub_weights)
    if config.size < CLOSE_BELOW:
        encoder.conv_stem.stride = (1, 1)
    return Baseline(encoder, classes)
