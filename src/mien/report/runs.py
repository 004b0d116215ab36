"""Reading what the report needs from the folders that `mien train` and `mien evaluate` wrote."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mien.errors import InputError
from mien.evaluate.analysis_files import read_analyses
from mien.evaluate.metrics import score
from mien.evaluate.split import read_evaluation, read_logits
from mien.labels import EMOTIONS, SEVEN
from mien.models.saved import EVALUATION, HISTORY, SavedRun, read_run

HALF_PRECISION = 0.005
"""Largest difference in accuracy that keeping logits in half precision may make: it can only turn ties."""
SPLITS = ("test", "validation")
"""What a report reads, the first that every run has."""


@dataclass(frozen=True)
class ReportedRun:
    """One run and what was evaluated of it."""

    name: str
    """The folder's name, with its parent's where two runs would be called the same."""
    saved: SavedRun
    """Config and record."""
    history: tuple[Mapping[str, Any], ...]
    """One entry a finished epoch; empty where the run kept none."""
    split: str
    """`test` or `validation`: what the figures are of."""
    figures: Mapping[str, Mapping[str, Any]]
    """Label view (`all`, and `7` where there is one) to the figures of `mien.evaluate.metrics.score`."""
    tensors: Mapping[str, npt.NDArray[Any]] | None
    """`labels`, `pack_rows`, `logits` of the split; None where they were not kept."""
    validation: Mapping[str, npt.NDArray[Any]] | None = None
    """The same of the validation split, on which temperature and thresholds are fitted."""
    analyses: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What `mien.evaluate.analysis_files.read_analyses` found, such as `test-robustness`."""

    @property
    def seed(self) -> int:
        """Seed of the run."""
        return self.saved.config.train.seed

    @property
    def comparable(self) -> bool:
        """Whether the classes are the paper's eight, or its seven."""
        return set(SEVEN) <= set(self.saved.labels) <= set(EMOTIONS)


def read_runs(folders: Sequence[Path]) -> tuple[ReportedRun, ...]:
    """Read runs; files among them (as `runs/*` gives) and folders given twice are passed over.

    Args:
        folders: runs' folders.

    Returns:
        All runs with the figures of one split: test where every run has it, else validation.

    Raises:
        InputError: no run at all, a folder is no run or cannot be read, or no split was evaluated for all.
    """
    kept = list({path.resolve(): path for path in folders if not path.is_file()}.values())
    if not kept:
        raise InputError("a report needs at least one run's folder; give those that mien train wrote.")
    saved = [read_run(folder) for folder in kept]
    split = _common_split(kept)
    return tuple(_reported(run, name, split) for run, name in zip(saved, _distinct_names(kept), strict=True))


def evaluated_splits(folder: Path) -> tuple[str, ...]:
    """Those of test and validation that a run's folder has figures of."""
    return tuple(split for split in SPLITS if (folder / EVALUATION / f"{split}.json").is_file())


def _common_split(folders: Sequence[Path]) -> str:
    have = {folder: evaluated_splits(folder) for folder in folders}
    for folder, splits in have.items():
        if not splits:
            raise InputError(f"{folder}: nothing was evaluated there; run mien evaluate {folder}.")
    for split in SPLITS:
        if all(split in splits for splits in have.values()):
            return split
    lacking = next(folder for folder, splits in have.items() if "test" not in splits)
    raise InputError(
        f"{lacking}: only its {have[lacking][0]} split was evaluated, unlike the others'; run mien evaluate "
        f"{lacking}."
    )


def _distinct_names(folders: Sequence[Path]) -> list[str]:
    resolved = [folder.resolve() for folder in folders]
    short = [path.name for path in resolved]
    return [
        name if short.count(name) == 1 else f"{path.parent.name}/{name}"
        for name, path in zip(short, resolved, strict=True)
    ]


def _reported(saved: SavedRun, name: str, split: str) -> ReportedRun:
    path = saved.folder / EVALUATION / f"{split}.json"
    try:
        entries = read_evaluation(saved.folder, split) or []
        figures: dict[str, Mapping[str, Any]] = {str(entry["view"]): entry for entry in entries}
        complete = "all" in figures and {"accuracy", "accuracy_interval", "confusion"} <= set(figures["all"])
    except (ValueError, KeyError, TypeError):
        complete = False
    if not complete:
        raise InputError(
            f"{path}: it has no figures of all classes; run mien evaluate {saved.folder} --split {split}."
        )
    tensors = _tensors(saved, split, figures["all"])
    if "7" in saved.record.get("views", {}) and "7" not in figures and tensors is not None:
        # Training scores validation on all classes only; the logits it kept hold the other view as well.
        figures["7"] = {
            "split": split,
            "rule": figures["all"]["rule"],
            **score(
                tensors["logits"].astype(np.float32),
                tensors["labels"].astype(np.int64),
                saved.labels,
                view="7",
            ),
        }
    return ReportedRun(
        name,
        saved,
        _history(saved.folder / HISTORY),
        split,
        figures,
        tensors,
        validation=_validation(saved.folder),
        analyses=read_analyses(saved.folder),
    )


def _validation(folder: Path) -> Mapping[str, npt.NDArray[Any]] | None:
    kept = (folder / EVALUATION / "validation.safetensors").is_file()
    return read_logits(folder, "validation") if kept else None


def _tensors(
    saved: SavedRun, split: str, figures: Mapping[str, Any]
) -> Mapping[str, npt.NDArray[Any]] | None:
    path = saved.folder / EVALUATION / f"{split}.safetensors"
    if not path.is_file():
        return None
    tensors = read_logits(saved.folder, split)
    shape = (figures["count"], len(saved.labels))
    if tensors["logits"].shape == shape:
        accuracy = float((tensors["logits"].argmax(1) == tensors["labels"]).mean())
        if abs(accuracy - figures["accuracy"]) <= HALF_PRECISION:
            return tensors
    raise InputError(
        f"{path}: its logits are not those that {split}.json was scored from; run mien evaluate "
        f"{saved.folder} --split {split}."
    )


def _history(path: Path) -> tuple[Mapping[str, Any], ...]:
    if not path.is_file():
        return ()
    try:
        return tuple(
            json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()
        )
    except ValueError as error:
        raise InputError(f"{path}: a line is not JSON ({error}).") from None
