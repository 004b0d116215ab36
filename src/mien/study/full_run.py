"""`mien reproduce --study full`: every run of `mien.study.full`, its analyses, and the verdicts.

The same command may run several times at once on one folder, once a core: a run belongs to the process that
holds its lock, which the system gives back however that process ends. What is small of a finished run is
kept in a folder that can be committed, and taken from there where the study goes on without weights.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mien.data.prepared import load_prepared
from mien.errors import InputError, TrainingDiverged
from mien.evaluate.analyses import analyse
from mien.evaluate.analysis_files import read_analyses
from mien.evaluate.clusters import compare_features, network_features
from mien.evaluate.models import open_model
from mien.evaluate.run import evaluate_model
from mien.evaluate.split import read_evaluation, split_targets
from mien.files import write_json
from mien.models.saved import CARD, CONFIG, EVALUATION, HISTORY, RUN, read_run
from mien.models.weights import BEST
from mien.progress import Reporter
from mien.report.html import write_report
from mien.study.ablation import PlannedRun, find_recipe, recipe_columns
from mien.study.duration import StudyReporter, duration_text, measured_rate, seconds_left
from mien.study.full import RADII, chosen_radius, plan_full, scan_name
from mien.study.reproduce import (
    REPORT_FILE,
    Reproduced,
    complete,
    evaluated,
    saved_run,
)
from mien.study.verdicts import SEPARATION, SEPARATION_RUNS, write_verdicts

SECONDS_A_PASS: Final = 55.0
"""Of the study's Swin-SE over the 24,106 images of FER+ (`clean`), validation included, on a free core of an
AMD EPYC (Zen 5) at 470 images/s; what is said before the first epoch."""
FAILED: Final = "failed.json"
_SMALL: Final = (CONFIG, RUN, HISTORY, CARD, "model.json", FAILED)


def reproduce_full(
    recipe: Path,
    data: Path,
    out: Path,
    *,
    reporter: Reporter,
    keep: Path | None = None,
    columns: Sequence[str] = (),
    epochs: int | None = None,
    threads: int | None = None,
) -> Reproduced:
    """Train what is missing, in order of value, and judge the paper's claims anew after every run.

    Args:
        recipe: see `mien.study.ablation.find_recipe`; with `swin`, `swin_se` and `swin_se_sam`.
        data: a prepared folder.
        out: each run gets a folder there; verdicts.json and report.html lie beside them.
        reporter: where progress goes.
        keep: a folder that gets what is small of each run, and from which finished runs are taken.
        columns: train those alone.
        epochs: see `mien.study.full.plan_full`.
        threads: see `mien.study.full.plan_full`.

    Raises:
        InputError: recipe or data cannot be used, or `out` holds a run of another config or data.
        KeyboardInterrupt: stopped; the same command continues.
    """
    recipes = recipe_columns(find_recipe(recipe))
    manifest = load_prepared(data).manifest
    study = _Study(out, data, manifest.hash(), keep, reporter)

    def plan() -> tuple[PlannedRun, ...]:
        whole = plan_full(recipes, rho=tuned_radius(out), epochs=epochs, threads=threads)
        return _possible(_only(whole, columns), manifest.info.annotations)

    out.mkdir(parents=True, exist_ok=True)
    if keep is not None:
        _take(keep, out)
    for run in plan():
        if not (run.tuned and tuned_radius(out) is None):
            saved_run(out / run.name, run.config, study.manifest_hash)
    say_full_plan(out, plan(), reporter)
    try:
        tried: set[str] = set()
        while (name := study.work(plan(), tried)) is not None:
            tried.add(name)
        study.compare_separation()
        write_verdicts(out)
        # One report holds runs that learned one target; the others are in the verdicts.
        alike = [run for run in plan() if run.config.training_set.target is None]
        report = write_report(evaluated(out, alike), out / REPORT_FILE, data=data)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("stopped; the same command continues where it stopped.") from None
    summary = json.loads(report.with_suffix(".json").read_text(encoding="utf-8"))["summary"]
    return Reproduced(report, summary, tuple(evaluated(out, plan())), None)


def list_full(
    recipe: Path,
    out: Path,
    *,
    reporter: Reporter,
    keep: Path | None = None,
    columns: Sequence[str] = (),
    epochs: int | None = None,
    threads: int | None = None,
) -> None:
    """Say which runs are left and how long they take; arguments as of `reproduce_full`."""
    if keep is not None:
        _take(keep, out)
    whole = plan_full(
        recipe_columns(find_recipe(recipe)), rho=tuned_radius(out), epochs=epochs, threads=threads
    )
    say_full_plan(out, _only(whole, columns), reporter)


def say_full_plan(out: Path, plan: Sequence[PlannedRun], reporter: Reporter) -> None:
    """One line a run that is not done, with its minutes, and what all of them take."""
    left = [run for run in plan if not _is_done(out, run)]
    rate = measured_rate(out, plan) or SECONDS_A_PASS
    for run in left:
        minutes = (seconds_left(out, [run], seconds_a_pass=rate) or 0) / 60
        claims = f", {' '.join(run.claims)}" if run.claims else ""
        reporter.say(f"step {run.step}: {run.name}, about {minutes:.0f} minutes{claims}")
    seconds = seconds_left(out, left, seconds_a_pass=rate) or 0
    reporter.say(
        f"{len(plan)} runs, {len(plan) - len(left)} done; what is left takes about {duration_text(seconds)} "
        "of one core, analyses not counted. Start the same command once a core."
    )


def tuned_radius(out: Path) -> float | None:
    """The radius of SAM that validation ranks first; None until every one has been tried."""
    accuracies = {}
    for rho in RADII:
        runs = sorted(out.glob(f"{scan_name(rho)}-seed*"))
        figures = read_evaluation(runs[0], "validation") if runs and _is_scored(runs[0]) else None
        if figures is not None:
            accuracies[rho] = figures[0]["accuracy"]
    return chosen_radius(accuracies) if len(accuracies) == len(RADII) else None


@dataclass(frozen=True)
class _Study:
    """One process's part in a study."""

    out: Path
    data: Path
    manifest_hash: str
    """Of the data."""
    keep: Path | None
    reporter: Reporter

    def work(self, plan: Sequence[PlannedRun], tried: Set[str]) -> str | None:
        """Do the first run that nobody does and that was not tried before; returns its name, if there was
        one."""
        rho = tuned_radius(self.out)
        for number, run in enumerate(plan, start=1):
            if run.name in tried or (run.tuned and rho is None) or _is_done(self.out, run):
                continue
            with _claimed(self.out, run.name) as ours:
                if not ours or _is_done(self.out, run):
                    continue
                if run.column == "swin_se_sam":
                    _adopt(self.out, run, rho)
                place = f"{run.name} ({number} of {len(plan)}, step {run.step})"
                self._do(run, place, StudyReporter(self.reporter, self.out, plan))
                return run.name
        return None

    def _do(self, run: PlannedRun, place: str, telling: Reporter) -> None:
        folder = self.out / run.name
        try:
            saved = saved_run(folder, run.config, self.manifest_hash)
            complete(folder, run.config, saved, self.data, place, telling)
            self.judge(run)
        except TrainingDiverged as error:
            # One setting that does not train is a result, and no reason to leave out the others.
            write_json(folder / FAILED, {"error": str(error)})
            self.reporter.say(f"{run.name}: {error}")
        if self.keep is not None:
            _keep(self.out, run, self.keep)
        write_verdicts(self.out)

    def judge(self, run: PlannedRun) -> None:
        """What needs the run's weights, right after training."""
        folder = self.out / run.name
        if not (folder / BEST).is_file():
            return
        model, target = open_model(folder), run.config.training_set.target
        if run.analyses:
            analyse(model, self.data, folder, run.analyses, target=target, reporter=self.reporter)
        for name in run.judged_on:
            evaluate_model(model, self.data, target=name, out=judged_folder(self.out, run.name, name))

    def compare_separation(self) -> None:
        """C7: the features of Swin against those of ResNet-50 on the test images, while both have weights."""
        folders = [self.out / name for name in SEPARATION_RUNS]
        path = self.out / SEPARATION
        if path.exists() or not all((folder / BEST).is_file() for folder in folders):
            return
        prepared = load_prepared(self.data)
        runs = [read_run(folder) for folder in folders]
        targets = split_targets(prepared, None, "test", runs[0].labels)
        features = [
            network_features(run.model(), prepared.pack, targets.pack_rows, run.config.model)[1]
            for run in runs
        ]
        self.reporter.say(f"comparing the features of {' and '.join(SEPARATION_RUNS)}")
        comparison = compare_features(features[0], features[1], targets.labels, targets.classes)
        write_json(path, comparison.to_dict())
        if self.keep is not None:
            self.keep.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, self.keep / SEPARATION)


def _only(plan: Sequence[PlannedRun], columns: Sequence[str]) -> tuple[PlannedRun, ...]:
    known = list(dict.fromkeys(run.column for run in plan))
    for name in columns:
        if name not in known:
            raise InputError(f"--columns: {name} is no column of this study; it has {', '.join(known)}.")
    return tuple(run for run in plan if not columns or run.column in columns)


def _possible(plan: Sequence[PlannedRun], annotations: Mapping[str, Sequence[str]]) -> tuple[PlannedRun, ...]:
    """Without the runs, and the second judgements, for which the data has no labels."""
    possible = []
    for run in plan:
        training_set = run.config.training_set
        asked = {name for name in (training_set.target, training_set.labelled_by) if name is not None}
        if asked <= set(annotations):
            judged_on = tuple(name for name in run.judged_on if name in annotations)
            possible.append(dataclasses.replace(run, judged_on=judged_on))
    return tuple(possible)


def _is_scored(run: Path) -> bool:
    return read_evaluation(run, "test") is not None and (run / CARD).is_file()


def _is_done(out: Path, run: PlannedRun) -> bool:
    folder = out / run.name
    if (folder / FAILED).is_file():
        return True
    if not _is_scored(folder):
        return False
    if not (folder / BEST).is_file():
        # Taken from committed results: nothing more can be analysed.
        return True
    there = {stem.partition("-")[2] for stem in read_analyses(folder)}
    judged = all(read_evaluation(judged_folder(out, run.name, name), "test") for name in run.judged_on)
    return set(run.analyses) <= there and judged


def judged_folder(out: Path, run: str, annotation: str) -> Path:
    """Where a run's answers under another annotation's labels are kept."""
    return out / f"{run}-on-{annotation}"


def _adopt(out: Path, run: PlannedRun, rho: float | None) -> None:
    """The scan has trained the chosen radius with its seed already."""
    if rho is None or (out / run.name).exists():
        return
    scanned = out / f"{scan_name(rho)}-seed{run.config.train.seed}"
    if _is_scored(scanned):
        temporary = out / f".{run.name}"
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.copytree(scanned, temporary)
        temporary.rename(out / run.name)


@contextmanager
def _claimed(out: Path, name: str) -> Iterator[bool]:
    """Whether this process has a run for itself, for as long as the block lasts."""
    with (out / f".{name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def _keep(out: Path, run: PlannedRun, keep: Path) -> None:
    for name in (run.name, *(judged_folder(out, run.name, other).name for other in run.judged_on)):
        copy_small(out / name, keep / name)


def copy_small(source: Path, target: Path) -> None:
    """Copy what a committed result holds: config, record, history, card, figures, logits and analyses."""
    if not source.is_dir():
        return
    target.mkdir(parents=True, exist_ok=True)
    for name in _SMALL:
        if (source / name).is_file():
            shutil.copy2(source / name, target / name)
    if (source / EVALUATION).is_dir():
        shutil.copytree(source / EVALUATION, target / EVALUATION, dirs_exist_ok=True)


def _take(keep: Path, out: Path) -> None:
    """Finished runs of the kept folder that the study's own lacks."""
    for source in sorted(keep.glob("*")):
        if source.is_dir() and not (out / source.name).exists():
            copy_small(source, out / source.name)
        elif source.name == SEPARATION and not (out / SEPARATION).exists():
            shutil.copy2(source, out / SEPARATION)
