"""What is learned: the rows, class indices and soft labels that a target's name stands for.

A target is an annotation (`fer2013`), an annotation's votes (`ferplus.votes`), or several joined by `+`, of
which a row takes the first that labels it (`ferplus.votes+ckplus`).

Which images count is the same for an annotation and for its votes: those whose majority label exists. With
`ferplus.votes` these are learned from the votes, single ones dropped, over the emotions, summing to 1;
validation and test compare with the majority label, which is the authors' `majority` protocol.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from mien.data.votes import soft_labels
from mien.errors import InputError

Index = npt.NDArray[np.int64]
VOTES_SUFFIX: Final = ".votes"


@dataclass(frozen=True)
class Targets:
    """The M kept rows that a target labels, in the manifest's order; all arrays are aligned."""

    name: str
    """The target, as in `TrainingSetConfig.target`."""
    classes: tuple[str, ...]
    """The K class names, in index order."""
    ids: tuple[str, ...]
    """The manifest's `id` of each row."""
    sets: tuple[str, ...]
    """The raw set of each row."""
    splits: npt.NDArray[np.str_]
    """`train`, `validation` or `test`, [M]."""
    pack_rows: Index
    """int64 [M], each row's face in the pack."""
    labels: Index
    """int64 [M], index into `classes`."""
    soft: npt.NDArray[np.float32]
    """float32 [M, K], summing to 1; one-hot where there are no votes."""
    copies: npt.NDArray[np.int32]
    """int32 [M], images an epoch under the balance plan; 1 outside the training split."""
    rule: str = "label"
    """How the one class of an image was found: `majority` of its votes, or its `label`."""

    @property
    def has_votes(self) -> bool:
        """Whether the soft labels hold votes."""
        return any(part.strip().endswith(VOTES_SUFFIX) for part in self.name.split("+"))

    def __len__(self) -> int:
        return len(self.labels)

    def rows(self, split: str) -> Index:
        """int64 [m], the positions in these arrays of one split's rows."""
        return np.flatnonzero(self.splits == split).astype(np.int64)

    def only(self, split: str) -> Targets:
        """One split's rows alone."""
        return self.at(self.rows(split))

    def at(self, rows: Index) -> Targets:
        """Some rows alone, int64 [m], in that order."""
        return replace(
            self,
            ids=tuple(self.ids[i] for i in rows),
            sets=tuple(self.sets[i] for i in rows),
            splits=self.splits[rows],
            pack_rows=self.pack_rows[rows],
            labels=self.labels[rows],
            soft=self.soft[rows],
            copies=self.copies[rows],
        )

    def class_counts(self) -> dict[str, int]:
        """Rows of each class."""
        counts = np.bincount(self.labels, minlength=len(self.classes))
        return {name: int(count) for name, count in zip(self.classes, counts, strict=True)}


def parts_of(name: str, annotations: Mapping[str, Sequence[str]]) -> list[tuple[str, bool]]:
    """The (annotation, whether its votes) that a target's name stands for, in order.

    Args:
        name: the target.
        annotations: annotation to the names of its votes, empty when it has none.

    Raises:
        InputError: no such annotation, or it has no votes.
    """
    parts = []
    for part in name.split("+"):
        annotation, votes = part.strip().removesuffix(VOTES_SUFFIX), part.strip().endswith(VOTES_SUFFIX)
        if annotation not in annotations or (votes and not annotations[annotation]):
            known = [
                a + suffix for a, v in annotations.items() for suffix in ("", *([VOTES_SUFFIX] if v else []))
            ]
            raise InputError(f"target {part.strip()!r} is not in this data; it has {', '.join(known)}.")
        parts.append((annotation, votes))
    return parts


def default_target(annotations: Mapping[str, Sequence[str]], sets: Mapping[str, Sequence[str]]) -> str:
    """The richest target: of each set the annotation with votes, or else its first; sets joined by `+`.

    Args:
        annotations: annotation to the names of its votes.
        sets: set to its annotations, in the readers' order.
    """
    chosen: list[str] = []
    for names in sets.values():
        voted = [name + VOTES_SUFFIX for name in names if annotations[name]]
        best = voted[0] if voted else names[0]
        if best not in chosen:
            chosen.append(best)
    return "+".join(chosen)


def hard_labels(frame: pl.DataFrame, parts: Sequence[tuple[str, bool]]) -> pl.Series:
    """The class name of each row under a target, null where it has none."""
    return frame.select(pl.coalesce(*(f"labels.{name}" for name, _ in parts)).alias("label")).to_series()


def resolve(
    frame: pl.DataFrame, name: str, classes: Sequence[str], annotations: Mapping[str, Sequence[str]]
) -> Targets:
    """The rows of a manifest's frame that a target labels. `copies` is taken from the frame.

    Raises:
        InputError: the target is not in this data.
    """
    parts = parts_of(name, annotations)
    label = hard_labels(frame, parts)
    used = frame.with_columns(label.alias("label")).filter(
        pl.col("kept") & pl.col("label").is_in(list(classes))
    )
    index = {name: i for i, name in enumerate(classes)}
    labels = np.asarray([index[value] for value in used["label"]], dtype=np.int64)
    soft = np.zeros((len(labels), len(classes)), dtype=np.float32)
    soft[np.arange(len(labels)), labels] = 1
    unset = np.ones(len(labels), dtype=bool)
    for annotation, votes in parts:
        here = unset & used[f"labels.{annotation}"].is_not_null().to_numpy()
        voted = here & used[f"votes.{annotation}"].is_not_null().to_numpy() if votes else None
        if voted is not None and voted.any():
            counts = used[f"votes.{annotation}"].filter(pl.Series(voted)).to_list()
            shares = soft_labels(np.asarray(counts, dtype=np.float32), annotations[annotation], classes)
            soft[voted] = np.where(shares.sum(axis=1, keepdims=True) > 0, shares, soft[voted])
        unset &= ~here
    return Targets(
        name=name,
        classes=tuple(classes),
        ids=tuple(used["id"]),
        sets=tuple(used["set"]),
        splits=np.asarray(used["split"].to_list(), dtype=np.str_),
        pack_rows=used["pack_row"].to_numpy().astype(np.int64),
        labels=labels,
        soft=soft,
        copies=used["copies"].fill_null(1).to_numpy().astype(np.int32),
        rule="majority" if any(annotations[annotation] for annotation, _ in parts) else "label",
    )
