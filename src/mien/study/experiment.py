"""What a study asks of the configs of its runs."""

from __future__ import annotations

from dataclasses import replace

from mien.config import RunConfig
from mien.errors import InputError


def is_same_experiment(one: RunConfig, other: RunConfig) -> bool:
    """Whether two configs differ in nothing that a result should hang on.

    Threads, precision and how often a checkpoint is written do not count, nor which process takes which of a
    step's micro-batches.
    """
    return _experiment(one) == _experiment(other)


def _experiment(config: RunConfig) -> RunConfig:
    train = config.train
    parts = train.accumulate * train.devices
    return replace(
        config,
        train=replace(
            train, threads=0, precision="auto", checkpoint_minutes=0.0, accumulate=parts, devices=1
        ),
    )


def check_one_device(config: RunConfig) -> None:
    """Refuse a run on several devices.

    Raises:
        InputError: other processes would run the whole study, from its start.
    """
    if config.train.devices > 1:
        raise InputError(
            "a study trains on one device, and train.devices is "
            f"{config.train.devices}; train its runs with mien train into the study's folder, and it goes on "
            "from there."
        )
