"""What the label-noise study found, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from mien.report.gains import Interval

LOWEST: Final = 100
"""Pictures of the lowest quality that are looked at by themselves: as many as a person would look through."""


@dataclass(frozen=True)
class FoldFigures:
    """One fold and its model."""

    images: int
    """Pictures that it was asked about, held out of its training."""
    training: int
    """Pictures that it was trained on."""
    validation: int
    """Pictures that chose its checkpoint and its temperature."""
    accuracy: float
    """Share of the held-out pictures whose most probable class is their label."""
    temperature: float
    """Fitted on the validation pictures; above 1 for a model that was too sure."""


@dataclass(frozen=True)
class ClassIssues:
    """The pictures with one label."""

    name: str
    """The label."""
    images: int
    """Scored pictures with it."""
    issues: int
    """Those flagged."""
    found: int
    """Those whose most probable class is their label."""


@dataclass(frozen=True)
class AnnotationCheck:
    """Flags against another annotation of the same pictures."""

    annotation: str
    """Its name."""
    images: int
    """Scored pictures that it labels too."""
    disagree: int
    """Those of another class there."""
    flagged: int
    """Those flagged."""
    flagged_disagree: int
    """Those flagged and of another class there."""
    flagged_suggested: int
    """Those flagged and of the suggested class there."""
    lowest: int
    """Those of the lowest quality, `LOWEST` of them where there are as many."""
    lowest_disagree: int
    """Those of the lowest quality and of another class there."""
    precision_interval: Interval | None
    """95 % bootstrap interval of `precision` over the flagged pictures; None without any."""
    auc: float | None
    """Probability that a disagreeing picture has a lower quality than an agreeing one; 0.5 is chance. None
    where all or none disagree."""

    @property
    def base(self) -> float | None:
        """Share of all pictures that disagree: the precision of flags set by chance."""
        return self.disagree / self.images if self.images else None

    @property
    def precision(self) -> float | None:
        """Share of the flagged pictures that disagree."""
        return self.flagged_disagree / self.flagged if self.flagged else None

    @property
    def unflagged(self) -> float | None:
        """Share of the other pictures that disagree."""
        others = self.images - self.flagged
        return (self.disagree - self.flagged_disagree) / others if others else None

    @property
    def recall(self) -> float | None:
        """Share of the disagreeing pictures that are flagged."""
        return self.flagged_disagree / self.disagree if self.disagree else None

    @property
    def lift(self) -> float | None:
        """`precision` over `base`; 1 is chance."""
        return self.precision / self.base if self.precision is not None and self.base else None


@dataclass(frozen=True)
class VoteCheck:
    """Flags against the votes on the same pictures."""

    annotation: str
    """Whose votes."""
    images: int
    """Scored pictures with votes."""
    flagged: float | None
    """Mean share of all votes that went to the given label, of flagged pictures; None without any."""
    unflagged: float | None
    """The same of the other pictures."""


@dataclass(frozen=True)
class LabelNoise:
    """What the study found; nothing of it removes a picture."""

    target: str
    """Whose labels were looked at."""
    rule: str
    """How the one class of a picture was found: `majority` of its votes, or its `label`."""
    splits: str
    """`train`, or `all` where validation and test pictures were looked at too."""
    manifest_hash: str
    """Of the data."""
    classes: tuple[str, ...]
    """The K class names."""
    images: int
    """Pictures that were scored."""
    unscored: int
    """Pictures of a class that their fold's model had no training picture of."""
    issues: int
    """Pictures that were flagged."""
    accuracy: float
    """Share of the scored pictures whose most probable class, out of fold, is their label."""
    accuracy_interval: Interval
    """95 % bootstrap interval of the accuracy over pictures."""
    by_class: tuple[ClassIssues, ...]
    """One a class."""
    joint: tuple[tuple[float, ...], ...]
    """[K, K], estimated probability of a given label (row) together with a true one (column); sums to 1."""
    flagged: tuple[tuple[int, ...], ...]
    """[K, K], flagged pictures by given (row) and suggested label (column)."""
    folds: tuple[FoldFigures, ...]
    """One a model."""
    annotations: tuple[AnnotationCheck, ...]
    """One for each other annotation of the scored pictures."""
    votes: tuple[VoteCheck, ...]
    """One for each annotation with votes."""
    columns_written: bool
    """Whether the manifest has got the columns `user.label_*`."""
    made: Mapping[str, str]
    """How: what was used and set."""

    @property
    def noise(self) -> float:
        """Estimated share of labels that are not the true one."""
        return 1 - float(np.trace(np.asarray(self.joint)))

    @property
    def guessing(self) -> float:
        """Accuracy of naming the commonest label for every picture."""
        return max(one.images for one in self.by_class) / self.images


@dataclass(frozen=True)
class DoubtfulLabel:
    """One picture, as the page shows it."""

    id: str
    """The manifest's."""
    label: str
    """As given."""
    suggested: str
    """The most probable class."""
    quality: float
    """0..1, the probability of the given label."""
    flagged: bool
    """Whether it is among the issues."""
