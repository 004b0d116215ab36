"""What SAM and its relatives cost a step, against the optimizer that they are around, in one run.

    OMP_NUM_THREADS=1 python benchmarks/sam.py
    OMP_NUM_THREADS=1 python benchmarks/sam.py --rounds 20 --config configs/compact/swin_se_sam.toml

The config's network is trained on one batch of noise in bf16 autocast. The methods take turns, five steps
each, so that a slow moment of the machine falls on all alike, and processor time is taken, so that others on
the machine do not count. The ratio is the median over the rounds of a method's five steps to those of its
base in the same round.

`held` is what lies in memory when a pass begins, beyond what the base holds then, in copies of the weights,
at the worst pass of a step. `peak` is the largest resident memory of a process that trains by this method
alone, less that of the base's.
"""

from __future__ import annotations

import argparse
import gc
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mien.config import OptimConfig, RunConfig, SAMConfig, read_run_config
from mien.models.build import build_model, parameter_count
from mien.train.optim import build_optimizer
from mien.train.sam import SAM

STEPS = 5
METHODS: dict[str, tuple[Literal["adamw", "sgd"], SAMConfig]] = {
    "AdamW": ("adamw", SAMConfig()),
    "SAM": ("adamw", SAMConfig(rho=0.05)),
    "ASAM": ("adamw", SAMConfig(rho=0.5, adaptive=True)),
    "LookSAM, k 5": ("adamw", SAMConfig("looksam", rho=0.05, every=5)),
    "SAM every 5": ("adamw", SAMConfig("looksam", rho=0.05, every=5, alpha=0.0)),
    "ESAM": ("adamw", SAMConfig("esam", rho=0.05, beta=0.5, gamma=0.5)),
    "ESAM, weights only": ("adamw", SAMConfig("esam", rho=0.05, beta=0.5, gamma=1.0)),
    "ESAM, images only": ("adamw", SAMConfig("esam", rho=0.05, beta=1.0, gamma=0.5)),
    "momentum-SAM": ("adamw", SAMConfig("msam", rho=0.5)),
    "SGD": ("sgd", SAMConfig()),
    "SGD, SAM": ("sgd", SAMConfig(rho=0.05)),
    "SGD, momentum-SAM": ("sgd", SAMConfig("msam", rho=0.5)),
}
BASE = {"adamw": "AdamW", "sgd": "SGD"}


class Trainer:
    """One method's network, optimizer and batch."""

    def __init__(self, name: str, config: RunConfig, batch: int) -> None:
        base, sam = METHODS[name]
        torch.manual_seed(0)
        self.model = build_model(config.model, 8)
        self.sam: SAM = build_optimizer(self.model, OptimConfig(name=base, lr=1e-4, sam=sam))
        size, channels = config.model.size, config.model.channels
        self.x, self.y = torch.randn(batch, channels, size, size), torch.randint(0, 8, (batch,))
        self.when_cleared: Callable[[], None] = lambda: None

    def __call__(self, rows: Tensor | None = None, *, backward: bool = True) -> Tensor:
        """The closure."""
        x, y = (self.x, self.y) if rows is None else (self.x[rows], self.y[rows])
        if backward:
            self.sam.zero_grad()
        self.when_cleared()
        with torch.autocast("cpu", torch.bfloat16):
            logits = self.model(x)
        losses = F.cross_entropy(logits.float(), y, reduction="none")
        if backward:
            loss: Any = losses.mean()
            loss.backward()
        return losses.detach()

    def steps(self) -> float:
        """Processor seconds a step."""
        began = time.process_time()
        for _ in range(STEPS):
            self.sam.step(self)
        return (time.process_time() - began) / STEPS


def held(trainer: Trainer) -> int:
    """Bytes of all tensors alive when a pass begins: the most of any pass."""
    seen: list[int] = []

    def count() -> None:
        tensors = (t for t in gc.get_objects() if type(t) in (Tensor, nn.Parameter))
        storages = {s.data_ptr(): s.nbytes() for s in (t.untyped_storage() for t in tensors)}
        seen.append(sum(storages.values()))

    trainer.steps()
    trainer.when_cleared = count
    trainer.steps()
    return max(seen)


def memory(name: str, config: RunConfig, batch: int) -> None:
    """Print bytes held and largest resident bytes of a process that trains by this method alone."""
    trainer = Trainer(name, config, batch)
    most = held(trainer)
    print(most, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def measure(config: RunConfig, path: Path, batch: int, rounds: int) -> None:
    """Time all methods by turns, measure memory in a process each, and print the table."""
    # First: Linux starts a child's largest resident memory at what its parent has.
    bytes_of = {}
    for name in METHODS:
        command = [sys.executable, __file__, "--memory", name, "--config", str(path), "--batch", str(batch)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        bytes_of[name] = [int(word) for word in done.stdout.split()]
    trainers = {name: Trainer(name, config, batch) for name in METHODS}
    seconds: dict[str, list[float]] = {name: [] for name in METHODS}
    for number in range(rounds + 1):
        for name, trainer in trainers.items():
            taken = trainer.steps()
            if number > 0:
                seconds[name].append(taken)
    weights = 4 * parameter_count(trainers["AdamW"].model)
    print(
        f"{weights / 4e6:.2f} M parameters, batch {batch}, {torch.get_num_threads()} threads, {rounds} rounds"
    )
    print(f"{'':20} {'ms/step':>8} {'ratio':>6} {'(range)':>13} {'held':>6} {'peak MB':>8}")
    for name, (base, _) in METHODS.items():
        ratios = [a / b for a, b in zip(seconds[name], seconds[BASE[base]], strict=True)]
        more = [a - b for a, b in zip(bytes_of[name], bytes_of[BASE[base]], strict=True)]
        print(
            f"{name:20} {1e3 * statistics.median(seconds[name]):8.1f} {statistics.median(ratios):6.2f} "
            f"({min(ratios):5.2f}-{max(ratios):5.2f}) {more[0] / weights:6.2f} {more[1] / 1e6:8.1f}"
        )


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = Path(__file__).parent.parent / "configs/compact/swin_se_sam.toml"
    parser.add_argument("--config", type=Path, default=default)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--memory", choices=METHODS, help="measure one method's memory and print bytes")
    options = parser.parse_args()
    config = read_run_config(options.config)
    if options.memory:
        memory(options.memory, config, options.batch)
    else:
        measure(config, options.config, options.batch, options.rounds)


if __name__ == "__main__":
    main()
