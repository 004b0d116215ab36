"""The verbs of `mien study`: questions about data that need training."""

from __future__ import annotations

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from mien.cli.parser import Verb, new_parser, settings_of
from mien.cli.stopping import CONTINUES, on_ctrl_c
from mien.config import RunConfig


def add_study_verbs(parser: ArgumentParser) -> dict[str, Verb]:
    """Give the parser of `mien study` its verbs; returns what each of them does."""
    verbs = parser.add_subcommands(dest="verb")
    verbs.add_subcommand("label-noise", _label_noise_parser(), help="which labels look wrong")
    verbs.add_subcommand(
        "verdicts", _verdicts_parser(), help="the paper's claims, judged by a study's results"
    )
    return {"label-noise": _label_noise, "verdicts": _verdicts}


def _verdicts_parser() -> ArgumentParser:
    parser = new_parser(
        "Judge each claim of the paper by a folder of results, whether or not it has weights, and write the "
        "page of the study.",
        "mien study verdicts --results results/study",
        "mien study verdicts --results results/study --write docs/study.md",
    )
    parser.add_argument(
        "--results", type=Path, required=True, help="folder of a study, or what mien reproduce --keep kept"
    )
    parser.add_argument("--write", type=Path | None, help="Markdown file to write")
    return parser


def _verdicts(options: Namespace) -> None:
    from mien.study.document import verdict_lines, write_study

    if options.write is not None:
        command = f"mien study verdicts --results {options.results} --write {options.write}"
        write_study(options.results, options.write, command=command)
    print("\n".join(verdict_lines(options.results)))  # noqa: T201


def _label_noise_parser() -> ArgumentParser:
    parser = new_parser(
        "Score every label of the training split by models that have not seen it (confident learning). The "
        "scores go into user columns and a report; nothing is removed. A second call continues where the "
        "first stopped.",
        "mien study label-noise --config configs/compact/swin.toml --data hybrid --out runs/label-noise",
    )
    parser.add_argument(
        "--config",
        action="config",
        help="TOML file of the runs; give it first, since what comes later wins",
    )
    parser.add_argument("--data", type=Path, required=True, help="folder that mien data prepare wrote")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs and the report")
    parser.add_argument("--folds", type=int, default=5, help="models, each trained on all folds but one")
    parser.add_argument("--samples", type=int, default=48, help="doubtful faces that the report shows")
    parser.add_argument(
        "--write_columns",
        type=bool,
        default=True,
        help="whether the scores become columns user.label_* of the manifest",
    )
    parser.add_class_arguments(RunConfig)
    return parser


def _label_noise(options: Namespace) -> None:
    from mien.progress import Reporter
    from mien.study.label_noise import label_noise

    config = settings_of(RunConfig, options)
    with on_ctrl_c(CONTINUES):
        made = label_noise(
            config,
            options.data,
            options.out,
            reporter=Reporter(),
            folds=options.folds,
            samples=options.samples,
            write_columns=options.write_columns,
        )
    rate = made.issues / max(made.images - made.unscored, 1)
    print(  # noqa: T201
        f"{made.issues:,} of {made.images - made.unscored:,} labels look wrong ({rate:.1%}); the models that "
        f"say so get {made.accuracy:.1%} of the labels right."
    )
    if made.columns_written:
        print(f"columns user.label_*: {options.data}")  # noqa: T201
    print(f"report: {options.out / 'label_noise.html'}")  # noqa: T201
