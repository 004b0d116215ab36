"""The processes that share a run, by Lightning Fabric: started here, or by torchrun on one or several nodes.

Each process takes some of a step's micro-batches through a network of its own; gradients, batch statistics
and figures are averaged in the open, by the methods below, once a step. DistributedDataParallel is not put
around the network: SAM's first pass must not be synchronised, and a pass that one process leaves out (its
gradient is zero, or not finite) would leave the others waiting. What is lost is the overlap of communication
and backward.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import TorchElasticEnvironment
from lightning_fabric.strategies import DDPStrategy
from torch import Tensor

from mien.config import LoopConfig
from mien.errors import InputError, LostProcess
from mien.train.memory import keep_freed_memory
from mien.train.precision import precision_plugin
from mien.train.sam import Tensors

PATIENCE = timedelta(minutes=10)
"""How long a process waits for the others before it gives the run up."""

_Part = TypeVar("_Part")


class Devices:
    """The processes of a run, and this one among them.

    Args:
        config: how many, and their arithmetic and threads.

    Raises:
        InputError: there are not so many GPUs, or torchrun started another number of processes.
    """

    def __init__(self, config: LoopConfig) -> None:
        self.count, self._threads = config.devices, config.threads
        # Fabric announces itself on every start; run.json holds what it says.
        logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
        nodes = _nodes(config.devices)
        on_gpu = torch.cuda.is_available()
        if on_gpu:
            _check_gpus(config.devices // nodes)
            # fp32 is meant to the last bit that it promises, in convolutions too.
            torch.backends.cudnn.allow_tf32 = False
        else:
            keep_freed_memory()
        self.fabric = Fabric(
            # Of GPUs only those of CUDA: mps has no float64, and lacks kernels of the augmentation.
            accelerator="cuda" if on_gpu else "cpu",
            devices=config.devices // nodes,
            num_nodes=nodes,
            strategy=DDPStrategy(timeout=PATIENCE) if config.devices > 1 else "auto",
            plugins=[precision_plugin(config)],
        )
        # Fabric knows its own number only once it has started.
        started = os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0"))
        self.rank = int(started) if config.devices > 1 else 0
        """This process's number, from 0; process 0 writes the run's folder and speaks."""

    def start(self) -> None:
        """Start the other processes, where torchrun has not; each of them runs this one's command line from
        its beginning to this line."""
        self.fabric.launch()
        # Afterwards, since the launcher sets the threads too.
        if self._threads:
            torch.set_num_threads(self._threads)

    @property
    def device(self) -> torch.device:
        """This process's device."""
        return self.fabric.device

    @property
    def is_first(self) -> bool:
        """Whether this is process 0."""
        return self.rank == 0

    def average(self, tensors: Tensors) -> None:
        """Average float tensors in place over all processes, which give tensors of the same shapes."""
        if self.count == 1 or not tensors:
            return
        flat = torch.cat([t.reshape(-1) for t in tensors])
        with _named_loss():
            dist.all_reduce(flat)
        parts = flat.div_(self.count).split([t.numel() for t in tensors])
        torch._foreach_copy_(list(tensors), [p.view_as(t) for p, t in zip(parts, tensors, strict=True)])

    def total(self, values: Tensor) -> Tensor:
        """The sum of a tensor over all processes."""
        if self.count > 1:
            values = values.to(self.device)
            with _named_loss():
                dist.all_reduce(values)
        return values

    def gather(self, part: _Part) -> list[_Part]:
        """The parts of all processes, in the order of their numbers."""
        if self.count == 1:
            return [part]
        parts: list[_Part | None] = [None] * self.count
        with _named_loss():
            dist.all_gather_object(parts, part)
        return parts  # type: ignore[return-value]


@contextmanager
def _named_loss() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        reason = str(error).splitlines()[0][:100]
        raise LostProcess(
            "another process of the run has ended, or cannot be reached; what it said stands above, and mien "
            f"train --resume continues from the last checkpoint ({reason})."
        ) from error


def _nodes(devices: int) -> int:
    """How many machines the processes are spread over."""
    if not TorchElasticEnvironment.detect():
        return 1
    started = int(os.environ["WORLD_SIZE"])
    if started != devices:
        raise InputError(
            f"torchrun started {started} processes and train.devices is {devices}; give --devices {started}."
        )
    here = int(os.environ["LOCAL_WORLD_SIZE"])
    if started % here:
        raise InputError(
            f"torchrun started {here} of {started} processes on this machine; start as many on each machine."
        )
    return started // here


def _check_gpus(wanted: int) -> None:
    found = torch.cuda.device_count()
    if found < wanted:
        raise InputError(f"train.devices asks this machine for {wanted} GPUs, and it has {found}.")
