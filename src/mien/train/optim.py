"""A config becomes an optimizer and the learning rate of each step."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from mien.config import OptimConfig
from mien.train.sam import SAM


def build_optimizer(
    model: nn.Module,
    config: OptimConfig,
    *,
    first_pass: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> SAM:
    """The base optimizer with SAM around it; at `sam.rho` 0 the wrapper only calls the closure and steps.

    Biases, norms and relative position tables are not decayed: they have one dimension, or say how far apart
    two tokens are, and pulling them to zero has no meaning.

    Args:
        model: the network.
        config: optimizer, weight decay, SAM.
        first_pass: see `SAM`.
    """
    decayed: list[nn.Parameter] = []
    kept: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            is_kept = parameter.ndim <= 1 or "relative_position_bias_table" in name
            (kept if is_kept else decayed).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": kept, "weight_decay": 0.0},
    ]
    base: Optimizer
    if config.name == "sgd":
        base = torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, foreach=True)
    else:
        base = torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, fused=True)

    def clip() -> None:
        if config.clip_norm is not None:
            nn.utils.clip_grad_norm_([*decayed, *kept], config.clip_norm)

    return SAM(
        base, model, rho=config.sam.rho, adaptive=config.sam.adaptive, first_pass=first_pass, before_step=clip
    )


def learning_rate(config: OptimConfig, step: int, steps_per_epoch: int, epochs: int) -> float:
    """The rate of one step, counted from 0 over the whole run.

    `step`: the rate falls by `gamma` every `step_epochs` epochs (section 3.6: tenfold every ten epochs).
    `cosine`: linear warm-up from 0, then half a cosine to `final_lr` (Loshchilov and Hutter, ICLR 2017).
    """
    if config.schedule == "step":
        return config.lr * config.gamma ** (step // steps_per_epoch // config.step_epochs)
    # A warm-up of more than a fifth of the run would leave a short one no time at the full rate.
    warmup = min(config.warmup_epochs, epochs / 5) * steps_per_epoch
    if step < warmup:
        return config.lr * min(1.0, (step + 1) / warmup)
    done = (step - warmup) / max(epochs * steps_per_epoch - warmup, 1)
    final = min(config.final_lr, config.lr)
    return final + (config.lr - final) * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


def set_learning_rate(optimizer: Optimizer, rate: float) -> None:
    """Set the rate of every parameter group."""
    for group in optimizer.param_groups:
        group["lr"] = rate
