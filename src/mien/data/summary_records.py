"""The numbers of a prepared folder's data card, as plain records."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mien.data.manifest import ManifestInfo
from mien.data.sources.record import SetFacts

Counts = Mapping[str, int]


@dataclass(frozen=True)
class Sizes:
    """Width and height of a set's pictures as they were read, in pixels.

    Attributes:
        commonest: (width, height).
        share: of the pictures that have the commonest size.
        smallest, median, largest: of the pictures' shorter sides.
    """

    commonest: tuple[int, int]
    share: float
    smallest: int
    median: int
    largest: int


@dataclass(frozen=True)
class Brightness:
    """Mean grey level (BT.601) of a picture, in [0, 255], over pictures.

    Attributes:
        mean, sd: over the pictures; the standard deviation is that of the pictures measured.
        count: how many were measured.
    """

    mean: float
    sd: float
    count: int


@dataclass(frozen=True)
class SetSummary:
    """One raw set; each property is told of those pictures of which it is known.

    Attributes:
        name: as in the manifest's column `set`.
        read: rows of the set, kept or not.
        kept: rows with a face in the pack.
        sizes: before; None when no picture could be decoded.
        formats: pictures by file format, the commonest first.
        grey_share: share of the pictures with one channel, or three equal ones.
        brightness_before: of the pictures as read.
        brightness_after: of the packed faces, at most a seeded sample of 20,000; None without a pack.
        crops: kept pictures by how the face was cut out (`mien.data.manifest_columns.CROPS`).
        faces_found: pictures in which faces were looked for, by `none`, `one` and `several`.
        template: where the eyes lie in pictures that came cropped (`mien.card.CropTemplate`), if measured.
    """

    name: str
    read: int
    kept: int
    sizes: Sizes | None
    formats: Counts
    grey_share: float | None
    brightness_before: Brightness | None
    brightness_after: Brightness | None
    crops: Counts
    faces_found: Counts
    template: Mapping[str, Any] | None


@dataclass(frozen=True)
class ClassSummary:
    """One class under the manifest's own target.

    Attributes:
        name: of the class.
        read: pictures with this label by set, kept or not: Fig. 2 before.
        kept: kept pictures by set.
        splits: kept pictures by split.
        epoch: training images an epoch by set under the balance plan: Fig. 2 after.
        copies: fewest and most copies of a training picture an epoch; None without a training picture.
        left_out: training pictures with no copy.
    """

    name: str
    read: Counts
    kept: Counts
    splits: Counts
    epoch: Counts
    copies: tuple[int, int] | None
    left_out: int


@dataclass(frozen=True)
class DroppedPicture:
    """One picture that was not kept; the columns of dropped.csv."""

    id: str
    set: str
    source_file: str
    source_row: int | None
    drop_reason: str
    drop_detail: str | None


@dataclass(frozen=True)
class Dropped:
    """The pictures that were dropped for one reason: how many by set, and the first in the manifest's
    order."""

    reason: str
    counts: Counts
    examples: tuple[DroppedPicture, ...]

    @property
    def count(self) -> int:
        """Over all sets."""
        return sum(self.counts.values())


@dataclass(frozen=True)
class TwinPair:
    """Two pictures that are the same, and the correlation of their pixels."""

    id_a: str
    label_a: str
    id_b: str
    label_b: str
    correlation: float | None


@dataclass(frozen=True)
class TwinSummary:
    """The pairs of twins that were found, before any picture was taken out.

    Attributes:
        exact: pairs with equal pixels.
        near: the other pairs.
        mirrored: pairs of which one is a mirror image.
        shifted: pairs of which one is shifted.
        across: split to split, pictures of the one that have a twin in the other.
        conflicting: pairs of which both have a label under the target, and not the same.
        conflicts: the first of these, exact ones first, then by falling correlation.
    """

    exact: int
    near: int
    mirrored: int
    shifted: int
    across: Mapping[str, Counts]
    conflicting: int
    conflicts: tuple[TwinPair, ...]


@dataclass(frozen=True)
class DataSummary:
    """All that a data card says.

    Attributes:
        info: what the manifest says of itself.
        manifest_hash: `Manifest.hash`.
        read: rows of the manifest.
        kept: rows with a face in the pack.
        labelled: kept rows with a label under the target.
        split_counts: these by split.
        sets: in the manifest's order.
        facts: of the sets and annotations that mien knows; the others are a user's own.
        classes: in index order.
        dropped: the commonest reason first.
        twins: None when the folder has no list of twins.
    """

    info: ManifestInfo
    manifest_hash: str
    read: int
    kept: int
    labelled: int
    split_counts: Counts
    sets: tuple[SetSummary, ...]
    facts: Mapping[str, SetFacts]
    classes: tuple[ClassSummary, ...]
    dropped: tuple[Dropped, ...]
    twins: TwinSummary | None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-ready values."""
        return dataclasses.asdict(self) | {"info": self.info.to_dict()}
