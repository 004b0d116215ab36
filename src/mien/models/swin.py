"""A Swin Transformer with a squeeze-and-excitation block and a linear head (sections 3.4 and 3.5, Fig. 3).

The encoder is timm's (Liu et al., ICCV 2021) with blocks of ours, equal and faster. `compact_swin` builds one
for 48 px: a convolutional stem instead of linear patches (Xiao et al., NeurIPS 2021: early convolutions let a
transformer learn from few images), three stages on maps of 12, 6 and 3 tokens, windows of 6.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import timm
import torch
from timm.models.swin_transformer import SwinTransformer
from torch import Tensor, nn

from mien.config import ModelConfig, SEConfig
from mien.errors import InputError
from mien.models.comparators import names as comparator_names
from mien.models.squeeze_excite import Excitation, SqueezeExcite
from mien.models.window_attention import replace_blocks


class Features(NamedTuple):
    """What the SE block did to one batch, averaged over the map where it acts on one."""

    before_se: Tensor
    """float32 [B, C]."""
    after_se: Tensor
    """float32 [B, C]; equals `before_se` without an SE block."""


class ConvStem(nn.Module):
    """3x3 convolutions, two of them with stride 2: one token for 4x4 pixels, seen through overlapping fields.

    Takes timm's patch-embedding arguments, so that it can stand in for `PatchEmbed`.

    Args:
        convolutions: how many, at least 3: the first two at half of the resolution, further ones by turns at
            a quarter and at half of it.
    """

    def __init__(
        self,
        img_size: int,
        patch_size: int = 4,
        in_chans: int = 3,
        embed_dim: int = 64,
        *,
        convolutions: int = 3,
        **_timm_extras: Any,
    ) -> None:
        super().__init__()
        if patch_size != 4 or img_size % 4:
            raise InputError(
                f"the convolutional stem embeds patches of 4 px; {img_size} px is not a multiple of 4."
            )
        if convolutions < 3:
            raise InputError(
                f"model.stem_convolutions is {convolutions}; the convolutional stem has at least 3."
            )
        self.img_size = (img_size, img_size)
        self.patch_size = (4, 4)
        self.grid_size = (img_size // 4, img_size // 4)
        half = embed_dim // 2
        at_quarter = (convolutions - 2) // 2
        at_half = convolutions - 2 - at_quarter
        shapes = [(in_chans, half, 2), *[(half, half, 1)] * at_half]
        shapes += [(half, embed_dim, 2), *[(embed_dim, embed_dim, 1)] * at_quarter]
        self.layers = nn.Sequential(*(layer for shape in shapes for layer in self._convolution(*shape)))
        self.norm = nn.LayerNorm(embed_dim)

    @staticmethod
    def _convolution(inputs: int, outputs: int, stride: int) -> tuple[nn.Module, nn.Module, nn.Module]:
        convolution = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
        return convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, S, S] -> channels-last [B, S/4, S/4, embed_dim]."""
        if x.shape[1] == 1:
            # One channel's bytes are the same in both layouts; these strides keep all that follows
            # channels-last.
            x = x.reshape(x.shape[0], *x.shape[2:], 1).permute(0, 3, 1, 2)
        x = self.layers(x.contiguous(memory_format=torch.channels_last))
        return self.norm(x.permute(0, 2, 3, 1))


class ExpressionSwin(nn.Module):
    """Encoder, squeeze-and-excitation, linear head: normalised faces to logits.

    Args:
        encoder: a timm Swin built with `num_classes=0`; its map is channels-last.
        classes: number of logits.
        se: where the block sits.

    Raises:
        InputError: the encoder has not the parts that an SE block could be put between.
    """

    def __init__(self, encoder: nn.Module, classes: int, se: SEConfig) -> None:
        super().__init__()
        if getattr(encoder, "output_fmt", None) != "NHWC" or not hasattr(encoder, "layers"):
            name = type(encoder).__name__
            raise InputError(
                f"model.name: {name} has no channels-last map; take a `swin_*` or `swinv2_*` of timm."
            )
        self.encoder = encoder
        self.se_position = se.position
        self.channels = int(encoder.num_features)  # type: ignore[arg-type]
        self.se: nn.Module = nn.Identity()
        if se.position == "pooled":
            self.se = Excitation(self.channels, se.reduction)
        elif se.position == "feature_map":
            self.se = SqueezeExcite(self.channels, se.reduction)
        elif se.position == "stem":
            self.se = SqueezeExcite(int(encoder.embed_dim), se.reduction)  # type: ignore[arg-type]
        self.head = nn.Linear(self.channels, classes)
        nn.init.trunc_normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def _stem(self, x: Tensor) -> Tensor:
        return self.encoder.patch_embed(x)  # type: ignore[operator]

    def _map(self, stem: Tensor) -> Tensor:
        return self.encoder.norm(self.encoder.layers(stem))  # type: ignore[operator]

    def forward(self, x: Tensor) -> Tensor:
        """Normalised faces float32 [B, C, S, S] -> logits [B, classes]."""
        stem = self._stem(x)
        feature_map = self._map(self.se(stem) if self.se_position == "stem" else stem)
        if self.se_position == "feature_map":
            feature_map = self.se(feature_map)
        pooled = feature_map.mean(dim=(1, 2))
        return self.head(self.se(pooled) if self.se_position == "pooled" else pooled)

    def features(self, x: Tensor) -> Features:
        """The features before and after the SE block, for the paper's cluster claim (section 3.6).

        Args:
            x: normalised faces, float32 [B, C, S, S].
        """
        stem = self._stem(x)
        if self.se_position == "stem":
            return Features(stem.mean(dim=(1, 2)), self.se(stem).mean(dim=(1, 2)))
        feature_map = self._map(stem)
        pooled = feature_map.mean(dim=(1, 2))
        if self.se_position == "feature_map":
            return Features(pooled, self.se(feature_map).mean(dim=(1, 2)))
        return Features(pooled, self.se(pooled))


def build_encoder(config: ModelConfig, *, hub_weights: bool = False) -> nn.Module:
    """The Swin encoder that a config names, without a head; its state is that of timm's.

    Raises:
        InputError: timm does not know the name, or the dimensions do not fit together.
    """
    if config.name == "compact_swin":
        return _compact_encoder(config)
    if config.name not in timm.list_models("swin*"):
        raise InputError(
            f"model.name: timm has no Swin called {config.name!r}; take `compact_swin`, one of "
            f"`timm.list_models('swin*')`, such as swin_tiny_patch4_window7_224, or a comparator: "
            f"{', '.join(comparator_names())}."
        )
    encoder: nn.Module = timm.create_model(
        config.name,
        pretrained=hub_weights,
        num_classes=0,
        img_size=config.size,
        in_chans=config.channels,
        drop_path_rate=config.drop_path,
    )
    if isinstance(encoder, SwinTransformer):
        replace_blocks(encoder)
    return encoder


def _compact_encoder(config: ModelConfig) -> nn.Module:
    if not len(config.depths) == len(config.num_heads) > 0:
        raise InputError("model.depths and model.num_heads need one number a stage each.")
    widths = [config.embed_dim * 2**stage for stage in range(len(config.depths))]
    for width, heads in zip(widths, config.num_heads, strict=True):
        if width % heads:
            raise InputError(f"model.num_heads: {width} channels do not divide by {heads} heads.")
    extra: dict[str, Any] = {}
    if config.stem == "conv":
        extra["embed_layer"] = partial(ConvStem, convolutions=config.stem_convolutions)
    encoder = SwinTransformer(
        img_size=config.size,
        patch_size=4,
        in_chans=config.channels,
        num_classes=0,
        embed_dim=config.embed_dim,
        depths=config.depths,
        num_heads=config.num_heads,
        window_size=config.window,
        drop_path_rate=config.drop_path,
        **extra,
    )
    replace_blocks(encoder, local=config.local == "depthwise")
    return encoder
