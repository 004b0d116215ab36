"""Reading what the report needs from the folders that `mien train` and `mien evaluate` wrote."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mien.config import RunConfig
from mien.errors import InputError
from mien.evaluate.analysis_files import AnalysisName, read_analyses
from mien.evaluate.evaluated_model import EvaluatedFolder, is_evaluated, read_evaluated
from mien.evaluate.metrics import score
from mien.evaluate.split import read_evaluation, read_logits
from mien.files import sha256_of
from mien.labels import EMOTIONS, SEVEN
from mien.models.saved import CONFIG, EVALUATION, HISTORY, read_run
from mien.models.weights import BEST

HALF_PRECISION = 0.005
"""Largest difference in accuracy that keeping logits in half precision may make: it can only turn ties."""
SPLITS = ("test", "validation")
"""What a report reads, the first that every run has."""


@dataclass(frozen=True)
class ReportedRun:
    """One run, or one model that is no run of mien's, and what was evaluated of it."""

    name: str
    """The folder's name, with its parent's where two would be called the same."""
    folder: Path
    """What `mien train` wrote, or `mien evaluate --out`."""
    data: Path
    """The prepared folder, which may be gone."""
    config: RunConfig | None
    """Settings of a run; None where the model is none."""
    labels: tuple[str, ...]
    """The class names, in the order of the logits."""
    record: Mapping[str, Any]
    """run.json of a run; what model.json has of the same keys, where the model is none."""
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
        """Seed of the run; 0 where the model is none."""
        return 0 if self.config is None else self.config.train.seed

    @property
    def target(self) -> str | None:
        """Whose labels count; None is the prepared folder's own target."""
        return self.record["target"] if self.config is None else self.config.training_set.target

    def analysis(self, name: AnalysisName, split: str | None = None) -> Mapping[str, Any] | None:
        """The values of an analysis of these weights on this data, as `mien evaluate --also` kept them.

        Args:
            name: of the analysis.
            split: whose images it is of; none takes the reported one.

        Returns:
            None where there is none, or it is of other weights or other data.
        """
        entry = self.analyses.get(f"{split or self.split}-{name}")
        return None if entry is None else entry["values"]

    @property
    def comparable(self) -> bool:
        """Whether the classes are the paper's eight, or its seven."""
        return set(SEVEN) <= set(self.labels) <= set(EMOTIONS)


@dataclass(frozen=True)
class _Made:
    """Who answered, as its folder tells it."""

    folder: Path
    data: Path
    config: RunConfig | None
    labels: tuple[str, ...]
    record: Mapping[str, Any]


def read_runs(folders: Sequence[Path]) -> tuple[ReportedRun, ...]:
    """Read runs and evaluated models; files among them (as `runs/*` gives) and folders given twice are passed
    over.

    Args:
        folders: what `mien train` and `mien evaluate --out` wrote.

    Returns:
        All of them with the figures of one split: test where every one has it, else validation.

    Raises:
        InputError: none at all, a folder is neither or cannot be read, or no split was evaluated for all.
    """
    kept = list({path.resolve(): path for path in folders if not path.is_file()}.values())
    if not kept:
        raise InputError(
            "a report needs at least one folder; give those that mien train or mien evaluate --out wrote."
        )
    made = [_made(folder) for folder in kept]
    split = _common_split(kept)
    return tuple(_reported(one, name, split) for one, name in zip(made, _distinct_names(kept), strict=True))


def _made(folder: Path) -> _Made:
    if is_evaluated(folder):
        model = read_evaluated(folder)
        return _Made(folder, model.data_folder, None, model.labels, _record(model))
    if not (folder / CONFIG).is_file():
        raise InputError(
            f"{folder}: no run and no evaluated model there; give what mien train or mien evaluate --out "
            "wrote."
        )
    run = read_run(folder)
    return _Made(folder, run.data, run.config, run.labels, run.record)


def _record(model: EvaluatedFolder) -> dict[str, Any]:
    values = dataclasses.asdict(model)
    return {key: value for key, value in values.items() if key not in ("folder", "name", "card")}


def evaluated_splits(folder: Path) -> tuple[str, ...]:
    """Those of test and validation that a folder has figures of."""
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


def _reported(made: _Made, name: str, split: str) -> ReportedRun:
    path = made.folder / EVALUATION / f"{split}.json"
    try:
        entries = read_evaluation(made.folder, split) or []
        figures: dict[str, Mapping[str, Any]] = {str(entry["view"]): entry for entry in entries}
        complete = "all" in figures and {"accuracy", "accuracy_interval", "confusion"} <= set(figures["all"])
    except (ValueError, KeyError, TypeError):
        complete = False
    if not complete:
        raise InputError(
            f"{path}: it has no figures of all classes; run mien evaluate {made.folder} --split {split}."
        )
    tensors = _tensors(made, split, figures["all"])
    if "7" in made.record.get("views", {}) and "7" not in figures and tensors is not None:
        # Training scores validation on all classes only; the logits it kept hold the other view as well.
        figures["7"] = {
            "split": split,
            "rule": figures["all"]["rule"],
            **score(
                tensors["logits"].astype(np.float32),
                tensors["labels"].astype(np.int64),
                made.labels,
                view="7",
            ),
        }
    return ReportedRun(
        name=name,
        folder=made.folder,
        data=made.data,
        config=made.config,
        labels=made.labels,
        record=made.record,
        history=_history(made.folder / HISTORY),
        split=split,
        figures=figures,
        tensors=tensors,
        validation=_validation(made.folder),
        analyses=_analyses(made),
    )


def _analyses(made: _Made) -> Mapping[str, Mapping[str, Any]]:
    """Those that are of this data, and of the weights that are in the folder, where these are."""
    there = read_analyses(made.folder)
    best = made.folder / BEST
    weights = sha256_of(best) if there and best.is_file() else made.record.get("weights_sha256")
    return {
        name: entry
        for name, entry in there.items()
        if entry.get("manifest_hash") == made.record.get("manifest_hash")
        and (weights is None or entry.get("weights_sha256") == weights)
    }


def _validation(folder: Path) -> Mapping[str, npt.NDArray[Any]] | None:
    kept = (folder / EVALUATION / "validation.safetensors").is_file()
    return read_logits(folder, "validation") if kept else None


def _tensors(made: _Made, split: str, figures: Mapping[str, Any]) -> Mapping[str, npt.NDArray[Any]] | None:
    path = made.folder / EVALUATION / f"{split}.safetensors"
    if not path.is_file():
        return None
    tensors = read_logits(made.folder, split)
    shape = (figures["count"], len(made.labels))
    if tensors["logits"].shape == shape:
        accuracy = float((tensors["logits"].argmax(1) == tensors["labels"]).mean())
        if abs(accuracy - figures["accuracy"]) <= HALF_PRECISION:
            return tensors
    raise InputError(
        f"{path}: its logits are not those that {split}.json was scored from; run mien evaluate "
        f"{made.folder} --split {split}."
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
