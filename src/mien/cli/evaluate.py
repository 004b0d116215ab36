"""The verb that scores and analyses a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from mien.cli.parser import PRIORS, new_parser
from mien.cli.stopping import on_ctrl_c
from mien.errors import InputError

_ANALYSES = ("features", "maps", "robustness", "sharpness", "landscape")
"""Those of `mien.evaluate.analysis_files.ANALYSES`, which imports the training half."""


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


def evaluate_parser() -> ArgumentParser:
    """Options of `mien evaluate`."""
    parser = new_parser(
        "Score a model, in fp32, and analyse it. Of a run it is the checkpoint that validation chose, and "
        "what comes is kept in the run's folder.",
        "mien evaluate runs/a --also features maps robustness --report report.html",
        "mien evaluate bundled --data hybrid",
        "mien evaluate their_package.api:predict --data hybrid --out evaluated/theirs --report theirs.html",
    )
    parser.add_argument(
        "model",
        nargs="?",
        help="a run's folder, an .onnx file, `bundled`, or `module:function` or `file.py:function` that "
        "takes uint8 faces [N,H,W,C] and gives probabilities [N,K]; its attribute `labels` names the classes",
    )
    parser.add_argument("--bundled", action="store_true", help="the same as `bundled` for the model")
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
    parser.add_argument(
        "--prior",
        choices=PRIORS,
        default=PRIORS[0],
        help="class shares to expect; of a run, all but `training` need --data, and --out to be kept",
    )
    parser.add_argument("--report", type=Path | None, help="page to write of this model alone")
    return parser


def evaluate(options: Namespace) -> None:
    """Do it, after refusing what cannot be meant."""
    if options.report is not None and options.split == "train":
        raise InputError(
            "a report is of the test or the validation split; leave out --report, or --split train."
        )
    if options.images is not None and "robustness" not in options.also:
        raise InputError("--images is of robustness alone; give --also robustness, or leave it out.")
    options.model = _model_of(options)
    with on_ctrl_c(
        "stopped; the figures and analyses that were finished are kept, the same command does the rest."
    ):
        _evaluate(options)


def _evaluate(options: Namespace) -> None:
    from mien.evaluate.models import names_run

    keeps = bool(options.also or options.report)
    if names_run(options.model) and options.out is None and options.prior == PRIORS[0]:
        folder = Path(options.model)
        _evaluate_run(folder, options, keeps)
    else:
        if options.data is None:
            raise InputError(
                f"{options.model}: give --data, a prepared folder; only a run without --out, at its training "
                "prior, knows its own."
            )
        if keeps and options.out is None:
            raise InputError(f"{options.model}: --also and --report need a folder to keep it in; give --out.")
        folder = options.out
        _evaluate_model(options)
    if options.report is not None:
        from mien.report.html import write_report

        print(f"report: {write_report([folder], options.report, data=options.data)}")  # noqa: T201


def _model_of(options: Namespace) -> str:
    if options.bundled and options.model is not None:
        raise InputError(f"--bundled is a model of its own; leave it out, or {options.model}.")
    if not options.bundled and options.model is None:
        raise InputError("mien evaluate needs a model, such as a run's folder, or --bundled.")
    if options.model is not None:
        return str(options.model)
    from mien.evaluate.models import BUNDLED

    return BUNDLED


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
    from mien.evaluate.prior import with_prior
    from mien.evaluate.run import evaluate_model

    model = with_prior(open_model(options.model), options.prior)
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
