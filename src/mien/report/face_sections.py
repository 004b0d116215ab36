"""Galleries of faces: the surest errors, the most doubtful labels, the least certain answers.

They only say where to look: a person decides whether the model or the label is wrong.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.special import softmax  # type: ignore[import-untyped]

from mien.evaluate.calibration import fit_temperature
from mien.evaluate.doubtful import confident_errors, doubtful_labels, least_certain
from mien.report.document import Block, Gallery, Picture, Section, Table, Text
from mien.report.failure_figures import face_png
from mien.report.report_data import Answers, ReportData
from mien.report.runs import ReportedRun
from mien.report.wording import DASH, percent

FACES: Final = 24
"""Faces of a gallery."""
_MOST_VOTED: Final = 3
"""Classes whose votes a caption names."""


@dataclass(frozen=True)
class Judged:
    """One run, and its answers on the report's data."""

    name: str
    """Of its column."""
    run: ReportedRun
    answers: Answers

    @property
    def which(self) -> str:
        """The run in words."""
        seed = "" if self.run.config is None else f", seed {self.run.seed}"
        return f"run {self.run.name}{seed}"


@dataclass(frozen=True)
class Face:
    """What is known of one evaluated image."""

    id: str
    """In the manifest."""
    pack_row: int
    """Of the face in the pack."""
    label: str
    answer: str
    confidence: float
    """Probability of the answer, 0..1."""
    label_probability: float
    """Probability of the label, 0..1."""
    votes: dict[str, float]
    """Class to share of the votes, the largest first; empty where there are no votes."""

    @property
    def told(self) -> str:
        """`labelled fear, answered surprise 97 %; votes fear 60 %, surprise 40 %`."""
        text = f"labelled {self.label}, answered {self.answer} {percent(self.confidence, 0)}"
        return f"{text}; votes {self.told_votes}" if self.votes else text

    @property
    def told_votes(self) -> str:
        """`fear 60 %, surprise 40 %`, the largest few."""
        largest = list(self.votes.items())[:_MOST_VOTED]
        return ", ".join(f"{name} {percent(share, 0)}" for name, share in largest) or DASH


def votes_of(one: Judged, data: ReportData) -> npt.NDArray[np.float32] | None:
    """Shares of the votes, float32 [n, K]; None where the data has none, or not of the run's classes."""
    if not data.targets.has_votes or tuple(one.run.labels) != data.targets.classes:
        return None
    return data.targets.soft[one.answers.places]


def faces_section(one: Judged, data: ReportData, *, pictures: bool) -> Section:
    """Three galleries, or tables that name the faces.

    Args:
        one: whose errors.
        data: the faces.
        pictures: whether faces are embedded.
    """
    answers, votes = one.answers, votes_of(one, data)
    fitted = _temperature(one.run)
    temperature = 1.0 if fitted is None else fitted
    logits, labels = answers.logits, answers.labels
    by = "the entropy of their votes" if votes is not None else "the model's probability of the label"
    chosen = {
        "Most confident errors": confident_errors(logits, labels, FACES, temperature=temperature),
        f"Most doubtful labels, by {by}": doubtful_labels(
            logits, labels, FACES, votes=votes, temperature=temperature
        ),
        "Least certain answers": least_certain(logits, labels, FACES, temperature=temperature),
    }
    how = "as they came" if fitted is None else f"at temperature {fitted:.2f}, fitted on validation"
    blocks: list[Block] = [Text(f"Of {one.name} ({one.which}); confidences {how}.")]
    if pictures:
        warning = (
            "This page holds pictures of the data set, whose licence may forbid passing them on. Read it "
            "before you share the page, or write it with mien report --no-pictures."
        )
        blocks.append(Text(warning))
    values: dict[str, object] = {"run": one.run.name, "temperature": fitted}
    for caption, rows in chosen.items():
        faces = _faces(one, data, votes, rows, temperature)
        values[caption] = [dataclasses.asdict(face) for face in faces]
        blocks.append(_shown(caption, faces, data, pictures=pictures))
    return Section("Faces to look at", tuple(blocks), values=values)


def _temperature(run: ReportedRun) -> float | None:
    """Fitted on validation; None where its logits were not kept, or are what is reported."""
    kept = run.validation
    if kept is None or run.split == "validation":
        return None
    return fit_temperature(kept["logits"].astype(np.float32), kept["labels"].astype(np.int64)).value


def _faces(
    one: Judged,
    data: ReportData,
    votes: npt.NDArray[np.float32] | None,
    rows: npt.NDArray[np.int64],
    temperature: float,
) -> list[Face]:
    """The faces of rows of the answers."""
    names, answers = one.run.labels, one.answers
    probabilities = softmax(answers.logits[rows].astype(np.float64) / temperature, axis=1)
    faces = []
    for row, shares in zip(rows.tolist(), probabilities, strict=True):
        place, label, answer = int(answers.places[row]), int(answers.labels[row]), int(shares.argmax())
        voted = {} if votes is None else dict(zip(names, votes[row].tolist(), strict=True))
        faces.append(
            Face(
                id=data.targets.ids[place],
                pack_row=int(data.targets.pack_rows[place]),
                label=names[label],
                answer=names[answer],
                confidence=float(shares[answer]),
                label_probability=float(shares[label]),
                votes={
                    name: voted[name] for name in sorted(voted, key=lambda k: -voted[k]) if voted[name] > 0
                },
            )
        )
    return faces


def _shown(caption: str, faces: Sequence[Face], data: ReportData, *, pictures: bool) -> Block:
    if not faces:
        return Text(f"{caption}: none.")
    if pictures:
        return Gallery(
            tuple(
                Picture(
                    face_png(data.prepared.pack[face.pack_row]), f"Face {face.id}, {face.told}.", face.told
                )
                for face in faces
            ),
            caption,
        )
    rows = tuple(
        (face.id, face.label, face.answer, percent(face.confidence), face.told_votes) for face in faces
    )
    columns = ("id", "labelled", "answered", "confidence", "votes")
    return Table(caption, columns, rows, words=frozenset({1, 2, 4}))
