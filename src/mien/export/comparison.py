"""Exported files side by side: size, speed and accuracy, measured in one process."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from mien.runtime.classifier import Classifier

BATCHES: Final = (1, 32)
"""Faces at once for which speed is measured: one face of a camera, and a folder of pictures."""
_ROUNDS: Final = 12
_FACES_A_ROUND: Final = 8
"""At least so many faces a file and round, so that one tick of the clock does not count."""


@dataclass(frozen=True)
class ExportedFile:
    """One row of the comparison."""

    name: str
    """How it was made, such as ``fp32`` or ``int8 static``."""
    bytes: int
    accuracy: float
    """On the run's validation faces, 0..1, by the file itself."""
    milliseconds: tuple[float, ...]
    """Processor time of this machine a face, one thread, for each of `BATCHES`: the median of the rounds."""
    speed: tuple[float, ...]
    """How many times as quick as the first file, for each of `BATCHES`: the median of the rounds' ratios."""


def compare_files(
    names: Sequence[str],
    models: Sequence[Classifier],
    accuracies: Sequence[float],
    faces: npt.NDArray[np.uint8],
) -> tuple[ExportedFile, ...]:
    """Measure files; ratios are to the first.

    Args:
        names: what to call them.
        models: the files, opened with as many threads as are to be measured.
        accuracies: of each, 0..1.
        faces: uint8 [N,H,W,C], N at least 1; repeated where there are fewer than a batch.
    """
    milliseconds, speeds = [], []
    for batch in BATCHES:
        taken = _seconds(models, np.resize(faces, (batch, *faces.shape[1:])))
        milliseconds.append([1000 * statistics.median(rounds) for rounds in taken])
        speeds.append(
            [
                statistics.median(first / own for first, own in zip(taken[0], rounds, strict=True))
                for rounds in taken
            ]
        )
    return tuple(
        ExportedFile(
            name,
            model.path.stat().st_size,
            accuracy,
            tuple(of_batch[i] for of_batch in milliseconds),
            tuple(of_batch[i] for of_batch in speeds),
        )
        for i, (name, model, accuracy) in enumerate(zip(names, models, accuracies, strict=True))
    )


def comparison_table(files: Sequence[ExportedFile]) -> str:
    """The comparison as lines of text, the first file first."""
    heads = [f"ms a face, batch {batch}" for batch in BATCHES]
    lines = [f"{'file':<14}{'MB':>8}{'accuracy':>10}" + "".join(f"{head:>24}" for head in heads)]
    for file in files:
        speeds = "".join(
            f"{f'{own:.2f} ({ratio:.2f}x)':>24}"
            for own, ratio in zip(file.milliseconds, file.speed, strict=True)
        )
        lines.append(f"{file.name:<14}{file.bytes / 1e6:>8.2f}{file.accuracy:>10.4f}{speeds}")
    return "\n".join(lines)


def _seconds(models: Sequence[Classifier], faces: npt.NDArray[np.uint8]) -> list[list[float]]:
    """Seconds a face of each model and round.

    The files take turns, so that whatever else the machine does falls on all of them alike.
    """
    repeats = max(1, _FACES_A_ROUND // len(faces))
    taken: list[list[float]] = [[] for _ in models]
    for model in models:
        model.logits(faces)
    for _ in range(_ROUNDS):
        for model, rounds in zip(models, taken, strict=True):
            start = time.perf_counter()
            for _ in range(repeats):
                model.logits(faces)
            rounds.append((time.perf_counter() - start) / (repeats * len(faces)))
    return taken
