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
from typing import TypeVar

import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import TorchElasticEnvironment
from torch import Tensor

from mien.config import LoopConfig
from mien.errors import InputError, LostProcess
from mien.train.precision import precision_plugin
from mien.train.sam import Tensors

_Part = TypeVar("_Part")


class Devices:
    """The processes of a run, and this one among them.

    Args:
        config: how many, and their arithmetic and threads.

    Raises:
        InputError: there are not so many GPUs, or torchrun started another number of processes.
    """

    def __init__(self, config: LoopConfig) -> None:
        self.count = config.devices
        # Fabric announces itself on every start; run.json holds what it says.
        logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
        nodes = _nodes(config.devices)
        if config.devices > 1:
            _check_gpus(config.devices // nodes)
        _share_threads(config.threads, config.devices // nodes)
        self.fabric = Fabric(
            accelerator="auto",
            devices=config.devices // nodes,
            num_nodes=nodes,
            strategy="ddp" if config.devices > 1 else "auto",
            plugins=[precision_plugin(config)],
        )

    def start(self) -> None:
        """Start the other processes, where torchrun has not; each of them runs this one's command line from
        its beginning to this line."""
        self.fabric.launch()

    @property
    def device(self) -> torch.device:
        """This process's device."""
        return self.fabric.device

    @property
    def rank(self) -> int:
        """This process's number, from 0; process 0 writes the run's folder and speaks."""
        return self.fabric.global_rank

    @property
    def is_first(self) -> bool:
        """Whether this is process 0."""
        return self.rank == 0

    def wait(self) -> None:
        """Wait until all processes are here."""
        self.fabric.barrier()

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
        raise LostProcess(
            "another process of the run has ended; what it said stands above, and mien train --resume "
            "continues from the last checkpoint."
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
    return started // int(os.environ["LOCAL_WORLD_SIZE"])


def _check_gpus(wanted: int) -> None:
    found = torch.cuda.device_count()
    if 0 < found < wanted:
        raise InputError(f"train.devices asks this machine for {wanted} GPUs, and it has {found}.")


def _share_threads(threads: int, processes: int) -> None:
    """Set this process's threads, which torch's kernels and the light runtime's resizing take."""
    if threads:
        torch.set_num_threads(threads)
    elif processes > 1 and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // processes))
