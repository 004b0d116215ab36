"""The systems that the paper compares itself with, for the same loop: ResNet-50, ViT with SE,
EfficientNet-B2, DAN.

The backbones are timm's. They were made for 224 px and above; a face of 48 px would leave the CNNs a last map
of 2x2 and ViT a grid of 3x3. Below 96 px each looks twice as closely, by its stem alone: the ResNets leave
out their max-pool, EfficientNet's first convolution has stride 1, ViT cuts patches of 8 px. At 48 px the last
map is 3x3, as Swin's is, and ViT's grid 6x6. The CNNs' published weights fit as they are; of ViT's, timm
resamples the patch and position tables.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

import timm
from torch import Tensor, nn

from mien.config import ModelConfig
from mien.errors import InputError
from mien.models.dan import DAN
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
        self.channels = int(encoder.num_features)  # type: ignore[arg-type]
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


def _resnet(name: str, config: ModelConfig, hub_weights: bool) -> nn.Module:
    encoder: nn.Module = timm.create_model(
        name,
        pretrained=hub_weights,
        num_classes=0,
        in_chans=config.channels,
        drop_path_rate=config.drop_path,
    )
    if config.size < CLOSE_BELOW:
        encoder.maxpool = nn.Identity()
    return encoder


def _resnet50(config: ModelConfig, classes: int, hub_weights: bool) -> nn.Module:
    """ResNet-50 (He et al., CVPR 2016), the backbone of Thinh et al., ICCV workshops 2021."""
    return Baseline(_resnet("resnet50", config, hub_weights), classes)


def _dan(config: ModelConfig, classes: int, hub_weights: bool) -> nn.Module:
    """DAN on ResNet-18. Its authors start from MS-Celeb-1M's faces; timm's hub has ImageNet."""
    return DAN(_resnet("resnet18", config, hub_weights), classes)


def _efficientnet_b2(config: ModelConfig, classes: int, hub_weights: bool) -> nn.Module:
    """EfficientNet-B2 (Tan and Le, ICML 2019) in the TensorFlow form of Savchenko's networks (Savchenko et
    al., IEEE Transactions on Affective Computing, 2022)."""
    encoder = timm.create_model(
        "tf_efficientnet_b2",
        pretrained=hub_weights,
        num_classes=0,
        in_chans=config.channels,
        drop_path_rate=config.drop_path,
    )
    if config.size < CLOSE_BELOW:
        encoder.conv_stem.stride = (1, 1)
    return Baseline(encoder, classes)


def _vit_se(config: ModelConfig, classes: int, hub_weights: bool) -> nn.Module:
    """ViT-B (Dosovitskiy et al., ICLR 2021) with an excitation on the encoder's class token (Aouayeb et al.,
    arXiv 2107.03107, 2021)."""
    patch = 8 if config.size < CLOSE_BELOW else 16
    if config.size % patch:
        raise InputError(
            f"model.size: vit_se cuts patches of {patch} px; {config.size} px is not a multiple of {patch}."
        )
    encoder = timm.create_model(
        "vit_base_patch16_224",
        pretrained=hub_weights,
        num_classes=0,
        img_size=config.size,
        patch_size=patch,
        in_chans=config.channels,
        drop_path_rate=config.drop_path,
    )
    return Baseline(encoder, classes, reduction=config.se.reduction)


BASELINES: Mapping[str, Callable[[ModelConfig, int, bool], nn.Module]] = {
    "resnet50": _resnet50,
    "vit_se": _vit_se,
    "efficientnet_b2": _efficientnet_b2,
    "dan": _dan,
}
"""Value of `model.name` to what builds the network."""


def build_baseline(config: ModelConfig, classes: int, *, hub_weights: bool = False) -> nn.Module:
    """The comparator of a config, on the CPU, in training mode: normalised faces float32 [B, C, S, S] to
    logits [B, classes]; it has an attribute `has_own_loss`.

    Args:
        config: `name`, `size`, `channels`, `drop_path` and `se` are read.
        classes: number of logits, at least 2.
        hub_weights: start the backbone from timm's ImageNet weights; needs a network.

    Raises:
        InputError: no comparator has that name, its size does not fit, or the config asks for another SE
            block than the comparator's own.
    """
    name = config.name
    if name not in BASELINES:
        raise InputError(f"model.name: no comparator is called {name!r}; take one of {', '.join(BASELINES)}.")
    # A run's record says what was trained, so a block that the comparator has not must not be in it.
    own = "pooled" if name == "vit_se" else "none"
    if config.se.position != own:
        raise InputError(
            f"model.se.position is {config.se.position}; {name} is defined with {own}, set that."
        )
    return BASELINES[name](config, classes, hub_weights)
