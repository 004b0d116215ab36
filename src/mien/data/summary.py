"""What a prepared folder holds, in numbers: the content of its data card.

Every number is counted from manifest, pack and twins alone, so that a card can be written again at any time.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from mien.data.joining import JOINED
from mien.data.manifest import Manifest
from mien.data.sources.record import SPLITS, SetFacts
from mien.data.summary_records import (
    Brightness,
    ClassSummary,
    Counts,
    DataSummary,
    Dropped,
    DroppedPicture,
    SetSummary,
    Sizes,
    TwinPair,
    TwinSummary,
)
from mien.data.targets import hard_labels, parts_of

LABEL: Final = "label"
"""The column that `labelled_rows` adds."""
EXAMPLES: Final = 20
"""Pictures of each drop reason, and twins with different labels, that are listed."""
TWIN_COLUMNS: Final = (
    *("id_a", "id_b", "exact", "correlation", "mirrored", "shift_x", "shift_y"),
    *("split_a", "split_b", "label_a", "label_b"),
)
"""Of a list of twins, one row a pair; splits are those before any picture was dropped."""
_FACES: Final = 20_000
"""Most packed faces of a set that are read for its brightness; the mean's standard error is then below 1."""
_BYTES: Final = 128 << 20
"""Most bytes of them, where faces are large: rows all over a pack that is not in memory are read slowly."""
_SLICE_BYTES: Final = 16 << 20
_OF_A_SET: Final = (
    *("set", "kept", "pack_row", "height", "width", "channels", "format", "brightness"),
    *("crop", "faces_found"),
)
_IS_PICTURE: Final = pl.col("drop_reason").ne_missing(JOINED)
"""Not the second row of a picture that was given twice."""
_GREY: Final = {1: (1.0,), 3: (0.299, 0.587, 0.114)}
"""ITU-R BT.601."""


def summarise(
    manifest: Manifest, pack: npt.NDArray[np.uint8] | None, twins: pl.DataFrame | None
) -> DataSummary:
    """Count what a prepared folder holds.

    Args:
        manifest: of the folder.
        pack: its faces, uint8 [N, C, H, W]; None leaves out their brightness.
        twins: the pairs of the manifest's `twins_file`, with `TWIN_COLUMNS`; None when there is no list.
    """
    info, frame = manifest.info, manifest.frame
    pictures = frame.filter(_IS_PICTURE)
    names = frame["set"].unique(maintain_order=True).to_list()
    labelled = labelled_rows(manifest)
    used = labelled.filter("kept")
    by_split = _counted(used, "split")
    return DataSummary(
        info=info,
        manifest_hash=manifest.hash(),
        read=len(pictures),
        kept=int(frame["kept"].sum()),
        labelled=len(used),
        split_counts={split: by_split.get(split, 0) for split in SPLITS},
        sets=tuple(_set_summary(manifest, name, pack) for name in names),
        facts=_facts([*names, *(name for name in info.annotations if name not in names)]),
        classes=_class_summaries(labelled, info.labels, names),
        dropped=_dropped(frame, names),
        twins=None if twins is None else _twin_summary(pictures, twins),
    )


def labelled_rows(manifest: Manifest) -> pl.DataFrame:
    """The pictures, kept or not, whose label under the manifest's own target is one of its classes.

    The class name is in the column `label`.
    """
    label = hard_labels(manifest.frame, parts_of(manifest.info.target, manifest.info.annotations))
    columns = ["id", "set", "split", "kept", "pack_row", "copies"]
    rows = manifest.frame.with_columns(label.alias(LABEL)).filter(_IS_PICTURE)
    return rows.filter(pl.col(LABEL).is_in(list(manifest.info.labels))).select(*columns, LABEL)


def _facts(names: list[str]) -> dict[str, SetFacts]:
    from mien.data.sources.named import facts

    known = facts()
    return {name: known[name] for name in names if name in known}


def _counted(rows: pl.DataFrame, column: str) -> dict[str, int]:
    """Rows by value, nulls left out, the commonest first."""
    counts = rows.drop_nulls(column).group_by(column).len().sort(["len", column], descending=[True, False])
    return dict(counts.iter_rows())


def _set_summary(manifest: Manifest, name: str, pack: npt.NDArray[np.uint8] | None) -> SetSummary:
    rows = manifest.frame.filter(_IS_PICTURE & (pl.col("set") == name)).select(_OF_A_SET)
    kept = rows.filter("kept")
    known = rows["channels"].drop_nulls()
    found = rows["faces_found"].drop_nulls()
    number = {"none": found == 0, "one": found == 1, "several": found > 1}
    before = rows["brightness"].drop_nulls().cast(pl.Float64).to_numpy()
    after = None
    if pack is not None and len(kept):
        after = _brightness(_packed_levels(pack, kept["pack_row"].to_numpy(), manifest.info.seed))
    template = manifest.info.templates.get(name)
    return SetSummary(
        name=name,
        read=len(rows),
        kept=len(kept),
        sizes=_sizes(rows),
        formats=_counted(rows, "format"),
        grey_share=float((known == 1).sum()) / len(known) if len(known) else None,
        brightness_before=_brightness(before),
        brightness_after=after,
        crops=_counted(kept, "crop"),
        faces_found={key: int(those.sum()) for key, those in number.items()} if len(found) else {},
        template=dict(template) if template else None,
    )


def _sizes(rows: pl.DataFrame) -> Sizes | None:
    known = rows.select("width", "height").drop_nulls()
    if not len(known):
        return None
    ranked = known.group_by("width", "height").len().sort(["len", "width", "height"], descending=True)
    width, height, count = ranked.row(0)
    shorter = known.min_horizontal().to_numpy()
    return Sizes(
        commonest=(width, height),
        share=count / len(known),
        smallest=int(shorter.min()),
        median=round(float(np.median(shorter))),
        largest=int(shorter.max()),
    )


def _brightness(levels: npt.NDArray[np.float64]) -> Brightness | None:
    if not len(levels):
        return None
    return Brightness(round(float(levels.mean()), 2), round(float(levels.std()), 2), len(levels))


def _packed_levels(
    pack: npt.NDArray[np.uint8], rows: npt.NDArray[np.int64], seed: int
) -> npt.NDArray[np.float64]:
    """Mean grey level of a seeded sample of faces, float64 [M], read in slices: the pack may be far larger
    than memory."""
    face_bytes = int(np.prod(pack.shape[1:]))
    count = max(1, min(len(rows), _FACES, _BYTES // face_bytes))
    chosen = np.sort(np.random.default_rng(seed).choice(np.sort(rows), count, replace=False))
    slices = np.array_split(chosen, -(-count * face_bytes // _SLICE_BYTES))
    means = [pack[part].mean(axis=(2, 3), dtype=np.float64) for part in slices]
    levels: npt.NDArray[np.float64] = np.concatenate(means) @ np.asarray(_GREY[pack.shape[1]])
    return levels


def _class_summaries(
    labelled: pl.DataFrame, classes: Sequence[str], names: Sequence[str]
) -> tuple[ClassSummary, ...]:
    copies = pl.col("copies").fill_null(1).filter(pl.col("kept") & (pl.col("split") == "train"))
    cells = labelled.group_by(LABEL, "set").agg(
        pl.len().alias("read"), pl.col("kept").sum(), copies.sum().alias("epoch")
    )
    by_set = {(label, name): counts for label, name, *counts in cells.iter_rows()}
    by_split = {
        (label, split): count
        for label, split, count in labelled.filter("kept").group_by(LABEL, "split").len().iter_rows()
    }
    plan = labelled.group_by(LABEL).agg(
        copies.min().alias("fewest"), copies.max().alias("most"), (copies == 0).sum().alias("left_out")
    )
    plans = {label: rest for label, *rest in plan.iter_rows()}
    summaries = []
    for label in classes:
        read, kept, epoch = (
            {name: by_set.get((label, name), (0, 0, 0))[i] for name in names} for i in range(3)
        )
        splits: Counts = {split: by_split.get((label, split), 0) for split in SPLITS}
        fewest, most, left_out = plans.get(label, (None, None, 0))
        span = None if fewest is None or most is None else (fewest, most)
        summaries.append(ClassSummary(label, read, kept, splits, epoch, span, left_out))
    return tuple(summaries)


def _dropped(frame: pl.DataFrame, names: list[str]) -> tuple[Dropped, ...]:
    rows = frame.filter(~pl.col("kept")).select(field.name for field in dataclasses.fields(DroppedPicture))
    dropped = []
    for reason in _counted(rows, "drop_reason"):
        those = rows.filter(pl.col("drop_reason") == reason)
        by_set = _counted(those, "set")
        examples = tuple(DroppedPicture(*values) for values in those.head(EXAMPLES).iter_rows())
        dropped.append(Dropped(reason, {name: by_set.get(name, 0) for name in names}, examples))
    return tuple(dropped)


def _twin_summary(pictures: pl.DataFrame, twins: pl.DataFrame) -> TwinSummary:
    # By groups, since of several equal pictures only the first is listed with its near twins.
    groups = pictures.drop_nulls(["twin_group", "split"]).group_by("twin_group", "split").len()
    sizes = {split: groups.filter(pl.col("split") == split).drop("split") for split in SPLITS}
    across: dict[str, dict[str, int]] = {here: {} for here in SPLITS}
    for here in SPLITS:
        for there in SPLITS:
            twin = sizes[there].filter(pl.col("len") > (1 if here == there else 0))
            across[here][there] = int(sizes[here].join(twin, on="twin_group", how="semi")["len"].sum())
    differ = twins.filter(pl.col("label_a") != pl.col("label_b")).sort(
        "exact", "correlation", "id_a", "id_b", descending=[True, True, False, False], nulls_last=True
    )
    pairs = differ.select(field.name for field in dataclasses.fields(TwinPair)).head(EXAMPLES)
    exact = int(twins["exact"].sum())
    return TwinSummary(
        exact=exact,
        near=len(twins) - exact,
        mirrored=int(twins["mirrored"].sum()),
        shifted=len(twins.filter((pl.col("shift_x") != 0) | (pl.col("shift_y") != 0))),
        across=across,
        conflicting=len(differ),
        conflicts=tuple(TwinPair(*values) for values in pairs.iter_rows()),
    )
