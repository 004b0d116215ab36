"""Run folders as `mien train` and `mien evaluate` write them, made of chosen answers instead of training."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mien.config import ModelConfig, OptimConfig, RunConfig, SAMConfig, SEConfig, SEPosition, to_dict
from mien.evaluate.metrics import score
from mien.evaluate.split import SplitPredictions, write_evaluation
from mien.files import write_json, write_text
from mien.labels import EMOTIONS, SEVEN

MakeRun = Callable[..., Path]


def run_config(
    *, se: SEPosition = "none", rho: float = 0.0, adaptive: bool = False, seed: int = 0
) -> RunConfig:
    """A compact Swin's config."""
    config = RunConfig(
        model=ModelConfig(se=SEConfig(position=se)),
        optim=OptimConfig(sam=SAMConfig(rho=rho, adaptive=adaptive)),
    )
    return replace(config, train=replace(config.train, seed=seed, epochs=3))


def answers(correct: Sequence[bool], classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels and logits of images that are answered right where told; a wrong answer is the next class."""
    labels = np.arange(len(correct), dtype=np.int64) % classes
    predicted = np.where(correct, labels, (labels + 1) % classes)
    logits = np.zeros((len(correct), classes), dtype=np.float32)
    logits[np.arange(len(correct)), predicted] = 4.0
    return labels, logits


_HISTORY = [
    {
        "epoch": epoch,
        "train_loss": 2 / epoch,
        "train_accuracy": 0.2 * epoch,
        "seconds": 60.0 * epoch,
        "kept": epoch < 3,
        "validation": {"accuracy": 0.15 * epoch, "nll": 2.1 / epoch},
    }
    for epoch in (1, 2, 3)
]


def _record(config: RunConfig, classes: Sequence[str], data: Path, manifest_hash: str) -> dict[str, object]:
    """What run.json holds."""
    return {
        "mien": "0.1",
        "labels": list(classes),
        "views": {"7": list(SEVEN)} if set(SEVEN) < set(classes) else {},
        "target": "drawn",
        "rule": "label",
        "data": str(data),
        "manifest_hash": manifest_hash,
        "training_images": 80,
        "training_counts": dict.fromkeys(classes, 10),
        "sets": ["drawn"],
        "template": None,
        "parameters": 1234,
        "precision": "32-true",
        "threads": 1,
        "seed": config.train.seed,
        "git_commit": "0123456789ab",
        "started": "2026-01-01T00:00:00+00:00",
        "processor": "a processor",
        "python": "3.12.0",
        "versions": {"torch": "2.9"},
    }


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Writes a run's folder and returns it."""
    return run_maker(tmp_path)


def run_maker(tmp_path: Path) -> MakeRun:
    """What writes a run's folder below another and returns it."""

    def make(
        name: str,
        config: RunConfig,
        correct: Sequence[bool],
        *,
        classes: tuple[str, ...] = EMOTIONS,
        splits: Sequence[str] = ("test",),
        first_row: int = 100,
        manifest_hash: str = "ab" * 32,
        data: Path | None = None,
        views: Sequence[str] = ("all", "7"),
    ) -> Path:
        folder = tmp_path / "runs" / name
        has_seven = set(SEVEN) < set(classes)
        record = _record(config, classes, data or tmp_path / "gone", manifest_hash)
        write_json(folder / "run.json", record)
        write_json(folder / "config.json", to_dict(config))
        write_text(folder / "history.jsonl", "".join(json.dumps(entry) + "\n" for entry in _HISTORY))
        labels, logits = answers(correct, len(classes))
        rows = np.arange(first_row, first_row + len(labels), dtype=np.int64)
        votes = np.eye(len(classes), dtype=np.float32)[labels]
        for split in splits:
            scored = [
                {"split": split, "rule": "label", **score(logits, labels, classes, view=view)}
                for view in views
                if view == "all" or has_seven
            ]
            write_evaluation(folder, SplitPredictions(split, labels, votes, logits, rows), scored)
        return folder

    return make
