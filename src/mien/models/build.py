"""A config becomes a network with its starting weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from mien.config import ModelConfig
from mien.errors import InputError
from mien.models.baselines import build_baseline
from mien.models.comparators import names as comparator_names
from mien.models.swin import ExpressionSwin, build_encoder
from mien.models.weights import hub_failure, load_starting_weights


def build_model(
    config: ModelConfig, classes: int, *, labels: Sequence[str] = (), starting_weights: bool = True
) -> nn.Module:
    """The network of a config, on the CPU, in training mode.

    Args:
        config: dimensions, SE position, where starting weights come from.
        classes: number of logits.
        labels: their names; starting weights of a run with other names get a new head.
        starting_weights: read `config.pretrained`; off where a checkpoint is loaded next anyway.

    Raises:
        InputError: the config names something that does not exist; the hub cannot be reached.
        CheckpointError: the starting weights do not fit.
    """
    from_hub = starting_weights and config.pretrained == "hub"
    if from_hub and config.name == "compact_swin":
        raise InputError(
            "model.pretrained: no hub has weights for compact_swin; give a .safetensors file or a run."
        )
    # timm reports a missing network, a missing repository and missing weights by different exceptions.
    try:
        model: nn.Module
        if config.name in comparator_names():
            model = build_baseline(config, classes, hub_weights=from_hub)
        else:
            model = ExpressionSwin(build_encoder(config, hub_weights=from_hub), classes, config.se)
    except InputError:
        raise
    except Exception as error:
        if from_hub:
            raise hub_failure(config.name, error) from error
        raise InputError(f"model: {config.name} cannot be built at {config.size} px ({error}).") from error
    if starting_weights and config.pretrained not in (None, "hub"):
        load_starting_weights(model, Path(str(config.pretrained)), labels)
    return model


def parameter_count(model: nn.Module) -> int:
    """Trainable parameters."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
