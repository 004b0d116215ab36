"""From rows and pairs of twins to the manifest: joined, grouped, split, balanced."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from mien.config import PrepareConfig
from mien.data import balance, splits
from mien.data.duplicates import TwinPairs, twin_groups
from mien.data.joining import JOINED, drop_where, join_annotations, join_by_id
from mien.data.manifest import Manifest, ManifestInfo, views_of
from mien.data.prepared import PackFile
from mien.data.reading import Reading
from mien.data.sets import names as public_names
from mien.data.sources import drawn
from mien.data.sources.record import SPLITS
from mien.data.targets import default_target, hard_labels, parts_of
from mien.data.taxonomy import Taxonomy
from mien.errors import InputError

TWIN_OF: Final = "twin of a {} image"
SURPLUS: Final = "surplus of a balanced split"
Index = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Assembled:
    """A manifest and the twins that were found on the way."""

    manifest: Manifest
    twins: pl.DataFrame
    """A row a pair: id_a, id_b, exact, correlation, mirrored, shift_x, shift_y (pixels of a face of 48),
    split_a and split_b as they were before any row was dropped, label_a and label_b under the target."""


def assemble(reading: Reading, pack: PackFile, pairs: TwinPairs, config: PrepareConfig) -> Assembled:
    """Make the manifest.

    Args:
        reading: the chunks.
        pack: all faces of their kept rows, in order.
        pairs: twins among the pack's faces.
        config: target, taxonomy, splits, balance, seed.

    Raises:
        InputError: the target is not in the data, a class is too small, a split has no image, or a set has
            splits for some of its pictures only.
    """
    frame = reading.rows()
    if not pack.count:
        reasons = ", ".join(f"{n} {reason}" for reason, n in frame["drop_reason"].value_counts().iter_rows())
        raise InputError(f"no usable picture was found ({reasons}); check the path and its layout.")
    packed = np.flatnonzero(frame["kept"].to_numpy())
    pairs = dataclasses.replace(pairs, a=packed[pairs.a], b=packed[pairs.b])
    twins = _as_frame(pairs)
    frame = join_by_id(frame, reading.annotations)
    frame, alone = join_annotations(frame, twins)
    classes = _classes(frame, reading, config)
    sets = {name: list(annotations) for name, annotations in reading.sets.items()}
    target = config.target or default_target(reading.annotations, sets)
    parts = parts_of(target, reading.annotations)
    frame, groups = _with_twins(frame, pairs)
    _check_unrotated(reading, config)
    frame, notes = _with_splits(frame, parts, classes, config)
    if alone:
        notes.append(f"{alone} pictures of FER+ found no partner in FER-2013 and stay pictures of their own.")
    listed = _listed(frame, twins, hard_labels(frame, parts))
    if config.splits.policy == "clean":
        frame = _without_leaks(frame, groups)
    if drawn.NAME in reading.sets:
        frame = _with_noise(frame, classes, config)
    frame = _with_copies(frame, parts, classes, config)
    _check_splits(frame, parts, target)
    info = ManifestInfo(
        labels=classes,
        annotations=reading.annotations,
        target=target,
        size=config.size,
        channels=config.channels,
        pack_file=pack.name,
        pack_count=pack.count,
        pack_sha256=pack.sha256,
        splits=config.splits.policy,
        twins=dataclasses.asdict(config.audit),
        balance_target=config.balance.target,
        unrotated=config.balance.unrotated,
        seed=config.seed,
        views=views_of(classes),
        template=None if reading.template is None else dataclasses.asdict(reading.template),
        templates={name: dataclasses.asdict(template) for name, template in reading.templates.items()},
        notes=(*reading.notes, *notes),
    )
    return Assembled(Manifest(frame, info), listed)


def _as_frame(pairs: TwinPairs) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "a": pairs.a,
            "b": pairs.b,
            "exact": pairs.exact,
            "correlation": pairs.correlation,
            "mirrored": pairs.mirrored,
            "shift_x": pairs.shift[:, 0],
            "shift_y": pairs.shift[:, 1],
            "plain": ~pairs.mirrored & (pairs.shift == 0).all(axis=1),
        }
    )


def _classes(frame: pl.DataFrame, reading: Reading, config: PrepareConfig) -> tuple[str, ...]:
    """The class names: those found, those named, or the emotions that the data has any picture of."""
    taxonomy = Taxonomy(config.labels)
    if taxonomy.is_choice:
        return taxonomy.classes
    kept = frame.filter("kept")
    found = {name for a in reading.annotations for name in kept[f"labels.{a}"].drop_nulls().unique()}
    if taxonomy.is_open:
        return tuple(sorted(found))
    # FER-2013 by itself knows no contempt: a logit that no annotation asks for would spoil macro averages.
    return tuple(name for name in taxonomy.classes if name in found)


def _with_twins(frame: pl.DataFrame, pairs: TwinPairs) -> tuple[pl.DataFrame, Index]:
    """`twin_group`, the id of the first of several kept twins; and the groups as numbers, -1 for no twin."""
    # Over all rows first: two kept pictures may be twins of each other only through one that was dropped.
    numbers = pl.Series("_group", twin_groups(len(frame), pairs.a, pairs.b))
    rows = frame.select("id", "kept").with_columns(numbers)
    shared = pl.col("kept") & (pl.col("_group") >= 0) & (pl.len().over("_group", "kept") > 1)
    first = pl.col("id").first().over("_group", "kept")
    rows = rows.with_columns(pl.when(shared).then(first).otherwise(None).alias("twin_group"))
    groups = np.where(rows["twin_group"].is_not_null(), rows["_group"], -1)
    return frame.with_columns(rows["twin_group"]), groups


def _with_splits(
    frame: pl.DataFrame, parts: list[tuple[str, bool]], classes: tuple[str, ...], config: PrepareConfig
) -> tuple[pl.DataFrame, list[str]]:
    kept = frame.filter("kept")
    index = {name: i for i, name in enumerate(classes)}
    labels = np.asarray([index.get(name, -1) for name in hard_labels(kept, parts)], dtype=np.int64)
    groups = splits.groups_of(kept["subject"].to_list(), kept["twin_group"].to_list())
    notes: list[str] = []
    drawn_splits: list[str]
    if config.splits.policy == "balanced":
        drawn_splits = splits.balanced(
            labels,
            groups,
            classes,
            validation=config.splits.validation_per_class,
            test=config.splits.test_per_class,
            seed=config.seed,
        )
    else:
        found, notes = splits.official(
            kept["set"].to_list(), kept["split"].to_list(), labels, groups, config.seed
        )
        drawn_splits = [*found]
    new: list[str | None] = [None] * len(frame)
    for row, split in zip(np.flatnonzero(frame["kept"].to_numpy()).tolist(), drawn_splits, strict=True):
        new[row] = split
    column = pl.Series("split", new, dtype=pl.String)
    surplus = (column == splits.SURPLUS).fill_null(value=False)
    frame = frame.with_columns(pl.coalesce(column, "split").alias("split"))
    frame = frame.with_columns(pl.when(surplus).then(None).otherwise("split").alias("split"))
    return drop_where(frame, surplus, SURPLUS), notes


def _check_unrotated(reading: Reading, config: PrepareConfig) -> None:
    for name in config.balance.unrotated:
        if name not in reading.sets and name not in public_names():
            raise InputError(
                f"balance.unrotated names {name}, which is none of the sets {', '.join(reading.sets)}."
            )


def _listed(frame: pl.DataFrame, twins: pl.DataFrame, labels: pl.Series) -> pl.DataFrame:
    # Two rows of one picture are no twins.
    joined = (frame["drop_reason"] == JOINED).fill_null(value=False)
    twins = twins.filter(~joined.gather(twins["a"]) & ~joined.gather(twins["b"]))
    sides = frame.select("id", "split", labels.alias("label"))
    a, b = (sides[twins[side]].rename({n: f"{n}_{side}" for n in sides.columns}) for side in ("a", "b"))
    facts = twins.select("exact", "correlation", "mirrored", "shift_x", "shift_y")
    return pl.concat([a, b, facts], how="horizontal").select(
        "id_a", "id_b", *facts.columns, "split_a", "split_b", "label_a", "label_b"
    )


def _without_leaks(frame: pl.DataFrame, groups: Index) -> pl.DataFrame:
    given = [split if kept else None for split, kept in frame.select("split", "kept").iter_rows()]
    found = splits.leaks(given, groups)
    for split in SPLITS[1:]:
        # One of the twins there, to look at.
        named = {
            g: name for g, s, name in zip(groups.tolist(), given, frame["id"], strict=True) if s == split
        }
        detail = pl.Series(
            [
                f"of {named[g]}" if leak == split else None
                for g, leak in zip(groups.tolist(), found, strict=True)
            ],
            dtype=pl.String,
        )
        frame = drop_where(frame, detail.is_not_null(), TWIN_OF.format(split), detail)
    return frame


def _with_noise(frame: pl.DataFrame, classes: tuple[str, ...], config: PrepareConfig) -> pl.DataFrame:
    noisy = drawn.noisy_labels(
        frame["labels.drawn"].to_list(),
        frame["split"].to_list(),
        noise=config.drawn.label_noise,
        seed=config.seed,
        classes=classes,
    )
    return frame.with_columns(pl.Series("labels.drawn", noisy, dtype=pl.String))


def _with_copies(
    frame: pl.DataFrame, parts: list[tuple[str, bool]], classes: tuple[str, ...], config: PrepareConfig
) -> pl.DataFrame:
    index = {name: i for i, name in enumerate(classes)}
    names = hard_labels(frame, parts).to_list()
    train = (frame["kept"] & (frame["split"] == "train").fill_null(value=False)).to_list()
    rows = [i for i, name in enumerate(names) if train[i] and name in index]
    copies: list[int | None] = [None] * len(frame)
    plan = balance.plan([index[names[i]] for i in rows], config.balance.target, config.seed)
    for i, value in zip(rows, plan.tolist(), strict=True):
        copies[i] = value
    return frame.with_columns(pl.Series("copies", copies, dtype=pl.Int32))


def _check_splits(frame: pl.DataFrame, parts: list[tuple[str, bool]], target: str) -> None:
    labelled = frame.filter(pl.col("kept") & hard_labels(frame, parts).is_not_null())
    have = set(labelled["split"].unique())
    for split in SPLITS:
        if split not in have:
            raise InputError(
                f"the {split} split has no image with a label of target {target}; add pictures, or use "
                "splits.policy=balanced."
            )
