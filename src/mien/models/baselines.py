"""The systems that the paper compares itself with, for the same loop: what those of `mien.models.comparators`
share.

The backbones are timm's. They were made for 224 px and above; a face of 48 px would leave the CNNs a last map
of 2x2 and ViT a grid of 3x3. Below 96 px each looks twice as closely, by its stem alone: the ResNets leave
out their max-pool, EfficientNet's first convolution has stride 1, ViT cuts patches of 8 px. At 48 px the last
map is 3x3, as Swin's is, and ViT's grid 6x6. The CNNs' published weights fit as they are; of ViT's, timm
resamples the patch and position tables.
"""

from __future__ import annotations

from typing import Any, ClassVar

import timm
from torch import Tensor, nn

from mien.config import ModelConfig
from mien.errors import InputError
from mien.models.comparators import comparator
from mien.models.squeeze_excite import Excitation
from mien.models.swin import Features

CLOSE_BELOW = 96
"""Inputs smaller than this, in pixels, are looked at twice as closely."""


class Baseline(nn.Module):
    """Encoder, excitation or none, linear head: normalised faces to logits.

    Args:
        encoder: a timm network built with `num_classes=0`: faces to one feature each, [B, F].
        classes: number of logits.
        reduction: of the excitation on the feature; none leaves it out.
    """

    has_own_loss: ClassVar[bool] = False
    """Whether `forward` takes the targets in training and returns a loss of its own beside the logits."""

    def __init__(self, encoder: nn.Module, classes: int, *, reduction: int | None = None) -> None:
        super().__init__()
        self.encoder = encoder
        # Not `num_features`: MobileNetV3, for one, widens its feature once more behind the pooling.
        self.channels = int(encoder.head_hidden_size)  # type: ignore[arg-type]
        self.se: nn.Module = nn.Identity() if reduction is None else Excitation(self.channels, reduction)
        self.head = nn.Linear(self.channels, classes)
        nn.init.trunc_normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised faces float32 [B, C, S, S] -> logits [B, classes]."""
        return self.head(self.se(self.encoder(x)))

    def features(self, x: Tensor) -> Features:
        """The encoder's feature before and after the SE block.

        Args:
            x: normalised faces, float32 [B, C, S, S].
        """
        feature = self.encoder(x)
        return Features(feature, self.se(feature))


def timm_encoder(name: str, config: ModelConfig, *, hub_weights: bool, **more: Any) -> Any:
    """A network of timm without its head: faces float32 [B, C, S, S] to one feature each, [B, F].

    Args:
        name: timm's.
        config: `channels` and `drop_path` are read.
        hub_weights: start from timm's ImageNet weights; needs a network.
        more: further arguments of the network's own.

    Returns:
        An `nn.Module` whose parts, such as its stem, may be replaced by name.
    """
    return timm.create_model(
        name,
        pretrained=hub_weights,
        num_classes=0,
        in_chans=config.channels,
        drop_path_rate=config.drop_path,
        **more,
    )


def resnet_encoder(name: str, config: ModelConfig, *, hub_weights: bool) -> nn.Module:
    """A ResNet, which looks twice as closely at small faces; arguments as of `timm_encoder`."""
    encoder: nn.Module = timm_encoder(name, config, hub_weights=hub_weights)
    if config.size < CLOSE_BELOW:
        encoder.maxpool = nn.Identity()
    return encoder


def build_baseline(config: ModelConfig, classes: int, *, hub_weights: bool = False) -> nn.Module:
    """The comparator of a config, on the CPU, in training mode: normalised faces float32 [B, C, S, S] to
    logits [B, classes]; it has an attribute `has_own_loss`.

    Args:
        config: `name`, `size`, `channels`, `drop_path` and `se` are read.
        classes: number of logits, at least 2.
        hub_weights: start the backbone from timm's ImageNet weights; needs a network.

    Raises:
        InputError: its size does not fit, or the config asks for another SE block than the comparator's own.
    """
    own = comparator(config.name)
    # A run's record says what was trained, so a block that the comparator has not must not be in it.
    if config.se.position != own.SE_POSITION:
        raise InputError(
            f"model.se.position is {config.se.position}; {config.name} is defined with {own.SE_POSITION}, "
            "set that."
        )
    return own.build(config, classes, hub_weights=hub_weights)
