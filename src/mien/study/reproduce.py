"""`mien reproduce`: the columns of the paper's Table 2 (Swin, Swin-SE, Swin-SE-SAM), start to end.

Each column is trained, scored on the test split once, and put into one report; the run that validation ranks
first is exported, checked against torch and read by the light runtime. A finished run is skipped, a stopped
one continued.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import mien
from mien.config import RunConfig, SAMConfig, SEConfig, read_run_config
from mien.data.prepared import load_prepared
from mien.errors import InputError
from mien.evaluate.run import evaluate_run
from mien.evaluate.split import read_evaluation, split_targets
from mien.export.onnx import check_export
from mien.export.run import export_run
from mien.models.saved import CONFIG, SavedRun, read_run
from mien.models.weights import BEST
from mien.progress import Reporter
from mien.report.html import write_report
from mien.runtime.classifier import load
from mien.study.experiment import check_one_device, is_same_experiment
from mien.train.run import resume_run, train_run

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
    runs: tuple[Path, ...]
    exported: Exported | None
    """None where no run has kept its weights, as with committed results."""


def find_recipe(name: Path) -> Path:
    """A recipe's path: the one given, or one of mien's own by name (`compact`, `paper`, `smoke`).

    Raises:
        InputError: neither exists.
    """
    package = Path(mien.__file__).parent
    # A wheel carries the configs inside the package; in a checkout they lie at its root.
    homes = [package / "configs", package.parents[1] / "configs"]
    for path in (name, *(home / f"{name}{suffix}" for home in homes for suffix in ("", ".toml"))):
        if path.exists():
            return path
    raise InputError(f"{name}: no such config file or folder; give one, or `compact`, `paper` or `smoke`.")


def columns_of(recipe: Path) -> Mapping[str, RunConfig]:
    """The configs of a recipe, by run name, in the order of Table 2's columns.

    Args:
        recipe: a folder of TOML files, one a column, or one file that stands for the last column: the others
            are it without SAM, and without SAM and SE.

    Raises:
        InputError: there is no config.
    """
    if recipe.is_dir():
        files = sorted(recipe.glob("*.toml"), key=lambda file: (len(file.stem), file.stem))
        if not files:
            raise InputError(f"{recipe}: no .toml file there; give a folder of configs or one config.")
        return {file.stem: read_run_config(file) for file in files}
    full = read_run_config(recipe)
    no_sam = dataclasses.replace(full, optim=dataclasses.replace(full.optim, sam=SAMConfig()))
    no_se = dataclasses.replace(no_sam, model=dataclasses.replace(full.model, se=SEConfig(position="none")))
    return {"swin": no_se, "swin_se": no_sam, "swin_se_sam": full}


def reproduce(
    recipe: Path,
    data: Path,
    out: Path,
    *,
    reporter: Reporter,
    seeds: int = 1,
    epochs: int | None = None,
    threads: int | None = None,
) -> Reproduced:
    """Train, score, report, export.

    Args:
        recipe: see `find_recipe` and `columns_of`.
        data: a prepared folder.
        out: each run gets a folder there; report.html and model.onnx lie beside them.
        reporter: where progress goes.
        seeds: runs of each column, with seeds from the config's on.
        epochs: instead of the config's.
        threads: instead of the config's.

    Raises:
        InputError: recipe or data cannot be used.
        KeyboardInterrupt: stopped; the same command continues.
    """
    if seeds < 1:
        raise InputError(f"--seeds is {seeds}; a study needs at least one.")
    runs = []
    for name, column in columns_of(find_recipe(recipe)).items():
        for seed in range(seeds):
            run = out / f"{name}-seed{column.train.seed + seed}"
            config = _with(column, seed=column.train.seed + seed, epochs=epochs, threads=threads)
            _complete(run, config, data, reporter)
            runs.append(run)
    exported = _export_best(runs, data, out / MODEL_FILE, reporter)
    report = write_report(runs, out / "report.html", data=data, extra=_sentences(exported))
    return Reproduced(report, tuple(runs), exported)


def _with(config: RunConfig, *, seed: int, epochs: int | None, threads: int | None) -> RunConfig:
    train = dataclasses.replace(
        config.train,
        seed=seed,
        epochs=config.train.epochs if epochs is None else epochs,
        threads=config.train.threads if threads is None else threads,
    )
    return dataclasses.replace(config, train=train)


def _complete(run: Path, config: RunConfig, data: Path, reporter: Reporter) -> None:
    """Bring one run to its test figures, from wherever it stands."""
    if not (run / CONFIG).exists():
        check_one_device(config)
        reporter.say(f"{run.name}: training")
        train_run(config, data, run, reporter=reporter)
    else:
        saved = read_run(run)
        _check_same(saved, config, data)
        if saved.finished and read_evaluation(run, "test") is not None:
            reporter.say(f"{run.name}: already evaluated, skipped")
            return
        if not saved.finished:
            check_one_device(saved.config)
        resume_run(run, reporter=reporter, data=data)
    test = evaluate_run(run, data, split="test")[0]
    low, high = test["accuracy_interval"]
    reporter.say(
        f"{run.name}: test accuracy {test['accuracy']:.2%} ({low:.1%} to {high:.1%}), {test['count']} images"
    )


def _check_same(saved: SavedRun, config: RunConfig, data: Path) -> None:
    if not is_same_experiment(saved.config, config):
        raise InputError(f"{saved.folder} holds a run of another config; name another --out.")
    if saved.record["manifest_hash"] != load_prepared(data).manifest.hash():
        raise InputError(f"{saved.folder} holds a run on other data than {data}; name another --out.")


def _export_best(runs: list[Path], data: Path, path: Path, reporter: Reporter) -> Exported | None:
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
    reporter.say(_sentences(exported)[0])
    return exported


def _sentences(exported: Exported | None) -> tuple[str, ...]:
    if exported is None:
        return ()
    return (
        f"Exported {exported.run}, which validation ranks first, to {exported.path.name}: on "
        f"{exported.checked} test faces its logits differ from torch's by at most {exported.difference:.1e}, "
        f"and the light runtime reads {exported.correct} of them as they are labelled.",
    )
