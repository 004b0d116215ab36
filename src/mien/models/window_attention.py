"""Swin's block (Liu et al., ICCV 2021, section 3.2), arranged for small maps and many windows.

Function and parameters are those of timm's `SwinTransformerBlock`; the order of the work differs. Cyclic
shift, padding and partition are one gather of tokens, and a window that covers the whole map needs none.
Heads are the outermost axis, so that one window of one head is one matrix. Scores are kept transposed,
[keys, queries]: a softmax over the keys then runs along whole rows of queries, which on a CPU is faster than
one along a short last axis. Under autocast the scores stay in its type; products and softmax accumulate in
float32.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from timm.models.swin_transformer import SwinTransformer, SwinTransformerBlock
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class _AttendInWindows(torch.autograd.Function):
    """softmax(scale Q K^T + bias) V in every window and head.

    The gradient is written out because autograd's would copy once for each view between the products.
    """

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, bias: Tensor, scale: float) -> Tensor:
        """The attended values [B * W, N, C].

        Args:
            ctx: autograd's.
            qkv: [B * W, N, 3 C], image by image; queries, keys, values, each head by head.
            bias: [heads, W, N, N], keys before queries; or one for all windows, [heads, 1, N, N].
            scale: factor of the products.
        """
        heads, kinds, tokens, _ = bias.shape
        windows = qkv.shape[0]
        with torch.autocast(qkv.device.type, enabled=False):
            parts = qkv.view(windows, tokens, 3, heads, -1).permute(2, 3, 0, 1, 4)
            q, k, v = parts.flatten(1, 2).unbind(0)
            scores = qkv.new_empty(heads, windows // kinds, kinds, tokens, tokens).copy_(bias.unsqueeze(1))
            scores = scores.view(-1, tokens, tokens).baddbmm_(k, q.transpose(1, 2), alpha=scale)
            weights = scores.softmax(dim=1)
            attended = torch.bmm(weights.transpose(1, 2), v)
        ctx.save_for_backward(q, k, v, weights)
        ctx.scale, ctx.heads, ctx.kinds = scale, heads, kinds
        return _side_by_side(heads, attended)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        """Gradients of qkv and bias."""
        q, k, v, weights = ctx.saved_tensors
        tokens, heads = q.shape[1], ctx.heads
        with torch.autocast(gradient.device.type, enabled=False):
            of_attended = gradient.view(-1, tokens, heads, q.shape[2]).permute(2, 0, 1, 3).reshape(q.shape)
            of_v = torch.bmm(weights, of_attended)
            of_weights = torch.bmm(v, of_attended.transpose(1, 2))
            of_scores = torch._softmax_backward_data(of_weights, weights, 1, weights.dtype)
            # With beta 0 only the shape of the first argument counts.
            of_q = torch.baddbmm(q, of_scores.transpose(1, 2), k, beta=0, alpha=ctx.scale)
            of_k = torch.baddbmm(k, of_scores, q, beta=0, alpha=ctx.scale)
            of_bias = of_scores.view(heads, -1, ctx.kinds, tokens, tokens).sum(1, dtype=torch.float32)
        return _side_by_side(heads, of_q, of_k, of_v), of_bias, None


def _attend_plainly(qkv: Tensor, bias: Tensor, scale: float) -> Tensor:
    """What `_AttendInWindows` computes, in a plain form: exporters know it, and autograd differentiates it
    twice."""
    heads, kinds, tokens, _ = bias.shape
    windows = qkv.shape[0]
    q, k, v = qkv.view(windows, tokens, 3, heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
    scores = (q * scale) @ k.transpose(-2, -1)
    scores = scores.view(-1, kinds, heads, tokens, tokens) + bias.permute(1, 0, 3, 2)
    weights = scores.view(windows, heads, tokens, tokens).softmax(dim=-1)
    return (weights @ v).transpose(1, 2).reshape(windows, tokens, -1)


def _side_by_side(heads: int, *parts: Tensor) -> Tensor:
    """Each [heads * windows, N, D] -> together [windows, N, parts * heads * D]."""
    split = (part.view(heads, -1, *part.shape[1:]) for part in parts)
    return torch.cat([head for part in split for head in part.unbind(0)], dim=-1)


class _Reorder(torch.autograd.Function):
    """`x[:, order]`, where `back` is the order that undoes it: its gradient is a gather too."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, order: Tensor, back: Tensor) -> Tensor:
        """[B, T, C] -> [B, T', C]; a place beyond the last token is empty and filled with zeros."""
        ctx.save_for_backward(order, back)
        return _take(x, order, back)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        """[B, T', C] -> [B, T, C]."""
        order, back = ctx.saved_tensors
        return _take(gradient, back, order), None, None


def _take(x: Tensor, order: Tensor, back: Tensor) -> Tensor:
    if len(order) > len(back):
        x = F.pad(x, (0, 0, 0, 1))
    return x.index_select(1, order)


def window_order(
    size: tuple[int, int], window: tuple[int, int], shift: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Where the tokens of a map stand, window by window, after the cyclic shift, and back.

    A map that windows do not divide is padded at its lower and right edge after the shift, as timm does.

    Args:
        size: height and width of the map, in tokens.
        window: of a window.
        shift: how far the map is rolled up and to the left.

    Returns:
        order: int64 [windows * N], places in the row-major map; height * width stands for padding.
        back: int64 [height * width], places in `order`.
    """
    (height, width), (rows, columns) = size, window
    places = torch.arange(height * width).view(height, width)
    places = torch.roll(places, (-shift[0], -shift[1]), (0, 1))
    places = F.pad(places, (0, -width % columns, 0, -height % rows), value=height * width)
    places = places.unflatten(1, (-1, columns)).unflatten(0, (-1, rows))
    order = places.transpose(1, 2).flatten()
    return order, order.argsort(stable=True)[: height * width]


class WindowAttention(nn.Module):
    """Multi-head self-attention in windows with relative position bias.

    Args:
        block: timm's, whose parameters are taken over.
    """

    order: Tensor
    back: Tensor
    position_index: Tensor
    mask: Tensor | None

    def __init__(self, block: SwinTransformerBlock) -> None:
        super().__init__()
        self.plain = False
        """Whether to use operations only that autograd can differentiate twice; slower."""
        theirs = block.attn
        self.scale: float = theirs.scale
        self.relative_position_bias_table = theirs.relative_position_bias_table
        self.qkv, self.proj = theirs.qkv, theirs.proj
        self.window_area: int = theirs.window_area
        order, back = window_order(block.input_resolution, block.window_size, block.shift_size)
        self.partitioned = tuple(block.window_size) != tuple(block.input_resolution)
        # Keys before queries; timm's mask [windows, queries, keys] is symmetric.
        index = theirs.relative_position_index.t().flatten()
        buffers = {"order": order, "back": back, "position_index": index, "mask": block.attn_mask}
        for name, value in buffers.items():
            self.register_buffer(name, value, persistent=False)

    def _bias(self) -> Tensor:
        """Position bias and the mask of the shift, [heads, windows or 1, keys, queries]."""
        table = self.relative_position_bias_table
        bias = table[self.position_index].t().reshape(-1, 1, self.window_area, self.window_area)
        return bias if self.mask is None else bias + self.mask

    def forward(self, x: Tensor) -> Tensor:
        """[B, height * width, C] -> the same shape."""
        batch, _, channels = x.shape
        plain = self.plain or torch.compiler.is_exporting()
        attend, reorder = (_attend_plainly, _take) if plain else (_AttendInWindows.apply, _Reorder.apply)
        if self.partitioned:
            x = reorder(x, self.order, self.back)
        qkv = self.qkv(x.reshape(-1, self.window_area, channels))
        x = self.proj(attend(qkv, self._bias(), self.scale))
        x = x.reshape(batch, -1, channels)
        if self.partitioned:
            x = reorder(x, self.back, self.order)
        return x


class SwinBlock(nn.Module):
    """Attention and MLP, each normalised first, added to what came in, dropped for some images in training.

    Args:
        block: timm's, whose parameters are taken over.
        local: add a 3x3 depthwise convolution of the map to it first, zero at the start, which lets tokens
            see their neighbours over the edges of windows (conditional position encoding, Chu et al., ICLR
            2023; before each block as in Twins, Chu et al., NeurIPS 2021).
    """

    def __init__(self, block: SwinTransformerBlock, *, local: bool = False) -> None:
        super().__init__()
        self.local: nn.Conv2d | None = None
        if local:
            self.local = nn.Conv2d(block.dim, block.dim, 3, padding=1, groups=block.dim)
            nn.init.zeros_(self.local.weight)
            nn.init.zeros_(self.local.bias)  # type: ignore[arg-type]
        # In timm's order, which an optimizer's saved state follows.
        self.norm1, self.attn, self.drop_path1 = block.norm1, WindowAttention(block), block.drop_path1
        self.norm2, self.mlp, self.drop_path2 = block.norm2, block.mlp, block.drop_path2

    def forward(self, x: Tensor) -> Tensor:
        """[B, height, width, C] -> the same shape."""
        if self.local is not None:
            x = x + self.local(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        tokens = x.flatten(1, 2)
        tokens = tokens + self.drop_path1(self.attn(self.norm1(tokens)))
        tokens = tokens + self.drop_path2(self.mlp(self.norm2(tokens)))
        return tokens.reshape(x.shape)


def replace_blocks(encoder: SwinTransformer, *, local: bool = False) -> None:
    """Put a `SwinBlock` in the place of each of timm's blocks, with the same parameters.

    Args:
        encoder: without dropout; its input size can no longer be changed.
        local: see `SwinBlock`.
    """
    for stage in encoder.layers:
        stage.blocks = nn.Sequential(*(SwinBlock(block, local=local) for block in stage.blocks))
