"""Which evaluated images a model could have seen before: twins and persons that an earlier split holds too.

Twins are those that preparing the data found (`mien.data.duplicates`): the same picture, a near copy of it,
or a copy of a copy. Barz and Denzler (Journal of Imaging 6, 2020) measured for CIFAR what they do to figures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from mien.data.sources.record import SPLITS
from mien.data.splits import groups_of
from mien.data.targets import Targets

Bool = npt.NDArray[np.bool_]
Index = npt.NDArray[np.int64]

_KEYS: Final = ("sha256", "twin_group", "subject")


@dataclass(frozen=True)
class Leak:
    """Which of N evaluated images stand in one earlier split too."""

    earlier: str
    """`train` or `validation`."""
    exact: Bool
    """bool [N], with equal decoded pixels."""
    near: Bool
    """bool [N], not so, but with a near twin, or a twin of a twin."""
    subject: Bool
    """bool [N], with a picture of the same person, twin or not."""

    @property
    def twin(self) -> Bool:
        """bool [N], either kind of twin."""
        return self.exact | self.near

    @property
    def any(self) -> Bool:
        """bool [N], a twin, or the same person."""
        return self.twin | self.subject


def leaks_between(frame: pl.DataFrame, evaluated: Targets, every: Targets) -> tuple[Leak, ...]:
    """What the images of one split share with the splits before it: train, validation, test.

    Args:
        frame: the manifest's rows.
        evaluated: the N rows of one split.
        every: the rows of all splits under the same target: an image without a label is not learned from.

    Returns:
        One for each earlier split that has an image, train first; empty for the training split.
    """
    facts = frame.select("id", *_KEYS)
    rows = _facts(facts, evaluated)
    split = str(evaluated.splits[0])
    found = []
    for earlier in SPLITS[: SPLITS.index(split)]:
        before = every.only(earlier)
        if len(before) == 0:
            continue
        known = _facts(facts, before)
        exact, twin, subject = (
            (rows[key].is_not_null() & rows[key].is_in(known[key].drop_nulls().unique().to_list())).to_numpy()
            for key in _KEYS
        )
        found.append(Leak(earlier, exact, twin & ~exact, subject))
    return tuple(found)


def related_groups(frame: pl.DataFrame, evaluated: Targets, places: Index) -> Index | None:
    """A number an image, equal for twins and for pictures of one person.

    Args:
        frame: the manifest's rows.
        evaluated: the rows of one split.
        places: int64 [n], those of them that are asked about.

    Returns:
        int64 [n]; None where all images differ, or are of one group, of which nothing can be resampled.
    """
    rows = _facts(frame.select("id", *_KEYS), evaluated)[places]
    groups = groups_of(rows["subject"].to_list(), rows["twin_group"].to_list())
    return groups if 1 < len(np.unique(groups)) < len(groups) else None


def _facts(frame: pl.DataFrame, targets: Targets) -> pl.DataFrame:
    """The rows of the targets, in their order."""
    order = pl.DataFrame({"id": list(targets.ids)}, schema={"id": pl.String})
    return order.join(frame, on="id", how="left", maintain_order="left")
