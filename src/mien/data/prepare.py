"""From raw sets to a prepared folder: manifest.parquet, pack.npy and card.md, all of it or nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from mien.config import PrepareConfig
from mien.data import balance, splits
from mien.data.collect import Collected, Progress
from mien.data.manifest import Manifest, ManifestInfo, views_of
from mien.data.pack import PackWriter, open_pack
from mien.data.sources import SPLITS, drawn, read
from mien.data.targets import default_target, hard_labels, parts_of
from mien.errors import InputError
from mien.files import replacing_folder, sha256_of, write_text

MANIFEST_FILE: Final = "manifest.parquet"
PACK_FILE: Final = "pack.npy"
CARD_FILE: Final = "card.md"


@dataclass(frozen=True)
class Prepared:
    """A prepared folder, opened."""

    manifest: Manifest
    """One row a picture."""
    pack: npt.NDArray[np.uint8]
    """uint8 [N, C, H, W], memory-mapped read-only; the manifest's `pack_row` indexes it."""


def load_prepared(folder: Path) -> Prepared:
    """Open a prepared folder.

    Raises:
        InputError: it is missing, was not made by `mien data prepare`, or manifest and pack do not belong
            together.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; make one with `mien data prepare PATH --out {folder}`.")
    manifest = Manifest.read(folder / MANIFEST_FILE)
    pack = open_pack(folder / PACK_FILE)
    info = manifest.info
    expected = (info.pack_count, info.channels, info.size, info.size)
    if pack.shape != expected:
        raise InputError(
            f"{folder}: the pack is {pack.shape} and the manifest's is {expected}; prepare the data again."
        )
    return Prepared(manifest, pack)


def prepare(
    sources: Mapping[str, Path] | Literal["drawn"],
    out: Path,
    config: PrepareConfig,
    *,
    progress: Progress | None = None,
) -> Manifest:
    """Read raw sets and write one prepared folder.

    Args:
        sources: set name (a key of `mien.data.sources.SOURCES`) to its path, or `drawn`.
        out: the folder to write; a prepared one that is already there is replaced when the new one is
            complete.
        config: sizes, splits, target, taxonomy, seed.
        progress: called every 256 pictures and at the end.

    Returns:
        The manifest that was written.

    Raises:
        InputError: a set's files cannot be used, a label is outside the taxonomy, a split has no image, or
            `out` holds something else. Nothing is written then.
    """
    _check_out(out, sources)
    if config.size < 8:
        raise InputError(f"size is {config.size}; faces need at least 8 pixels a side.")
    records = drawn.read(config) if isinstance(sources, str) else read(sources)
    with replacing_folder(out) as folder:
        collected = Collected(config)
        with PackWriter(folder / PACK_FILE, size=config.size, channels=config.channels) as pack:
            collected.read(records, pack, progress)
        manifest = _assemble(collected, folder / PACK_FILE, pack.count, config)
        manifest.write(folder / MANIFEST_FILE)
        write_text(folder / CARD_FILE, card_text(manifest))
    return manifest


def _check_out(out: Path, sources: Mapping[str, Path] | str) -> None:
    pictures = None if isinstance(sources, str) else sources.get("folder")
    if pictures is not None and out.resolve().is_relative_to(pictures.resolve()):
        raise InputError(
            f"{out} lies inside {pictures}, where it would be read as a class; name another folder with "
            "--out."
        )
    if out.is_dir() and any(out.iterdir()) and not (out / MANIFEST_FILE).is_file():
        raise InputError(f"{out} holds other files than prepared data; name a new folder with --out.")
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; name a new folder with --out.")


def _assemble(collected: Collected, pack: Path, count: int, config: PrepareConfig) -> Manifest:
    frame, annotations = collected.frame()
    if count == 0:
        reasons = ", ".join(f"{n} {reason}" for reason, n in frame["drop_reason"].value_counts().iter_rows())
        raise InputError(
            f"no usable picture was found ({reasons or 'no picture at all'}); check the path and its layout."
        )
    classes = _classes(frame, annotations, collected.classes, config)
    target = config.target or default_target(annotations, {k: list(v) for k, v in collected.sets.items()})
    parts = parts_of(target, annotations)
    frame = _with_twins(frame)
    frame, notes = _with_splits(frame, parts, classes, config)
    if drawn.NAME in collected.sets:
        noisy = drawn.noisy_labels(
            frame["labels.drawn"].to_list(),
            frame["split"].to_list(),
            noise=config.drawn_label_noise,
            seed=config.seed,
            classes=classes,
        )
        frame = frame.with_columns(pl.Series("labels.drawn", noisy, dtype=pl.String))
    frame = _with_copies(frame, parts, classes, config)
    _check_splits(frame, parts, target)
    info = ManifestInfo(
        labels=classes,
        annotations=annotations,
        target=target,
        size=config.size,
        channels=config.channels,
        pack_count=count,
        pack_sha256=sha256_of(pack),
        splits=config.splits,
        balance_target=config.balance_target,
        seed=config.seed,
        views=views_of(classes),
        template=_template(frame, pack, config),
        notes=(*notes, *_twin_notes(frame)),
    )
    return Manifest(frame, info)


def _classes(
    frame: pl.DataFrame,
    annotations: Mapping[str, object],
    named: tuple[str, ...] | None,
    config: PrepareConfig,
) -> tuple[str, ...]:
    """The class names: those found, those named, or the emotions that the data has any picture of."""
    kept = frame.filter(pl.col("kept"))
    found = {name for a in annotations for name in kept[f"labels.{a}"].drop_nulls()}
    if named is None:
        return tuple(sorted(found))
    if config.labels != "emotions":
        return named
    # FER-2013 by itself knows no contempt: a logit that nothing asks for would only spoil macro averages.
    return tuple(name for name in named if name in found)


def _with_twins(frame: pl.DataFrame) -> pl.DataFrame:
    twins = pl.col("kept") & (pl.len().over("sha256", "kept") > 1)
    first = pl.col("id").first().over("sha256", "kept")
    return frame.with_columns(pl.when(twins).then(first).otherwise(None).alias("twin_group"))


def _with_splits(
    frame: pl.DataFrame, parts: list[tuple[str, bool]], classes: tuple[str, ...], config: PrepareConfig
) -> tuple[pl.DataFrame, list[str]]:
    kept = frame.filter(pl.col("kept"))
    index = {name: i for i, name in enumerate(classes)}
    labels = np.asarray([index.get(name, -1) for name in hard_labels(kept, parts)], dtype=np.int64)
    groups = splits.groups_of(kept["subject"].to_list(), kept["twin_group"].to_list())
    notes: list[str] = []
    drawn_splits: list[str]
    if config.splits == "balanced":
        drawn_splits = splits.balanced(
            labels,
            groups,
            classes,
            validation=config.validation_per_class,
            test=config.test_per_class,
            seed=config.seed,
        )
    else:
        found, notes = splits.official(
            kept["set"].to_list(), kept["split"].to_list(), labels, groups, config.seed
        )
        drawn_splits = [*found]
    new = pl.DataFrame({"id": kept["id"], "_split": pl.Series(drawn_splits, dtype=pl.String)})
    frame = frame.join(new, on="id", how="left", maintain_order="left")
    surplus = (pl.col("_split") == splits.SURPLUS).fill_null(value=False)
    frame = frame.with_columns(
        pl.when(surplus).then(None).otherwise(pl.coalesce("_split", "split")).alias("split"),
        (pl.col("kept") & ~surplus).alias("kept"),
        pl.when(surplus).then(None).otherwise("pack_row").alias("pack_row"),
        pl.when(surplus)
        .then(pl.lit("surplus of a balanced split"))
        .otherwise("drop_reason")
        .alias("drop_reason"),
    )
    return frame.drop("_split"), notes


def _with_copies(
    frame: pl.DataFrame, parts: list[tuple[str, bool]], classes: tuple[str, ...], config: PrepareConfig
) -> pl.DataFrame:
    index = {name: i for i, name in enumerate(classes)}
    names = hard_labels(frame, parts).to_list()
    train = (frame["kept"] & (frame["split"] == "train").fill_null(value=False)).to_list()
    rows = [i for i, name in enumerate(names) if train[i] and name in index]
    copies: list[int | None] = [None] * len(frame)
    plan = balance.plan([index[names[i]] for i in rows], config.balance_target, config.seed)
    for i, value in zip(rows, plan.tolist(), strict=True):
        copies[i] = value
    return frame.with_columns(pl.Series("copies", copies, dtype=pl.Int32))


def _check_splits(frame: pl.DataFrame, parts: list[tuple[str, bool]], target: str) -> None:
    labelled = frame.filter(pl.col("kept") & hard_labels(frame, parts).is_not_null())
    have = set(labelled["split"])
    for split in SPLITS:
        if split not in have:
            raise InputError(
                f"the {split} split has no image with a label of target {target}; add pictures, or use "
                "splits=balanced."
            )


def _twin_notes(frame: pl.DataFrame) -> list[str]:
    twins = frame.filter(pl.col("twin_group").is_not_null() & pl.col("kept"))
    across = twins.group_by("twin_group").agg(pl.col("split").n_unique().alias("n")).filter(pl.col("n") > 1)
    if not len(twins):
        return []
    return [
        f"{len(twins)} pictures have an exact twin; {len(across)} groups of twins lie in more than one split."
    ]


def _template(frame: pl.DataFrame, pack: Path, config: PrepareConfig) -> dict[str, Any] | None:
    if config.template_sample <= 0:
        return None
    from mien.faces.template import measure_template

    rows = frame.filter(pl.col("kept") & (pl.col("split") == "train"))["pack_row"].to_numpy()
    rng = np.random.default_rng(config.seed)
    chosen = np.sort(rng.permutation(rows)[: config.template_sample]).astype(np.int64)
    faces = open_pack(pack)[chosen].transpose(0, 2, 3, 1)
    template = measure_template(np.ascontiguousarray(faces))
    return None if template is None else dataclasses.asdict(template)


def card_text(manifest: Manifest) -> str:
    """The prepared folder's card in Markdown: images by split and class, what was dropped, the hash."""
    info, counts = manifest.info, manifest.counts()
    lines = [
        "# Prepared data",
        "",
        f"Target `{info.target}`, splits {info.splits}, seed {info.seed}, {info.size}x{info.size} px, "
        f"{'grey' if info.channels == 1 else 'RGB'}.",
        f"Manifest hash `{manifest.hash()}`.",
        "",
        "| class | " + " | ".join(SPLITS) + " |",
        "| --- |" + " ---: |" * len(SPLITS),
    ]
    lines += [
        f"| {name} | " + " | ".join(f"{counts[s][name]:,}" for s in SPLITS) + " |" for name in info.labels
    ]
    lines.append("| all | " + " | ".join(f"{sum(counts[s].values()):,}" for s in SPLITS) + " |")
    read_count = len(manifest)
    kept = int(manifest.frame["kept"].sum())
    used = sum(sum(by_class.values()) for by_class in counts.values())
    lines += ["", f"{read_count:,} pictures read, {kept:,} kept, {used:,} with a label of the target."]
    lines += [f"- dropped, {reason}: {count:,}" for reason, count in manifest.dropped().items()]
    if info.template:
        share = info.template["detected"]
        lines.append(
            f"- eyes found in {share:.0%} of {info.template['count']} faces: the crop template was "
            "measured on them"
        )
    lines += [f"- {note}" for note in info.notes]
    return "\n".join(lines) + "\n"
