"""The verb that redoes the paper's Table 2 and its ablation."""

from __future__ import annotations

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from mien.cli.parser import new_parser
from mien.cli.stopping import CONTINUES, on_ctrl_c
from mien.errors import InputError

_STUDIES = ("ablation", "table2", "full")
"""Those of `mien.study.ablation.STUDIES`, which imports the training half."""


def reproduce_parser() -> ArgumentParser:
    """Options of `mien reproduce`."""
    parser = new_parser(
        "Train, score and report the paper's Table 2 and its ablation: Swin, Swin-SE, Swin-SE-SAM, the "
        "control that trains without SAM for as long, and SE in its other places. A second call continues "
        "where the first stopped.",
        "mien reproduce --recipe compact --study table2 --data hybrid --out runs/table2",
        "mien reproduce --recipe compact --data hybrid --seeds 3 --out runs/ablation",
        "mien reproduce --study full --recipe compact --data hybrid --out runs/full --list",
    )
    parser.add_argument(
        "--recipe",
        type=Path,
        default=Path("compact"),
        help="`compact`, `paper`, `smoke`, a folder of configs, or one config to ablate",
    )
    parser.add_argument("--data", type=Path, required=True, help="folder that mien data prepare wrote")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/reproduce"), help="folder of the runs and the report"
    )
    parser.add_argument(
        "--study",
        choices=_STUDIES,
        default=_STUDIES[0],
        help="`table2` leaves out the control and the other places of SE, half of the time; `full` adds "
        "label noise, SAM's relatives, balances, shares of the images and comparators, with its own seeds, "
        "and judges each claim of the paper; start it once a core (docs/study-plan.md)",
    )
    parser.add_argument("--seeds", type=int, default=1, help="runs of each column; not with `full`")
    parser.add_argument(
        "--columns", nargs="+", default=[], help="train these alone, such as swin swin_se; all by default"
    )
    parser.add_argument("--epochs", type=int | None, help="epochs instead of the configs'")
    parser.add_argument("--threads", type=int | None, help="processor threads instead of the configs'")
    parser.add_argument(
        "--keep",
        type=Path | None,
        help="`full` only: folder that gets what is small of each run; finished ones are taken from it",
    )
    parser.add_argument(
        "--list", action="store_true", help="`full` only: name the runs that are left and their time"
    )
    return parser


def reproduce_verb(options: Namespace) -> None:
    """Do it, and print the report's summary."""
    with on_ctrl_c(CONTINUES):
        if options.study == "full":
            _reproduce_full(options)
        else:
            _reproduce(options)


def _reproduce(options: Namespace) -> None:
    from mien.progress import Reporter
    from mien.study.reproduce import reproduce

    if options.keep is not None or options.list:
        raise InputError("--keep and --list go with --study full alone.")
    made = reproduce(
        options.recipe,
        options.data,
        options.out,
        reporter=Reporter(),
        study=options.study,
        seeds=options.seeds,
        columns=options.columns,
        epochs=options.epochs,
        threads=options.threads,
    )
    print(f"{made.summary}\nreport: {made.report}")  # noqa: T201


def _reproduce_full(options: Namespace) -> None:
    from mien.progress import Reporter
    from mien.study.document import verdict_lines
    from mien.study.full_run import list_full, reproduce_full

    if options.seeds != 1:
        raise InputError("--study full has its own seeds; leave out --seeds.")
    wanted = {name: options[name] for name in ("keep", "columns", "epochs", "threads")}
    if options.list:
        list_full(options.recipe, options.out, reporter=Reporter(), **wanted)
        return
    made = reproduce_full(options.recipe, options.data, options.out, reporter=Reporter(), **wanted)
    lines = [made.summary, *verdict_lines(options.out), f"report: {made.report}"]
    print("\n".join(lines))  # noqa: T201
