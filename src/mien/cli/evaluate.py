"""The verbs that come after training: evaluate, export, report, reproduce."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from mien.cli.parser import Verb, new_parser
from mien.errors import InputError

_ANALYSES = ("features", "maps", "robustness", "sharpness", "landscape")
"""Those of `mien.evaluate.analysis_files.ANALYSES`, which imports the training half."""

_STUDIES = ("ablation", "table2", "full")
"""Those of `mien.study.ablation.STUDIES`, which imports the training half."""


def add_evaluate_verbs(commands: Any) -> dict[str, Verb]:
    """Give `mien` these verbs; returns what each of them does.

    Args:
        commands: what `add_subcommands` gave.
    """
    commands.add_subcommand("evaluate", _evaluate_parser(), help="score and analyse a model on a split")
    commands.add_subcommand("export", _export_parser(), help="write a run as an ONNX file")
    commands.add_subcommand("report", _report_parser(), help="one HTML page from runs and evaluated models")
    commands.add_subcommand(
        "reproduce", _reproduce_parser(), help="the paper's Table 2 and its ablation, start to end"
    )
    return {"evaluate": _evaluate, "export": _export, "report": _report, "reproduce": _reproduce}


def print_figures(model: Path | str, entries: Sequence[dict[str, Any]]) -> None:
    """Print the figures of a model, one entry a label view."""
    for figures in entries:
        low, high = figures["accuracy_interval"]
        lines = [
            f"{model}: {figures['split']}, labels {figures['view']} ({len(figures['labels'])} classes), "
            f"{figures['count']} images, rule {figures['rule']}",
            f"  accuracy           {figures['accuracy']:.6f}  (95 % interval {low:.4f} to {high:.4f})",
            *(
                f"  {name.replace('_', ' '):<18} {figures[name]:.6f}"
                for name in figures
                if isinstance(figures[name], float) and name != "accuracy"
            ),
        ]
        print("\n".join(lines))  # noqa: T201


def _evaluate_parser() -> ArgumentParser:
    parser = new_parser(
        "Score a model, in fp32, and analyse it. Of a run it is the checkpoint that validation chose, and "
        "what comes is kept in the run's folder. Examples: mien evaluate runs/a --also features maps "
        "robustness; mien evaluate their_package.api:predict --data hybrid --out evaluated/theirs --report "
        "theirs.html"
    )
    parser.add_argument(
        "model",
        type=str,
        help="a run's folder, an .onnx file, `bundled`, or `module:function` or `file.py:function` that "
        "takes uint8 faces [N,H,W,C] and gives probabilities [N,K]; its attribute `labels` names the classes",
    )
    parser.add_argument("--data", type=Path | None, help="prepared folder; a run's own by default")
    parser.add_argument(
        "--split", choices=("train", "validation", "test"), default="test", help="which images"
    )
    parser.add_argument(
        "--labels",
        type=str | None,
        help="print these alone: `all`, `7` (contempt left out) or names; by default all, and 7 where it "
        "applies",
    )
    parser.add_argument(
        "--also",
        nargs="+",
        choices=_ANALYSES,
        default=[],
        help="analyses, the cheapest first; all but maps and robustness need a run, sharpness and landscape "
        "its training images",
    )
    parser.add_argument(
        "--images",
        type=int | None,
        help="drawn images that robustness is measured on, 500 by default; 0 takes all",
    )
    parser.add_argument(
        "--out",
        type=Path | None,
        help="folder of what is evaluated, which mien report reads beside runs; a run's own by default, "
        "needed for anything else, and for a run on other data than its own",
    )
    parser.add_argument("--report", type=Path | None, help="page to write of this model alone")
    return parser


def _evaluate(options: Namespace) -> None:
    from mien.evaluate.models import names_run

    if options.images is not None and "robustness" not in options.also:
        raise InputError("--images is of robustness alone; give --also robustness, or leave it out.")
    keeps = bool(options.also or options.report)
    if names_run(options.model) and options.out is None:
        folder = Path(options.model)
        _evaluate_run(folder, options, keeps)
    else:
        if options.data is None:
            raise InputError(
                f"{options.model}: give --data, a prepared folder; only a run without --out knows its own."
            )
        if keeps and options.out is None:
            raise InputError(f"{options.model}: --also and --report need a folder to keep it in; give --out.")
        folder = options.out
        _evaluate_model(options)
    if options.report is not None:
        from mien.report.html import write_report

        print(f"report: {write_report([folder], options.report, data=options.data)}")  # noqa: T201


def _evaluate_run(run: Path, options: Namespace, keeps: bool) -> None:
    from mien.data.prepared import load_prepared
    from mien.evaluate.models import open_model
    from mien.evaluate.run import evaluate_run
    from mien.models.saved import read_run

    saved = read_run(run)
    data = options.data or saved.data
    if keeps and load_prepared(data).manifest.hash() != saved.record["manifest_hash"]:
        raise InputError(
            f"{run}: it was trained on other data than {data}, and its folder keeps only what is of its own; "
            "give --out, another folder."
        )
    target = saved.config.training_set.target
    analyse = _analysis(open_model(run), data, run, options, target) if options.also else None
    print_figures(run, evaluate_run(run, data, split=options.split, views=_views(options)))
    if analyse:
        analyse()


def _evaluate_model(options: Namespace) -> None:
    from mien.evaluate.models import open_model
    from mien.evaluate.run import evaluate_model

    model = open_model(options.model)
    analyse = _analysis(model, options.data, options.out, options, None) if options.also else None
    figures, sentences = evaluate_model(
        model, options.data, split=options.split, views=_views(options), out=options.out
    )
    print_figures(options.model, figures)
    print(*(f"  {sentence}" for sentence in sentences), sep="\n", end="\n" if sentences else "")  # noqa: T201
    if analyse:
        analyse()


def _views(options: Namespace) -> list[str] | None:
    return None if options.labels is None else [options.labels]


def _analysis(
    model: Any, data: Path, folder: Path, options: Namespace, target: str | None
) -> Callable[[], None]:
    """The wanted analyses, to be called after the scoring; what does not fit is refused before it."""
    from mien.evaluate.analyses import ROBUSTNESS_IMAGES, analyse, check_analyses
    from mien.progress import Reporter

    images = ROBUSTNESS_IMAGES if options.images is None else options.images
    settings = {"split": options.split, "target": target, "images": images}
    check_analyses(model, data, options.also, **settings)
    return partial(analyse, model, data, folder, options.also, **settings, reporter=Reporter())


def _export_parser() -> ArgumentParser:
    parser = new_parser(
        "Write a run as an ONNX file that carries its card, and MODEL_CARD.md beside it. Example: "
        "mien export runs/a --out a.onnx --int8"
    )
    parser.add_argument("run", type=Path, help="folder of the run")
    parser.add_argument(
        "--out", type=Path | None, help="file to write; model.onnx in the run's folder by default"
    )
    parser.add_argument(
        "--precision",
        type=float | None,
        help="share of right answers, such as 0.9: the file gets the confidence below which it abstains to "
        "keep that promise, found on the validation images",
    )
    parser.add_argument(
        "--int8",
        action="store_true",
        help="write a smaller, quicker file beside it, NAME.int8.onnx, if it keeps the accuracy on the "
        "validation images",
    )
    parser.add_argument(
        "--openvino", action="store_true", help="write NAME.xml and NAME.bin for OpenVINO beside it"
    )
    parser.add_argument(
        "--data", type=Path | None, help="prepared folder, for --int8; the run's own by default"
    )
    return parser


def _export(options: Namespace) -> None:
    from mien.export.run import export_run
    from mien.report.model_card import NAME, write_model_card

    path = options.out or options.run / "model.onnx"
    card = export_run(options.run, path, precision=options.precision)
    abstains = "" if card.abstain_threshold is None else f", abstains below {card.abstain_threshold:.3f}"
    print(  # noqa: T201
        f"{path}: {path.stat().st_size / 1e6:.1f} MB, temperature {card.temperature:.3f}{abstains}, "
        f"classes {', '.join(card.labels)}"
    )
    written = write_model_card(options.run, path.with_name(NAME), card, file=path.name)
    print(f"{written}: what to tell who uses it")  # noqa: T201
    if options.int8:
        _export_int8(options, path)
    if options.openvino:
        from mien.export.openvino import export_openvino

        network = path.with_suffix(".xml")
        difference = export_openvino(options.run, path, network)
        print(f"{network}: OpenVINO, its logits lie up to {difference:.0e} from torch's")  # noqa: T201


def _export_int8(options: Namespace, source: Path) -> None:
    from mien.export.comparison import comparison_table
    from mien.export.int8 import export_int8

    path = source.with_suffix(".int8.onnx")
    made = export_int8(options.run, source, path, data=options.data, precision=options.precision)
    print(comparison_table(made.files))  # noqa: T201
    print(  # noqa: T201
        f"{path}: int8 {made.method}, {100 * made.loss:.2f} points of the validation accuracy lost, "
        f"temperature {made.card.temperature:.3f}"
    )


def _report_parser() -> ArgumentParser:
    parser = new_parser(
        "One self-contained HTML page from runs and evaluated models. Example: "
        "mien report runs/* evaluated/* --out report.html"
    )
    parser.add_argument("runs", type=Path, nargs="+", help="folders of runs, or of mien evaluate --out")
    parser.add_argument("--out", type=Path, default=Path("report.html"), help="file to write")
    parser.add_argument(
        "--data",
        type=Path | None,
        help="prepared folder, for what is shown of the data; the runs' own by default",
    )
    parser.add_argument("--no-pictures", action="store_true", help="show no face of the data on the page")
    return parser


def _report(options: Namespace) -> None:
    from mien.report.html import write_report

    pictures = not options.no_pictures
    print(write_report(options.runs, options.out, data=options.data, pictures=pictures))  # noqa: T201


def _reproduce_parser() -> ArgumentParser:
    parser = new_parser(
        "Train, score and report the paper's Table 2 and its ablation: Swin, Swin-SE, Swin-SE-SAM, the "
        "control that trains without SAM for as long, and SE in its other places. A second call continues "
        "where the first stopped. "
        "Example: mien reproduce --recipe compact --data hybrid --seeds 3 --out runs/ablation"
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


def _reproduce(options: Namespace) -> None:
    from mien.progress import Reporter
    from mien.study.reproduce import reproduce

    if options.study == "full":
        _reproduce_full(options)
        return
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
