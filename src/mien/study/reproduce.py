"""`mien reproduce`: the paper's Table 2 and its ablation, start to end.

Each run is trained, scored on the test split once, and put into one report, which is written anew after every
run; the run that validation ranks first is exported, checked against torch and read by the light runtime. A
finished run is skipped, a stopped one continued; of a finished run without weights its figures are read.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mien.config import RunConfig
from mien.data.prepared import load_prepared
from mien.errors import InputError
from mien.evaluate.run import evaluate_run
from mien.evaluate.split import read_evaluation, split_targets
from mien.export.onnx import check_export
from mien.export.run import export_run
from mien.models.saved import CARD, CONFIG, SavedRun, read_run
from mien.models.weights import BEST
from mien.progress import Reporter
from mien.report.html import write_report
from mien.runtime.classifier import load
from mien.study.ablation import PlannedRun, Study, plan_study
from mien.study.duration import StudyReporter, duration_text, seconds_left
from mien.study.experiment import check_one_device, is_same_experiment
from mien.train.checkpoint import LAST
from mien.train.run import resume_run, train_run

REPORT_FILE = "report.html"
MODEL_FILE = "model.onnx"
CHECKED_FACES = 200
"""Test faces on which the exported file is compared with torch."""


@dataclass(frozen=True)
class Exported:
    """The exported model, and how it was checked."""

    path: Path
    run: str
    """The run that validation ranked first."""
    difference: float
    """Largest difference of a logit from torch's over the checked faces."""
    checked: int
    correct: int
    """Of the checked faces, how many the light runtime read as they are labelled."""


@dataclass(frozen=True)
class Reproduced:
    """What `reproduce` made."""

    report: Path
    summary: str
    """The report's first sentences: accuracies and verdicts."""
    runs: tuple[Path, ...]
    """Those of the study that were scored."""
    exported: Exported | None
    """None where no run has kept its weights, as with committed results."""


def reproduce(
    recipe: Path,
    data: Path,
    out: Path,
    *,
    reporter: Reporter,
    study: Study = "ablation",
    seeds: int = 1,
    columns: Sequence[str] = (),
    epochs: int | None = None,
    threads: int | None = None,
) -> Reproduced:
    """Train, score, report, export.

    Args:
        recipe: see `mien.study.ablation.find_recipe` and `recipe_columns`.
        data: a prepared folder.
        out: each run gets a folder there; report.html and model.onnx lie beside them. The report and the
            export are of every run of the study that is there, whoever trained it.
        reporter: where progress goes.
        study: which columns; this and what follows as of `mien.study.ablation.plan_study`.
        seeds: runs of each column.
        columns: train those alone.
        epochs: instead of the configs'.
        threads: instead of the configs'.

    Raises:
        InputError: recipe or data cannot be used, or `out` holds a run of another config or data.
        KeyboardInterrupt: stopped; the same command continues.
    """
    plan = plan_study(recipe, study, seeds=seeds, columns=columns, epochs=epochs, threads=threads)
    # All are looked at before the first is trained: training may take hours.
    manifest_hash = load_prepared(data).manifest.hash()
    saved = {run.name: saved_run(out / run.name, run.config, manifest_hash) for run in plan}
    whole = plan_study(recipe, study, seeds=seeds, epochs=epochs, threads=threads)
    _say_plan(out, plan, saved, reporter)
    telling = StudyReporter(reporter, out, plan)
    try:
        for number, run in enumerate(plan, start=1):
            place = f"{run.name} ({number} of {len(plan)})"
            trained = complete(out / run.name, run.config, saved[run.name], data, place, telling)
            if trained and number < len(plan):
                write_report(evaluated(out, whole), out / REPORT_FILE, data=data)
        runs = evaluated(out, whole)
        exported = export_best(runs, data, out / MODEL_FILE, reporter)
        report = write_report(runs, out / REPORT_FILE, data=data, extra=sentences(exported))
    except KeyboardInterrupt:
        raise KeyboardInterrupt("stopped; the same command continues where it stopped.") from None
    summary = json.loads(report.with_suffix(".json").read_text(encoding="utf-8"))["summary"]
    return Reproduced(report, summary, tuple(runs), exported)


def saved_run(run: Path, config: RunConfig, manifest_hash: str) -> SavedRun | None:
    """A run that is there already, if it is the one that is wanted."""
    if not (run / CONFIG).exists():
        return None
    saved = read_run(run)
    if not is_same_experiment(saved.config, config):
        raise InputError(f"{run} holds a run of another config; name another --out.")
    if saved.record["manifest_hash"] != manifest_hash:
        raise InputError(f"{run} holds a run on other data than --data; name another --out.")
    if saved.finished and not (run / BEST).is_file() and read_evaluation(run, "test") is None:
        raise InputError(
            f"{run} has neither its weights nor figures of its test split; remove it to train it again."
        )
    return saved


def _say_plan(
    out: Path, plan: Sequence[PlannedRun], saved: dict[str, SavedRun | None], reporter: Reporter
) -> None:
    there = [run for run in saved.values() if run is not None]
    finished = sum(run.finished for run in there)
    epochs = sum(run.config.train.epochs for run in plan)
    text = f"{len(plan)} runs of {epochs:,} epochs in all"
    if there:
        text += f"; {finished} finished, {len(there) - finished} begun"
    left = seconds_left(out, plan)
    if left is None:
        text += "; how long they take is said after the first epoch"
    elif finished < len(plan):
        text += f"; what is left takes about {duration_text(left)} at the speed of the epochs that are there"
    reporter.say(f"{text}.")


def complete(
    run: Path, config: RunConfig, saved: SavedRun | None, data: Path, place: str, reporter: Reporter
) -> bool:
    """Bring one run to its test figures, from wherever it stands; returns whether anything was left to do."""
    if saved is None:
        check_one_device(config)
        reporter.say(f"{place}: training")
        train_run(config, data, run, reporter=reporter)
    elif not saved.finished:
        check_one_device(saved.config)
        reporter.say(f"{place}: training goes on")
        resume_run(run, reporter=reporter, data=data)
    elif read_evaluation(run, "test") is not None:
        reporter.say(f"{place}: already evaluated, skipped")
        return False
    elif (run / LAST).is_file() and not (run / CARD).is_file():
        # Stopped after its last epoch: what ends a training is still to do.
        resume_run(run, reporter=reporter, data=data)
    test = evaluate_run(run, data, split="test")[0]
    low, high = test["accuracy_interval"]
    reporter.say(
        f"{run.name}: test accuracy {test['accuracy']:.2%} ({low:.1%} to {high:.1%}), {test['count']} images"
    )
    return True


def evaluated(out: Path, plan: Sequence[PlannedRun]) -> list[Path]:
    """Those of a study's runs that have figures of the test split."""
    runs = [out / run.name for run in plan]
    return [run for run in runs if read_evaluation(run, "test") is not None]


def export_best(runs: list[Path], data: Path, path: Path, reporter: Reporter) -> Exported | None:
    """Export the run that validation ranks first, and check the file; None where no run has its weights."""
    with_weights = [run for run in runs if (run / BEST).is_file()]
    if not with_weights:
        reporter.say("no run here has its weights, so nothing is exported; train anew with another --out.")
        return None
    ranks = [
        (read_evaluation(run, "validation") or [{"accuracy": 0.0}])[0]["accuracy"] for run in with_weights
    ]
    best = with_weights[int(np.argmax(ranks))]
    saved = read_run(best)
    export_run(best, path)
    prepared = load_prepared(data)
    targets = split_targets(prepared, saved.config.training_set.target, "test", saved.labels)
    chosen = np.linspace(0, len(targets) - 1, min(CHECKED_FACES, len(targets))).astype(int)
    faces = np.asarray(prepared.pack[targets.pack_rows[chosen]]).transpose(0, 2, 3, 1)
    difference = check_export(saved.model(), path, faces)
    read = load(path).classify(faces).argmax(1)
    exported = Exported(path, best.name, difference, len(chosen), int((read == targets.labels[chosen]).sum()))
    reporter.say(sentences(exported)[0])
    return exported


def sentences(exported: Exported | None) -> tuple[str, ...]:
    """What a report says of an exported model."""
    if exported is None:
        return ()
    return (
        f"Exported {exported.run}, which validation ranks first, to {exported.path.name}: on "
        f"{exported.checked} test faces its logits differ from torch's by at most {exported.difference:.1e}, "
        f"and the light runtime reads {exported.correct} of them as they are labelled.",
    )
