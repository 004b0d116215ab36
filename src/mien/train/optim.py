"""A config becomes an optimizer and the learning rate of each step."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from timm.models import group_parameters
from torch import nn
from torch.optim import Optimizer

from mien.config import OptimConfig, SAMConfig
from mien.errors import InputError
from mien.train.muon import MuonAdamW
from mien.train.sam import SAM, Tensors
from mien.train.sam_relatives import ESAM, LookSAM, MomentumSAM


def build_optimizer(
    model: nn.Module,
    config: OptimConfig,
    *,
    average: Callable[[Tensors], None] | None = None,
) -> SAM:
    """The base optimizer with SAM or a relative around it; at `sam.rho` 0 the wrapper only calls the closure
    and steps.

    Args:
        model: the network.
        config: optimizer, weight decay, layer-wise decay of the rate, SAM.
        average: see `SAM`.

    Raises:
        InputError: the config does not fit the model, or momentum-SAM an optimizer without momentum.
    """
    groups = parameter_groups(model, config)
    parameters = [p for group in groups for p in group["params"]]
    base: Optimizer
    if config.name == "sgd":
        base = torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, foreach=True)
    elif config.name == "muon":
        base = MuonAdamW(groups, lr=config.lr, betas=config.betas, momentum=config.momentum)
    else:
        base = torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, fused=True)

    def clip() -> None:
        if config.clip_norm is not None:
            nn.utils.clip_grad_norm_(parameters, config.clip_norm)

    return _around(base, model, config.sam, average=average, before_step=clip)


def _around(base: Optimizer, model: nn.Module, config: SAMConfig, **hooks: Any) -> SAM:
    climb = {"rho": config.rho, "adaptive": config.adaptive, **hooks}
    if config.method == "looksam":
        return LookSAM(base, model, every=config.every, alpha=config.alpha, **climb)
    if config.method == "esam":
        return ESAM(base, model, beta=config.beta, gamma=config.gamma, **climb)
    if config.method == "msam":
        try:
            return MomentumSAM(base, model, rho=config.rho, **hooks)
        except ValueError:
            raise InputError(
                "sam.method msam climbs along the momentum; set optim.momentum above 0."
            ) from None
    return SAM(base, model, **climb)


UNDECAYED = ("relative_position_bias_table", "pos_embed", "cls_token", "centres")
"""Ends of the names of tables that are not decayed: positions, the class token, DAN's class centres."""


def parameter_groups(model: nn.Module, config: OptimConfig) -> list[dict[str, Any]]:
    """The groups of an optimizer: the parameters that are trained, their weight decay, their rate.

    Biases, norms and the tables of `UNDECAYED` are not decayed: they have one dimension, or say where
    something is, and pulling them to zero has no meaning.

    Returns:
        Groups with `params`, `weight_decay`, `lr`, and `lr_scale`, which `set_learning_rate` heeds: with a
        `layer_decay` below 1 (Clark et al., ICLR 2020; Bao et al., ICLR 2022) it is `layer_decay` to the
        number of layers between a layer and the head. Two groups without it, decayed first. For Muon they
        have `matrices` too, and the hidden matrices are groups of their own, after the others.

    Raises:
        InputError: there is a layer decay, and the model's encoder does not say what its layers are.
    """
    depths = {} if config.layer_decay == 1 else layer_depths(model)
    head = max(depths.values(), default=0)
    members: dict[tuple[int, bool, bool], list[nn.Parameter]] = {
        (head, False, False): [],
        (head, True, False): [],
    }
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            undecayed = parameter.ndim <= 1 or name.endswith(UNDECAYED)
            matrix = config.name == "muon" and not undecayed and is_hidden_matrix(name, parameter)
            members.setdefault((depths.get(name, head), undecayed, matrix), []).append(parameter)
    groups: list[dict[str, Any]] = []
    for (depth, undecayed, matrix), parameters in members.items():
        scale = config.layer_decay ** (head - depth)
        decay = 0.0 if undecayed else config.weight_decay
        groups.append(
            {"params": parameters, "weight_decay": decay, "lr": config.lr * scale, "lr_scale": scale}
        )
        if config.name == "muon":
            groups[-1]["matrices"] = matrix
    return groups


def is_hidden_matrix(name: str, parameter: nn.Parameter) -> bool:
    """Whether Muon takes a weight: matrices and kernels between the first layer and the head.

    The head is left to AdamW, as its authors do, and so are kernels over fewer than four channels: the first
    convolution, and depthwise ones, whose rows have nothing to be orthogonal to.
    """
    is_narrow = parameter.ndim > 2 and parameter.shape[1] < 4
    return parameter.ndim >= 2 and not name.startswith("head.") and not is_narrow


def layer_depths(model: nn.Module) -> dict[str, int]:
    """How deep each parameter lies: the encoder's stem 0, its blocks 1, 2, ..., all outside of it (the head,
    the SE block) one more than the last block. Layers are counted as timm does.

    Raises:
        InputError: the model has no timm network as its `encoder`.
    """
    encoder: Any = getattr(model, "encoder", None)
    if not hasattr(encoder, "group_matcher"):
        raise InputError(
            f"optim.layer_decay: {type(model).__name__} has no layers that timm could tell apart."
        )
    inside: dict[str, int] = group_parameters(encoder, encoder.group_matcher(), reverse=True)
    depths = {f"encoder.{name}": depth for name, depth in inside.items()}
    top = max(inside.values()) + 1
    return {name: depths.get(name, top) for name, _ in model.named_parameters()}


def is_encoder_frozen(config: OptimConfig, step: int, steps_per_epoch: int) -> bool:
    """Whether a step, counted from 0 over the whole run, trains only the head and the SE block."""
    return step < config.frozen_epochs * steps_per_epoch


def freeze_encoder(model: nn.Module, frozen: bool) -> None:
    """Make the encoder of a model in training mode a fixed feature extractor, or let it learn.

    Frozen it is in evaluation mode, so that BatchNorm statistics stay and stochastic depth draws nothing, and
    takes no gradient, so that no optimizer, SAM among them, moves it or builds state for it.

    Args:
        model: a network with an `encoder`.
        frozen: off undoes it.

    Raises:
        InputError: the model has no `encoder`.
    """
    encoder = getattr(model, "encoder", None)
    if not isinstance(encoder, nn.Module):
        raise InputError(f"optim.frozen_epochs: {type(model).__name__} has no encoder to freeze.")
    encoder.train(not frozen)
    encoder.requires_grad_(not frozen)


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
    """Set the rate of every parameter group: `rate` times its `lr_scale`, where it has one."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("lr_scale", 1.0)
