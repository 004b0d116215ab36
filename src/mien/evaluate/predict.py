"""Faces of a pack to logits: always fp32, always through the one evaluation path."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from mien.config import ModelConfig
from mien.preprocess import to_input

BATCH = 250
"""Images a forward pass; fixed, so that training's last figures and `mien evaluate` are the same to the last
bit."""


def evaluation_device() -> torch.device:
    """Where checkpoints are scored: the first GPU, or the processor."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@torch.inference_mode()
def predict_logits(
    model: nn.Module,
    pack: npt.NDArray[np.uint8],
    rows: npt.NDArray[np.int64],
    config: ModelConfig,
) -> npt.NDArray[np.float32]:
    """Logits of some rows of a pack.

    Args:
        model: normalised faces -> logits; put into evaluation mode for the call.
        pack: uint8 [N, C, H, W].
        rows: int64 [n].
        config: size, channels, mean and std of the input.

    Returns:
        float32 [n, K].
    """
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    try:
        logits = [model(x.to(device)).float().cpu().numpy() for x in input_batches(pack, rows, config)]
    finally:
        model.train(was_training)
    return np.concatenate(logits)


def input_batches(
    pack: npt.NDArray[np.uint8], rows: npt.NDArray[np.int64], config: ModelConfig
) -> Iterator[torch.Tensor]:
    """Some rows of a pack by the one evaluation path, float32 [at most BATCH, C, S, S] at a time, on the CPU;
    arguments as of `predict_logits`."""
    for start in range(0, len(rows), BATCH):
        faces = np.asarray(pack[rows[start : start + BATCH]]).transpose(0, 2, 3, 1)
        x = to_input(faces, size=config.size, channels=config.channels, mean=config.mean, std=config.std)
        yield torch.from_numpy(x)
