"""The manifest: one row a picture, everything known about it, and what the labels mean.

Labels are data from here on: nothing downstream knows the default taxonomy's names.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import polars as pl

from mien.data import balance
from mien.data.manifest_columns import validate
from mien.data.manifest_hash import hash_rows
from mien.data.parquet import write_parquet
from mien.data.sources.record import SPLITS
from mien.data.targets import Targets, resolve
from mien.errors import InputError, ManifestError
from mien.labels import class_view

FORMAT: Final = 2
"""Version of the columns and of the metadata; a reader refuses any other."""
METADATA_KEY: Final = "mien"


@dataclass(frozen=True)
class ManifestInfo:
    """What the rows mean; stored as JSON in the parquet's metadata."""

    labels: tuple[str, ...]
    """Class names in index order."""
    annotations: Mapping[str, tuple[str, ...]]
    """Annotation to the names of its votes' columns; empty when it has none."""
    target: str
    """What is learned unless a run says otherwise."""
    size: int
    """Side of the packed faces, in pixels."""
    channels: int
    """Channels of the packed faces: 1 grey (ITU-R BT.601) or 3 RGB."""
    pack_file: str
    """Name of the pack's file, beside the manifest."""
    pack_count: int
    """Faces in the pack."""
    pack_sha256: str
    """SHA-256 of the pack's file."""
    twins_file: str = ""
    """Name of the list of twins, beside the manifest. Not part of the hash."""
    splits: str = "official"
    """`official`, `clean` or `balanced`."""
    twins: Mapping[str, Any] = field(default_factory=dict)
    """How twins were searched for: `mien.config.AuditConfig` as plain values."""
    balance_target: int | None = None
    """Training images of each class an epoch under the balance plan; none is the largest class's count."""
    unrotated: tuple[str, ...] = ()
    """Sets whose pictures are never rotated in training (section 3.3)."""
    seed: int = 0
    """Seed of drawn splits and of the balance plan."""
    views: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Named subsets of the labels: `7` for the paper's seven classes (section 3.7)."""
    template: Mapping[str, Any] | None = None
    """Where the eyes lie in the faces: `mien.card.CropTemplate` as plain values. Not part of the hash."""
    templates: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """The same as measured in each set that came cropped. Not part of the hash."""
    notes: tuple[str, ...] = ()
    """What preparing had to decide, for people."""
    format: int = FORMAT
    """Version of the columns and of this record."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-ready values."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        values["annotations"] = {name: list(votes) for name, votes in self.annotations.items()}
        values["views"] = {name: list(view) for name, view in self.views.items()}
        lists = {name: list(values[name]) for name in ("labels", "unrotated", "notes")}
        return {**values, **lists, "twins": dict(self.twins), "templates": dict(self.templates)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ManifestInfo:
        """Read what `to_dict` wrote.

        Raises:
            ManifestError: another format version, or a key is missing or unknown.
        """
        if values.get("format") != FORMAT:
            raise ManifestError(
                f"the manifest's format is {values.get('format')!r} and this mien reads {FORMAT}; prepare "
                "the data again."
            )
        known = {f.name for f in dataclasses.fields(cls)}
        if known != set(values):
            odd = ", ".join(sorted(known ^ set(values)))
            raise ManifestError(
                f"the manifest's metadata lacks or does not know {odd}; prepare the data again."
            )
        plain = dict(values)
        try:
            for name in ("labels", "unrotated", "notes"):
                plain[name] = tuple(plain[name])
            for name in ("annotations", "views"):
                plain[name] = {key: tuple(names) for key, names in plain[name].items()}
        except (TypeError, AttributeError):
            raise ManifestError(
                f"the manifest's metadata holds no list under {name}; prepare the data again."
            ) from None
        return cls(**plain)


def views_of(labels: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The paper's 7-class view where the labels allow it."""
    try:
        return {"7": class_view(labels, "7")}
    except InputError:
        return {}


@dataclass(frozen=True)
class Manifest:
    """The rows and what they mean. Valid when made: `validate` runs in the constructor.

    Raises:
        ManifestError: a rule is broken; the message names row and column.
    """

    frame: pl.DataFrame
    """One row a picture; the columns of `COLUMNS` and those of the annotations and of the user."""
    info: ManifestInfo
    """What the rows mean."""

    def __post_init__(self) -> None:
        validate(self.frame, self.info)

    def __len__(self) -> int:
        return len(self.frame)

    def write(self, path: Path) -> None:
        """Write one parquet file, all of it or nothing."""
        text = json.dumps(self.info.to_dict(), ensure_ascii=False, allow_nan=False)
        write_parquet(self.frame, path, {METADATA_KEY: text})

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Read and check a manifest.

        Raises:
            InputError: no such file.
            ManifestError: not a manifest of mien's, or it breaks a rule; the message names row and column.
        """
        if not path.is_file():
            raise InputError(f"{path} does not exist; prepare the data with `mien data prepare`.")
        try:
            text = pl.read_parquet_metadata(path).get(METADATA_KEY)
            frame = pl.read_parquet(path)
        except (pl.exceptions.PolarsError, OSError) as error:
            raise ManifestError(f"{path} is not a parquet file ({error}); prepare the data again.") from error
        if text is None:
            raise ManifestError(
                f"{path} is a parquet file but no manifest: its metadata has no {METADATA_KEY!r}."
            )
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise ManifestError(
                f"{path} has metadata that is no JSON ({error}); prepare the data again."
            ) from error
        return cls(frame, ManifestInfo.from_dict(values))

    @cached_property
    def _hash(self) -> str:
        # The templates are measured with a neural network, whose last digits may differ between processors;
        # notes are words for people; the twins' file
        # is named by a hash of parquet, whose bytes depend on the version of polars.
        left_out = ("template", "templates", "notes", "twins_file")
        return hash_rows(self.frame, {k: v for k, v in self.info.to_dict().items() if k not in left_out})

    def hash(self) -> str:
        """SHA-256 over the rows sorted by id and over `info` without its templates and notes, in hexadecimal.

        It covers each picture's pixels through their own hashes and the packed faces through the pack's, and
        does not depend on row order or on how parquet was encoded. Columns of the user's own are left out.
        """
        return self._hash

    def target(self, name: str | None = None) -> Targets:
        """The kept rows that a target labels, with hard and soft labels; None is the manifest's own target.

        Raises:
            InputError: the target is not in this data.
        """
        targets = resolve(self.frame, name or self.info.target, self.info.labels, self.info.annotations)
        if targets.name != self.info.target:
            # The stored plan counts the classes of the manifest's own target; another one needs its own.
            rows = targets.rows("train")
            targets.copies[:] = 1
            targets.copies[rows] = balance.plan(
                targets.labels[rows], self.info.balance_target, self.info.seed
            )
        return targets

    def counts(self, target: str | None = None) -> dict[str, dict[str, int]]:
        """Kept images by split and class under a target; every split and every class is listed."""
        targets = self.target(target)
        return {split: targets.only(split).class_counts() for split in SPLITS}

    def dropped(self) -> dict[str, int]:
        """Rows that were not kept, by reason."""
        counts = self.frame.filter(~pl.col("kept")).group_by("drop_reason").len().sort("drop_reason")
        return {str(reason): int(count) for reason, count in counts.iter_rows()}
