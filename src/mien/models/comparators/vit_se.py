"""ViT-B (Dosovitskiy et al., ICLR 2021) with an excitation on the encoder's class token (Aouayeb et al.,
arXiv 2107.03107, 2021)."""

from __future__ import annotations

from typing import Final

from torch import nn

from mien.config import ModelConfig, SEPosition
from mien.errors import InputError
from mien.models.baselines import CLOSE_BELOW, Baseline, timm_encoder

SE_POSITION: Final[SEPosition] = "pooled"


def build(config: ModelConfig, classes: int, *, hub_weights: bool) -> nn.Module:
    """See `mien.models.comparators.Comparator`."""
    patch = 8 if config.size < CLOSE_BELOW else 16
    if config.size % patch:
        raise InputError(
            f"model.size: vit_se cuts patches of {patch} px; {config.size} px is not a multiple of {patch}."
        )
    encoder = timm_encoder(
        "vit_base_patch16_224", config, hub_weights=hub_weights, img_size=config.size, patch_size=patch
    )
    return Baseline(encoder, classes, reduction=config.se.reduction)
