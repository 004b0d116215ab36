"""The verb that trains."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from mien.cli.evaluate import print_figures
from mien.cli.parser import new_parser, settings_of
from mien.config import RunConfig
from mien.errors import InputError
from mien.models import comparators


def train_parser() -> ArgumentParser:
    """Options of `mien train`."""
    parser = new_parser(
        "Train a model. On several devices: --devices 2, or, over several machines, torchrun on each. "
        f"What Swin is compared with, by --model.name: {', '.join(comparators.names())}.",
        "mien train --config configs/compact/swin_se_sam.toml --data hybrid --out runs/a",
        "mien train --config configs/smoke.toml --data drawn --out runs/b --optim.lr 0.01 --max-minutes 30",
        "mien train --resume runs/a",
        "torchrun --nnodes 2 --nproc-per-node 4 --rdzv-endpoint HOST:PORT -m mien train --devices 8 "
        "--resume runs/a",
    )
    parser.add_argument(
        "--config",
        action="config",
        help="TOML file with any of the settings below; give it first, since what comes later wins",
    )
    parser.add_argument("--data", type=Path | None, help="folder that mien data prepare wrote")
    parser.add_argument("--out", type=Path | None, help="folder of the run")
    parser.add_argument(
        "--resume",
        type=Path | None,
        help="continue this run with its own config; only --data may stand beside it, where it has moved",
    )
    parser.add_argument("--devices", type=int | None, help="short for --train.devices")
    parser.add_argument("--max-minutes", type=float | None, help="short for --train.max_minutes")
    parser.add_class_arguments(RunConfig)
    return parser


def train(options: Namespace) -> None:
    """Do it, and print the validation figures."""
    short = {name: options[name] for name in ("devices", "max_minutes") if options[name] is not None}
    config = settings_of(RunConfig, options)
    config = replace(config, train=replace(config.train, **short))
    run: Path
    if options.resume is not None:
        run = options.resume
        if options.out is not None or options.config or short or config != RunConfig():
            raise InputError("--resume continues a run with its own config; leave out all but --data.")
    elif options.data is None or options.out is None:
        raise InputError(
            "mien train needs --data (a prepared folder) and --out (the run's folder), or --resume RUN."
        )
    else:
        run = options.out
    with _continued_by(run):
        from mien.progress import Reporter
        from mien.train.run import resume_run, train_run

        if options.resume is not None:
            figures = resume_run(run, reporter=Reporter(), data=options.data)
        else:
            figures = train_run(config, options.data, run, reporter=Reporter())
    print_figures(run, [figures])


@contextmanager
def _continued_by(run: Path) -> Iterator[None]:
    """Ctrl-C between the steps of training is answered by the loop; this answers it before and after."""
    try:
        yield
    except KeyboardInterrupt as stopped:
        if str(stopped) or not (run / "last.safetensors").is_file():
            raise
        raise KeyboardInterrupt(f"stopped; continue with: mien train --resume {run}") from None
