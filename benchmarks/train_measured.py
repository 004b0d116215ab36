"""One run of `mien train`, measured, for benchmarks/train.py."""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from timm.models.swin_transformer import SwinTransformer
from torch.utils.flop_counter import FlopCounterMode

from mien.config import ModelConfig, RunConfig
from mien.models.saved import HISTORY
from mien.models.swin import ConvStem
from mien.progress import Reporter
from mien.train.precision import autocast_precision
from mien.train.run import train_run

SECONDS = ("seconds", "data_wait_seconds", "augment_seconds")
PRODUCT_SIDE = 2048
PRODUCTS = 3
"""Measured each time."""


@dataclass(frozen=True)
class Setting:
    """What all runs share."""

    data: Path
    """A prepared folder."""
    scratch: Path
    """A temporary folder."""
    threads: int
    rounds: int


@dataclass(frozen=True)
class Trained:
    """A run of `mien train`."""

    precision: str
    """As in run.json."""
    images: int
    """Of an epoch."""
    epochs: list[dict[str, float]]
    """The seconds of each epoch but the first, by the names of history.jsonl."""
    busy: float
    """Processor seconds in a second of wall-clock time, validation included."""
    products: list[tuple[float, float]]
    """Operations a second of the matrix product, by wall-clock and by the thread's processor time."""

    def images_per_second(self) -> float:
        """Of the last epoch, by wall-clock time, validation left out."""
        return self.images / self.epochs[-1]["seconds"]


class ProductRates(Reporter):
    """Prints nothing and measures the matrix product instead: whenever an epoch has ended."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__(quiet=True)
        self.a, self.b = (torch.randn(PRODUCT_SIDE, PRODUCT_SIDE).to(dtype) for _ in range(2))
        self.measured: list[tuple[float, float]] = []
        _ = self.a @ self.b

    def say(self, text: str) -> None:
        """Measure."""
        self.measure()

    def measure(self) -> None:
        """Time a few products."""
        for _ in range(PRODUCTS):
            wall, processor = time.perf_counter(), time.thread_time()
            _ = self.a @ self.b
            seconds = time.perf_counter() - wall, time.thread_time() - processor
            self.measured.append((2 * PRODUCT_SIDE**3 / seconds[0], 2 * PRODUCT_SIDE**3 / seconds[1]))


def train(config: RunConfig, setting: Setting, epochs: int) -> Trained:
    """Train so many epochs after one that warms up."""
    loop = replace(config.train, epochs=epochs + 1, threads=setting.threads)
    precision = autocast_precision(loop)
    rates = ProductRates(torch.bfloat16 if precision.startswith("bf16") else torch.float32)
    with tempfile.TemporaryDirectory(dir=setting.scratch) as folder:
        out = Path(folder) / "run"
        rates.measure()
        wall, processor = time.perf_counter(), time.process_time()
        train_run(replace(config, train=loop), setting.data, out, reporter=rates)
        busy = (time.process_time() - processor) / (time.perf_counter() - wall)
        rates.measure()
        history: list[dict[str, Any]] = [
            json.loads(line) for line in (out / HISTORY).read_text(encoding="utf-8").splitlines()
        ]
    # history.jsonl counts them from the start of the run.
    taken = [{key: after[key] - before[key] for key in SECONDS} for before, after in pairwise(history)]
    return Trained(precision, history[-1]["images"], taken, busy, rates.measured)


def operations(model: ModelConfig) -> float:
    """Floating-point operations an image of the forward and backward passes of timm's own Swin.

    They are counted on timm's network so that a faster one does not change them, and without fused attention,
    whose operations on the processor torch's counter leaves out.
    """
    stem: dict[str, Any] = {}
    if model.stem == "conv":
        stem["embed_layer"] = partial(ConvStem, convolutions=model.stem_convolutions)
    network = SwinTransformer(
        img_size=model.size,
        patch_size=4,
        in_chans=model.channels,
        num_classes=8,
        embed_dim=model.embed_dim,
        depths=model.depths,
        num_heads=model.num_heads,
        window_size=model.window,
        **stem,
    )
    for module in network.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False
    images = 2
    x = torch.randn(images, model.channels, model.size, model.size)
    with FlopCounterMode(display=False) as counter:
        loss: Any = F.cross_entropy(network(x), torch.zeros(images, dtype=torch.long))
        loss.backward()
    return float(counter.get_total_flops()) / images
