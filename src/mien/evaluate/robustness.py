"""How much of its accuracy a model keeps when faces are corrupted.

The mean corruption error of Hendrycks and Dietterich (ICLR 2019, section 4) divides by the errors of AlexNet
on ImageNet. No such reference exists for faces, so it is not given here. The mean relative accuracy is:
accuracy over the accuracy on clean faces, averaged first over the severities of a corruption, then over the
corruptions. It does not say which of two models is more accurate; the accuracies beside it do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from sklearn.metrics import recall_score

from mien.card import CropTemplate
from mien.errors import InputError
from mien.evaluate.bootstrap import draws
from mien.evaluate.corruptions import CORRUPTIONS, SEVERITIES, Faces, corrupt
from mien.evaluate.face_corruptions import (
    FACE_CORRUPTIONS,
    Landmarks,
    corrupt_face,
    face_corruptions_for,
)
from mien.evaluate.metrics import in_view

LogProbabilities: TypeAlias = npt.NDArray[np.float32]
Classify: TypeAlias = Callable[[Faces], LogProbabilities]
"""uint8 faces [n,H,W,C] to log-probabilities, or logits, float32 [n,K]."""
Progress: TypeAlias = Callable[[int, int, str], None]
"""Told after each corruption: faces done, faces in all, and what was done."""

PART: Final = 250
"""Faces that are corrupted and classified at once; fixed, since each part has its own random draws."""


@dataclass(frozen=True)
class RobustnessRow:
    """A model's figures under one corruption at one severity."""

    corruption: str
    family: Literal["noise", "blur", "weather", "digital", "face"]
    severity: int | None
    """1 to 5; None for a face-specific corruption, which has one strength."""
    accuracy: float
    macro_recall: float
    """A class that no image has counts as 0, as in `mien.evaluate.metrics.score`."""
    drop: float
    """Clean accuracy less this accuracy, -1..1."""
    drop_low: float
    """Of the 95 % paired bootstrap interval of the drop over images."""
    drop_high: float
    relative_accuracy: float | None
    """This accuracy over the clean one; None where the clean one is 0."""


@dataclass(frozen=True)
class RobustnessTable:
    """A model's figures on clean and corrupted copies of the same images."""

    view: str
    labels: tuple[str, ...]
    """The class names in view."""
    count: int
    """Images."""
    clean_accuracy: float
    clean_macro_recall: float
    rows: tuple[RobustnessRow, ...]
    """Common corruptions first, severities ascending, then face-specific ones."""

    def relative_accuracies(self) -> dict[str, float]:
        """Corruption to its relative accuracy, the mean over its severities; empty where no clean image was
        classified correctly."""
        by_name: dict[str, list[float]] = {}
        for row in self.rows:
            if row.relative_accuracy is not None:
                by_name.setdefault(row.corruption, []).append(row.relative_accuracy)
        return {name: float(np.mean(values)) for name, values in by_name.items()}

    def mean_relative_accuracy(self, family: str = "common") -> float | None:
        """The mean over corruptions of `relative_accuracies`.

        Args:
            family: `common` (all but the face-specific), or a family's name.

        Returns:
            The mean, or None where no corruption of the family was measured.
        """
        families = {row.corruption: row.family for row in self.rows}
        values = [
            value
            for name, value in self.relative_accuracies().items()
            if families[name] == family or (family == "common" and families[name] != "face")
        ]
        return float(np.mean(values)) if values else None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: view, labels, count, clean figures, mean relative accuracies, and the rows."""
        families = list(dict.fromkeys(row.family for row in self.rows))
        return {
            "view": self.view,
            "labels": list(self.labels),
            "count": self.count,
            "clean_accuracy": self.clean_accuracy,
            "clean_macro_recall": self.clean_macro_recall,
            "mean_relative_accuracy": self.mean_relative_accuracy(),
            "mean_relative_accuracy_by_family": {
                family: self.mean_relative_accuracy(family) for family in families
            },
            "relative_accuracy": self.relative_accuracies(),
            "rows": [asdict(row) for row in self.rows],
        }


@dataclass(frozen=True)
class _Answers:
    accuracy: float
    macro_recall: float
    correct: npt.NDArray[np.bool_]


def robustness(
    classify: Classify,
    faces: Faces,
    labels: npt.NDArray[np.integer],
    names: Sequence[str],
    *,
    view: str = "all",
    corruptions: Sequence[str] | None = None,
    severities: Sequence[int] = SEVERITIES,
    template: CropTemplate | None = None,
    landmarks: Landmarks | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> RobustnessTable:
    """Accuracy and macro recall under corruptions, relative to clean faces.

    Args:
        classify: the model; it is called with at most `PART` faces.
        faces: uint8 [N,H,W,C], C = 1 (grey) or 3 (RGB), sides of 32 px and more.
        labels: int [N], index into `names`.
        names: the K class names.
        view: `all`, `7` or names; images of other classes are left out and their logits masked (section 3.7).
        corruptions: names in `CORRUPTIONS` and `FACE_CORRUPTIONS`; none takes all that apply to such faces.
        severities: of the common corruptions, 1 to 5.
        template: where the eyes lie, for face-specific ones; none takes FER-2013's.
        landmarks: float [N,5,2] in pixels; see `corrupt_face`.
        seed: of the corruptions and of the bootstrap.
        progress: told after each corruption.

    Raises:
        InputError: a corruption, severity or view that does not exist, or faces that cannot be used.
    """
    if not len(faces) or len(faces) != len(labels):
        raise InputError(f"{len(labels)} labels do not fit {len(faces)} faces; give one label a face.")
    wanted = _wanted(corruptions, severities, faces.shape)
    parts = [slice(start, start + PART) for start in range(0, len(faces), PART)]
    clean_logits = np.concatenate([classify(faces[part]) for part in parts])
    kept = in_view(clean_logits, labels, names, view=view)
    columns = [list(names).index(name) for name in kept.names]
    faces = faces[kept.rows]
    landmarks = None if landmarks is None else landmarks[kept.rows]
    clean = _answers(kept.logits, kept.labels)
    total = len(faces) * len(wanted)
    measured = []
    for done, (name, severity) in enumerate(wanted, start=1):
        logits = np.concatenate(
            [
                classify(part)
                for part in _corrupted(faces, name, severity, seed, template=template, landmarks=landmarks)
            ]
        )
        measured.append(_answers(logits[:, columns], kept.labels))
        if progress is not None:
            progress(done * len(faces), total, name if severity is None else f"{name} {severity}")
    rows = _rows(wanted, clean, measured, seed)
    return RobustnessTable(view, kept.names, len(faces), clean.accuracy, clean.macro_recall, rows)


def _wanted(
    corruptions: Sequence[str] | None, severities: Sequence[int], shape: Sequence[int]
) -> list[tuple[str, int | None]]:
    """Corruptions with their severities, in the table's order."""
    possible = [*CORRUPTIONS, *face_corruptions_for(shape)]
    for name in corruptions or ():
        if name in FACE_CORRUPTIONS and name not in possible:
            raise InputError(f"{name} does not change faces of {list(shape[1:])}; leave it out.")
        if name not in possible:
            raise InputError(f"corruption {name!r} is not one of {', '.join(possible)}.")
    for severity in severities:
        if severity not in SEVERITIES:
            raise InputError(f"severity must be 1, 2, 3, 4 or 5, not {severity!r}.")
    chosen = possible if corruptions is None else [name for name in possible if name in set(corruptions)]
    levels: dict[str, Sequence[int | None]] = {name: sorted(set(severities)) for name in CORRUPTIONS}
    return [(name, level) for name in chosen for level in levels.get(name, [None])]


def _corrupted(
    faces: Faces,
    name: str,
    severity: int | None,
    seed: int,
    *,
    template: CropTemplate | None,
    landmarks: Landmarks | None,
) -> Iterator[Faces]:
    for number, start in enumerate(range(0, len(faces), PART)):
        part = slice(start, start + PART)
        if severity is not None:
            yield corrupt(faces[part], name, severity, seed=(seed, number))
        else:
            places = None if landmarks is None else landmarks[part]
            yield corrupt_face(faces[part], name, template=template, landmarks=places)


def _answers(logits: npt.NDArray[np.floating], labels: npt.NDArray[np.int64]) -> _Answers:
    if not np.isfinite(logits).all():
        raise InputError("the model answers corrupted faces with numbers that are not finite.")
    predicted = logits.argmax(axis=1)
    correct = predicted == labels
    classes = np.arange(logits.shape[1])
    recall = recall_score(labels, predicted, labels=classes, average="macro", zero_division=0)
    return _Answers(float(correct.mean()), float(recall), correct)


def _rows(
    wanted: Sequence[tuple[str, int | None]], clean: _Answers, measured: Sequence[_Answers], seed: int
) -> tuple[RobustnessRow, ...]:
    if not measured:
        return ()
    # Both answered the same pictures, so what is resampled is each picture's change.
    changes = np.stack([clean.correct.astype(np.float64) - one.correct for one in measured], axis=1)

    def mean_drop(counts: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        drops: npt.NDArray[np.float64] = (counts @ changes) / counts.sum(axis=1, keepdims=True)
        return drops

    drawn = draws([mean_drop], len(changes), seed=seed)[:, 0]
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    return tuple(
        RobustnessRow(
            corruption=name,
            family="face" if severity is None else CORRUPTIONS[name],
            severity=severity,
            accuracy=one.accuracy,
            macro_recall=one.macro_recall,
            drop=float(changes[:, column].mean()),
            drop_low=float(low[column]),
            drop_high=float(high[column]),
            relative_accuracy=one.accuracy / clean.accuracy if clean.accuracy else None,
        )
        for column, ((name, severity), one) in enumerate(zip(wanted, measured, strict=True))
    )
