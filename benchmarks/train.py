"""What training costs: mien against the plain script, SAM against its base, the processor's share at work.

    python benchmarks/train.py
    python benchmarks/train.py --threads 1 --items 4,5 --rounds 5
    python benchmarks/train.py --data PREPARED

Without `--data`, faces are drawn and prepared. All that is written lies in a temporary folder and is removed.
What is compared takes turns, so that a slow moment of the machine falls on all alike; a row gives the median
and the range over the rounds. The items:

1. Images/s of SAM with mien, by default and in fp32, to those of benchmarks/plain_script.py with the best of
   0, 1 and 2 loading processes. The network is that of configs/compact/swin_se_sam.toml without what a plain
   script has not: SE block, convolutional stem, average of the weights. Each turn is a process of its own,
   which warms up and then trains a whole epoch, in wall-clock time; mien warms up for an epoch, the script
   for a few steps.
2. A step of SAM to one of its base, and the copies of the weights that it holds, by benchmarks/sam.py:
   processor time of one thread, since threads that wait for one another use it up on a busy machine.
3. A step of momentum-SAM to one of its base, likewise.
4. The share of a training epoch of configs/compact/swin.toml that the loop is blocked on the next batch, and
   the share that augmentation takes.
5. The share of the processor's bf16 rate that training reaches (fp32 where training is in fp32). Below: the
   rate of `a @ b` at 2048, measured between the epochs in the same process. Above: the operations of forward
   and backward pass of timm's own Swin, over the seconds of an epoch, augmentation and bookkeeping included,
   validation not. With one thread also by processor time, which others on the machine change less.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeVar

import sam
import torch
from train_measured import Setting, Trained, operations, train

from mien.config import DrawnConfig, PrepareConfig, RunConfig, SEConfig, read_run_config
from mien.data.prepare import prepare
from mien.models.build import parameter_count

CONFIGS = Path(__file__).parent.parent / "configs/compact"
DRAWN_FACES = 4500
"""About 3,100 of them are in the training split."""
WORKERS = (0, 1, 2)
BASES = {"SGD": "SGD, {}", "AdamW": "{}"}
"""The base optimizers of benchmarks/sam.py, and how it calls a method around each."""
WIDE: dict[str, Any] = {"embed_dim": 96, "depths": (2, 6, 2), "num_heads": (3, 6, 12)}
"""The network for which item 5 has a target, with batches of 128."""
Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Row:
    """A row of the table. The target is compared with what is printed."""

    item: int
    what: str
    values: Sequence[float]
    """One a round."""
    target: float | None = None
    aim: Literal["at least", "at most"] = "at most"
    is_share: bool = False

    def __str__(self) -> str:
        middle = round(statistics.median(self.values), 3 if self.is_share else 2)
        told = self._told(middle)
        if len(self.values) > 1:
            told += f" ({self._told(min(self.values))} to {self._told(max(self.values))})"
        if self.target is None:
            return f"| {self.item} | {self.what} | {told} | | |"
        reached = middle >= self.target if self.aim == "at least" else middle <= self.target
        target = f"{self.aim} {self._told(self.target)}"
        return f"| {self.item} | {self.what} | {told} | {target} | {'reached' if reached else 'missed'} |"

    def _told(self, value: float) -> str:
        return f"{value:.1%}" if self.is_share else f"{value:.2f}"


def apart(
    threads: int, function: Callable[Parameters, Result], *args: Parameters.args, **kwargs: Parameters.kwargs
) -> Result:
    """Call a function in a process of its own."""
    spawn = get_context("spawn")
    with ProcessPoolExecutor(1, spawn, torch.set_num_threads, (threads,)) as pool:
        return pool.submit(function, *args, **kwargs).result()


def say(text: str) -> None:
    """Progress, on standard error."""
    print(text, file=sys.stderr, flush=True)


def against_plain_script(setting: Setting) -> list[Row]:
    """Item 1."""
    import plain_script

    config = read_run_config(CONFIGS / "swin_se_sam.toml")
    model = replace(config.model, stem="patch", se=SEConfig("none"))
    config = replace(config, model=model, train=replace(config.train, ema=0.0))
    pictures = setting.scratch / "pictures"
    plain_script.write_pictures(setting.data, config.training_set.target, pictures)

    def plain(workers: int) -> float:
        return apart(setting.threads, plain_script.images_per_second, pictures, config, workers)

    speeds = {workers: plain(workers) for workers in WORKERS}
    best = max(speeds, key=speeds.__getitem__)
    say("plain script: " + ", ".join(f"{n} workers {speed:.1f} images/s" for n, speed in speeds.items()))
    fp32 = replace(config, train=replace(config.train, precision="fp32"))
    by_default, in_fp32 = [], []
    for number in range(setting.rounds):
        slow = plain(best)
        default, same = (apart(setting.threads, train, each, setting, 1) for each in (config, fp32))
        by_default.append(default.images_per_second() / slow)
        in_fp32.append(same.images_per_second() / slow)
        say(
            f"round {number + 1}: plain script {slow:.1f}, mien {default.images_per_second():.1f}, "
            f"in fp32 {same.images_per_second():.1f} images/s"
        )
    script = f"the plain script ({best} workers, fp32)"
    return [
        Row(1, f"images/s of SAM by mien ({default.precision}) to {script}", by_default, 3.0, "at least"),
        Row(1, f"the same, mien in fp32 ({same.precision})", in_fp32),
    ]


def step_seconds(names: Sequence[str], rounds: int, path: Path) -> dict[str, list[float]]:
    """Processor seconds a step of some methods of benchmarks/sam.py, by turns."""
    config = read_run_config(path)
    trainers = {name: sam.Trainer(name, config, config.train.batch_size) for name in names}
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds + 1):
        for name, trainer in trainers.items():
            taken = trainer.steps()
            if number > 0:
                seconds[name].append(taken)
    return seconds


def copies_held(name: str, path: Path) -> float:
    """What a method of benchmarks/sam.py holds at most when a pass begins, in copies of the weights."""
    config = read_run_config(path)
    trainer = sam.Trainer(name, config, config.train.batch_size)
    return sam.held(trainer) / (4 * parameter_count(trainer.model))


def sam_steps(setting: Setting, items: set[int]) -> list[Row]:
    """Items 2 and 3."""
    path = CONFIGS / "swin_se_sam.toml"
    wanted = [each for each in ((2, "SAM", 2.03), (3, "momentum-SAM", 1.10)) if each[0] in items]
    names = [*BASES, *(around.format(method) for _, method, _ in wanted for around in BASES.values())]
    # A turn is five steps, so that more of them than of epochs can be had.
    seconds = apart(1, step_seconds, names, 4 * setting.rounds, path)
    rows = []
    for item, method, target in wanted:
        for base, around in BASES.items():
            ratios = [a / b for a, b in zip(seconds[around.format(method)], seconds[base], strict=True)]
            rows.append(Row(item, f"step of {method} around {base} to one of {base}", ratios, target))
    if 2 in items:
        for base, around in BASES.items():
            more, less = (apart(1, copies_held, name, path) for name in (around.format("SAM"), base))
            rows.append(Row(2, f"copies of the weights that SAM holds beyond {base}", [more - less], 1.0))
    return rows


def compact_swin(setting: Setting, items: set[int]) -> list[Row]:
    """Items 4 and 5."""
    config = read_run_config(CONFIGS / "swin.toml")
    trained = apart(setting.threads, train, config, setting, setting.rounds)
    rows = []
    if 4 in items:
        for key, what, target in (
            ("data_wait_seconds", "blocked on the next batch", 0.02),
            ("augment_seconds", "in augmentation", 0.05),
        ):
            shares = [epoch[key] / epoch["seconds"] for epoch in trained.epochs]
            rows.append(Row(4, f"share of training time {what}", shares, target, is_share=True))
    if 5 in items:
        loop = replace(config.train, batch_size=128)
        wide = replace(config, model=replace(config.model, **WIDE), train=loop)
        wide_trained = apart(setting.threads, train, wide, setting, setting.rounds)
        rows += rate_shares(wide_trained, wide, setting, 0.65)
        rows += rate_shares(trained, config, setting, None)
    return rows


def rate_shares(trained: Trained, config: RunConfig, setting: Setting, target: float | None) -> list[Row]:
    """Item 5 for one config."""
    work = operations(config.model) * trained.images
    rates = [work / epoch["seconds"] for epoch in trained.epochs]
    product, product_by_processor = (statistics.median(each) for each in zip(*trained.products, strict=True))
    width, batch = config.model.embed_dim, config.train.batch_size
    say(
        f"dims from {width}: {work / trained.images / 1e9:.2f} GFLOP an image, "
        f"{statistics.median(rates) / 1e9:.0f} of {product / 1e9:.0f} GFLOP/s, {trained.busy:.2f} cores busy"
    )
    what = f"share of the {trained.precision} product rate, dims from {width}, batch {batch}"
    rows = [Row(5, what, [rate / product for rate in rates], target, "at least", is_share=True)]
    if setting.threads == 1:
        shares = [rate / trained.busy / product_by_processor for rate in rates]
        rows.append(Row(5, f"{what}, processor time", shares, target, "at least", is_share=True))
    return rows


def measure(setting: Setting, items: set[int]) -> list[Row]:
    """The rows of some items."""
    rows = against_plain_script(setting) if 1 in items else []
    rows += sam_steps(setting, items) if items & {2, 3} else []
    rows += compact_swin(setting, items) if items & {4, 5} else []
    return rows


def main() -> None:
    """Parse the command line and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="a prepared folder; drawn faces by default")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="all cores by default")
    parser.add_argument("--items", default="1,2,3,4,5", help="numbers separated by commas")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    named = options.items.split(",")
    if not set(named) <= set("12345"):
        parser.error(f"--items {options.items}: the items are numbers from 1 to 5, separated by commas.")
    items = {int(item) for item in named}
    if 1 in items and importlib.util.find_spec("torchvision") is None:
        raise SystemExit("Item 1 needs torchvision; install it with `pip install torchvision`.")
    # The plain script knows no other device, and the share is the processor's; the processes inherit this.
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    with tempfile.TemporaryDirectory() as folder:
        data = options.data
        if data is None:
            data = Path(folder) / "drawn"
            prepare("drawn", data, PrepareConfig(template_sample=0, drawn=DrawnConfig(count=DRAWN_FACES)))
        rows = measure(Setting(data, Path(folder), options.threads, options.rounds), items)
    processor = torch.cpu.get_capabilities().get("cpu_name") or platform.processor() or platform.machine()
    print(f"{processor}, torch {torch.__version__}, {options.threads} threads, {options.rounds} rounds\n")
    print("| item | what | median (range) | target | |\n| --- | --- | --- | --- | --- |")
    print(*rows, sep="\n")


if __name__ == "__main__":
    main()
