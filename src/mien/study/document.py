"""docs/study.md: the study's verdicts and figures as a Markdown page, from a folder of small results.

No weights are read, so that the page can be written again from what is committed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from mien.errors import InputError
from mien.evaluate.analysis_files import read_analyses
from mien.evaluate.split import read_evaluation
from mien.files import write_text
from mien.models.saved import RUN, SavedRun, read_run
from mien.report.comparisons import passes_of
from mien.report.gains import Interval
from mien.study.comparisons import CLAIMS
from mien.study.duration import run_seconds
from mien.study.full import RADII, chosen_radius, scan_name
from mien.study.verdicts import LEAST_GAIN, Judged, judge, write_verdicts


def write_study(results: Path, path: Path, *, command: str) -> Path:
    """Write the page, and verdicts.json into the results.

    Args:
        results: a folder of runs: a study's own, or what `mien reproduce --keep` kept of it.
        path: the Markdown file.
        command: what makes the page again; it is printed at its head.

    Raises:
        InputError: no run there has figures of the test split.
    """
    runs = _runs(results)
    if not runs:
        raise InputError(f"{results}: no run there was scored on the test split; run mien reproduce first.")
    rows = judge(results)
    write_verdicts(results)
    parts = [
        _head(runs, command),
        _claims(rows),
        _comparisons(rows),
        _radii(results),
        _columns(runs),
        _analyses(runs),
    ]
    write_text(path, "\n\n".join(part for part in parts if part) + "\n")
    return path


def _runs(results: Path) -> dict[str, list[SavedRun]]:
    """Column to its scored runs, by seed."""
    found: dict[str, list[SavedRun]] = {}
    for folder in sorted(path.parent for path in results.glob(f"*-seed*/{RUN}")):
        if read_evaluation(folder, "test") is not None:
            found.setdefault(folder.name.partition("-seed")[0], []).append(read_run(folder))
    return found


def _head(runs: dict[str, list[SavedRun]], command: str) -> str:
    every = [run for column in runs.values() for run in column]
    hours = sum(run_seconds(run.folder) for run in every) / 3600
    processors = sorted({str(run.record["processor"]) for run in every})
    manifests = sorted({run.record["manifest_hash"][:12] for run in every})
    return (
        "# The study\n\n"
        f"Made by `{command}`; do not edit. {len(every)} runs, {hours:.1f} hours of training on "
        f"{', '.join(processors)}; data: manifest {', '.join(manifests)}. Validation chose every checkpoint "
        "and SAM's radius; the figures are of the test split. What each run is, and in which order they "
        "come, is said in [study-plan.md](study-plan.md)."
    )


def _claims(rows: Sequence[Judged]) -> str:
    table = []
    for claim, says in CLAIMS.items():
        first = next(row for row in rows if row.claim == claim)
        table.append((claim, says, f"**{first.verdict}**", _change(first), _seeds(first.seeds)))
    names = ("", "the paper says", "verdict", "measured, in the direction of the claim", "seeds")
    return (
        f"## The paper's claims\n\n{_table(names, table)}\n\n"
        "Supported: every 95 % interval (over images, and from three seeds on over seeds) lies above 0. Not "
        f"supported: every interval lies below {100 * LEAST_GAIN:.0f} point of accuracy (0 for other "
        "measures). Undecided: neither, or not measured yet. With fewer than three seeds a verdict is about "
        "these trainings and not about the method."
    )


def _comparisons(rows: Sequence[Judged]) -> str:
    table = [
        (
            row.claim,
            row.asked,
            _change(row),
            _interval(row.interval, row.unit),
            _interval(row.seed_interval, row.unit),
            _seeds(row.seeds),
            row.verdict,
        )
        for row in rows
    ]
    names = ("", "comparison", "difference", "95 % over images", "95 % over seeds", "seeds", "verdict")
    return f"## Every comparison\n\n{_table(names, table)}"


def _radii(results: Path) -> str:
    accuracies = {}
    for rho in RADII:
        for folder in sorted(results.glob(f"{scan_name(rho)}-seed*"))[:1]:
            figures = read_evaluation(folder, "validation")
            if figures is not None:
                accuracies[rho] = figures[0]["accuracy"]
    if not accuracies:
        return ""
    chosen = (
        f"{chosen_radius(accuracies):g} was chosen" if len(accuracies) == len(RADII) else "not all tried yet"
    )
    table = [(f"{rho:g}", f"{accuracy:.2%}") for rho, accuracy in accuracies.items()]
    return (
        f"## SAM's radius\n\nBy validation accuracy, one seed: {chosen}.\n\n"
        f"{_table(('rho', 'validation accuracy'), table)}"
    )


def _columns(runs: dict[str, list[SavedRun]]) -> str:
    table = []
    for name, column in runs.items():
        test = [(read_evaluation(run.folder, "test") or [{}])[0] for run in column]
        validation = [(read_evaluation(run.folder, "validation") or [{}])[0] for run in column]
        minutes = np.mean([run_seconds(run.folder) for run in column]) / 60
        config = column[0].config
        table.append(
            (
                f"`{name}`",
                f"{column[0].record['parameters']:,}",
                str(config.train.epochs) if config.train.max_minutes is None else "by minutes",
                f"{passes_of(config.optim.sam):g}",
                f"{minutes:.1f}",
                _mean(entry.get("accuracy") for entry in validation),
                _mean(entry.get("accuracy") for entry in test),
                _mean(entry.get("macro_recall") for entry in test),
                str(test[0]["count"]),
                _seeds(tuple(run.config.train.seed for run in column)),
            )
        )
    names = (
        "column",
        "parameters",
        "epochs",
        "passes a step",
        "minutes a run",
        "validation",
        "test",
        "macro recall",
        "test images",
        "seeds",
    )
    return (
        "## Every column\n\nMeans over seeds, each by its own labels (`fer2013` by FER-2013's); the range of "
        f"the seeds in brackets.\n\n{_table(names, table)}"
    )


def _analyses(runs: dict[str, list[SavedRun]]) -> str:
    """Sharpness and clusters of each analysed run."""
    table = []
    for run in (run for column in runs.values() for run in column):
        there = read_analyses(run.folder)
        sharpness, features = there.get("train-sharpness"), there.get("test-features")
        landscape = there.get("train-landscape")
        if not (sharpness or features or landscape):
            continue
        comparison = features["values"]["comparison"] if features else None
        table.append(
            (
                f"`{run.folder.name}`",
                f"{np.mean(sharpness['values']['sam']['values']):.3f}" if sharpness else "",
                f"{np.mean(sharpness['values']['random']['values']):.3f}" if sharpness else "",
                _measure(comparison, "ratio"),
                _measure(comparison, "silhouette"),
            )
        )
    if not table:
        return ""
    names = ("run", "SAM's sharpness, nats", "random rise, nats", "between over within", "silhouette")
    return f"## Sharpness and clusters\n\nClusters: before to after SE.\n\n{_table(names, table)}"


def _measure(comparison: dict[str, dict[str, dict[str, float]]] | None, measure: str) -> str:
    if comparison is None:
        return ""
    return f"{comparison['first'][measure]['value']:.3f} to {comparison['second'][measure]['value']:.3f}"


def _table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _change(row: Judged) -> str:
    return row.reason if row.difference is None else _value(row.difference, row.unit)


def _value(value: float, unit: str) -> str:
    if unit == "points":
        return f"{100 * value:+.2f} points"
    return f"{value:.2f} times" if unit == "times" else f"{value:+.3f}"


def _interval(interval: Interval | None, unit: str) -> str:
    if interval is None:
        return ""
    scale, sign = (100, "+") if unit == "points" else (1, "")
    return " to ".join(f"{scale * end:{sign}.2f}" for end in interval)


def _seeds(seeds: Sequence[int]) -> str:
    return str(len(seeds)) if seeds else ""


def _mean(values: Iterable[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return ""
    ends = f" ({min(known):.2%} to {max(known):.2%})" if len(known) > 1 else ""
    return f"{np.mean(known):.2%}{ends}"


def verdict_lines(results: Path) -> list[str]:
    """One line a claim, for the console."""
    claims = json.loads(write_verdicts(results).read_text(encoding="utf-8"))["claims"]
    return [f"{name} ({claim['says']}): {claim['verdict']}" for name, claim in claims.items()]
