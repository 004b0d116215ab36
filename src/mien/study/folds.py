"""Out-of-fold predictions: every picture read by a model that saw neither it, nor its subject, nor its twins.

A fold is an ordinary run on an ordinary prepared folder, whose manifest calls the fold `test`, a tenth of the
other groups `validation` and the rest `train`; so a stopped study is continued by the engine's own
checkpoints, and `mien evaluate` works on a fold. The packed faces are not copied but hard-linked, which
neither moving nor re-preparing the data can break.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl
from safetensors.numpy import load_file, save
from scipy.special import softmax  # type: ignore[import-untyped]

from mien.config import RunConfig
from mien.data import balance
from mien.data.manifest import Manifest
from mien.data.prepared import MANIFEST_FILE, Prepared, load_prepared
from mien.data.splits import groups_of, stratified
from mien.data.targets import Targets
from mien.errors import InputError
from mien.evaluate.calibration import fit_temperature
from mien.evaluate.predict import evaluation_device, predict_logits
from mien.evaluate.split import split_targets
from mien.files import replacing
from mien.models.saved import CONFIG, SavedRun, read_run
from mien.progress import Reporter
from mien.report.label_noise_figures import FoldFigures
from mien.study.experiment import check_one_device, is_same_experiment
from mien.train.run import resume_run, train_run

Index = npt.NDArray[np.int64]
Float = npt.NDArray[np.float64]

PREDICTIONS: Final = "out_of_fold.safetensors"
"""In a fold's run: float32 logits of its validation and test pictures, in the manifest's order."""
VALIDATION_SHARE: Final = 0.1
"""Share of the pictures outside a fold that choose its checkpoint and its temperature."""


@dataclass(frozen=True)
class OutOfFold:
    """The predictions for the M rows of `targets`; all arrays are aligned with it."""

    targets: Targets
    """The rows that were predicted."""
    fold: Index
    """int64 [M], the fold of each row, from 0."""
    probabilities: Float
    """float64 [M, K], calibrated; every row sums to 1."""
    known: npt.NDArray[np.bool_]
    """bool [M], whether the model had any training picture of the class that the row is labelled as; without
    one, its low probability says nothing about the label."""
    folds: tuple[FoldFigures, ...]
    """One a fold, in order."""


def out_of_fold(
    config: RunConfig,
    data: Path,
    manifest: Manifest,
    targets: Targets,
    out: Path,
    *,
    folds: int,
    reporter: Reporter,
) -> OutOfFold:
    """Divide some rows into folds, and predict each fold with a model trained on the others.

    Args:
        config: of every fold's run; its seed also draws the folds. Its target is not looked at.
        data: the prepared folder, whose pack is linked.
        manifest: of that folder.
        targets: the rows, of one target.
        out: every fold gets a folder there; a finished one is not trained again.
        folds: how many, at least 2.
        reporter: where progress goes.

    Raises:
        InputError: too few pictures for so many folds, or `out` holds folds of other data or another config.
        TrainingDiverged: the loss of a fold is not finite.
        KeyboardInterrupt: stopped; the same call continues.
    """
    training_set = dataclasses.replace(config.training_set, target=targets.name)
    config = dataclasses.replace(config, training_set=training_set)
    seed = config.train.seed
    groups = target_groups(manifest, targets)
    fold = divide(targets.labels, groups, folds, seed)
    # Every fold's division is looked at before the first is trained: training may take hours.
    divisions = [fold_splits(targets.labels, groups, fold, number, seed) for number in range(folds)]
    probabilities = np.zeros((len(targets), len(targets.classes)))
    known = np.zeros(len(targets), dtype=bool)
    figures = []
    for number, splits in enumerate(divisions):
        name = f"fold-{number + 1}-of-{folds}"
        own = fold_manifest(manifest, targets, splits, f"{name}, seed {seed}")
        run = _completed(out / name, config, own, data / manifest.info.pack_file, reporter)
        held_out = splits == "test"
        prediction = _read(run, own)
        probabilities[held_out] = prediction.probabilities
        known[held_out] = prediction.seen[targets.labels[held_out]]
        figures.append(prediction.figures)
        reporter.say(f"{name}: out-of-fold accuracy {prediction.figures.accuracy:.2%}")
    return OutOfFold(targets, fold, probabilities, known, tuple(figures))


def target_groups(manifest: Manifest, targets: Targets) -> Index:
    """The group of each row of a target, int64 [M]: rows joined by subject, by twin, or by a chain of both,
    which may lead through rows that the target does not label."""
    kept = manifest.frame.filter("kept")
    groups = groups_of(kept["subject"].to_list(), kept["twin_group"].to_list())
    by_id = dict(zip(kept["id"], groups.tolist(), strict=True))
    return np.asarray([by_id[name] for name in targets.ids], dtype=np.int64)


def divide(labels: Index, groups: Index, folds: int, seed: int) -> Index:
    """Folds with about as many images of each class, whole groups at a time.

    Args:
        labels: class index, int64 [M].
        groups: int64 [M]; rows of one group come into one fold.
        folds: how many, at least 2. A class with fewer groups than that is missing in some.
        seed: of the order of equally large groups.

    Returns:
        int64 [M], 0 to `folds` - 1.

    Raises:
        InputError: `folds` is below 2, or there are fewer groups than folds.
    """
    if folds < 2:
        raise InputError(f"folds is {folds}; out-of-fold predictions need at least 2.")
    count = len(np.unique(groups))
    if count < folds:
        raise InputError(_too_few(len(labels), count, folds))
    shares: Mapping[Any, float] = dict.fromkeys(range(folds), 1 / folds)
    return np.asarray(stratified(labels, groups, shares, seed), dtype=np.int64)


def fold_splits(labels: Index, groups: Index, fold: Index, number: int, seed: int) -> npt.NDArray[np.str_]:
    """The split of each row in one fold's run: its own rows are `test`.

    Args:
        labels: class index, int64 [M].
        groups: int64 [M]; no group is divided.
        fold: from `divide`.
        number: the fold, from 0.
        seed: draws the validation split.

    Raises:
        InputError: one of the three splits is empty.
    """
    rest = np.flatnonzero(fold != number)
    shares: Mapping[Any, float] = {"train": 1 - VALIDATION_SHARE, "validation": VALIDATION_SHARE}
    splits = np.full(len(fold), "test", dtype="<U10")
    splits[rest] = stratified(labels[rest], groups[rest], shares, seed)
    if len(np.unique(splits)) < 3:
        raise InputError(_too_few(len(labels), len(np.unique(groups)), int(fold.max()) + 1))
    return splits


def _too_few(images: int, groups: int, folds: int) -> str:
    return (
        f"{images} images in {groups} groups (a subject's pictures and twins stay together) are too few for "
        f"{folds} folds that each have training, validation and held-out images; take fewer folds or more "
        "data."
    )


def fold_manifest(
    manifest: Manifest, targets: Targets, splits: npt.NDArray[np.str_], policy: str
) -> Manifest:
    """The manifest of one fold: the rows of `targets` alone, with the fold's splits and its own balance plan.

    Args:
        manifest: of the data.
        targets: the rows.
        splits: from `fold_splits`, [M].
        policy: how the splits were made, for `ManifestInfo.splits`.
    """
    training = splits == "train"
    copies = np.ones(len(targets), dtype=np.int32)
    copies[training] = balance.plan(
        targets.labels[training], manifest.info.balance_target, manifest.info.seed
    )
    frame = manifest.frame.filter(pl.col("id").is_in(list(targets.ids))).with_columns(
        pl.Series("split", splits.tolist(), dtype=pl.String), pl.Series("copies", copies, dtype=pl.Int32)
    )
    return Manifest(frame, dataclasses.replace(manifest.info, target=targets.name, splits=policy))


def _completed(
    folder: Path, config: RunConfig, manifest: Manifest, pack_file: Path, reporter: Reporter
) -> SavedRun:
    """One fold's run with its predictions, from wherever it stands."""
    data, run = folder / "data", folder / "run"
    if (run / CONFIG).exists():
        saved = read_run(run)
        _check_same(saved, config, manifest, folder)
        if saved.finished and (run / PREDICTIONS).is_file():
            reporter.say(f"{folder.name}: already trained, skipped")
            return saved
        _write_data(data, manifest, pack_file)
        if not saved.finished:
            check_one_device(saved.config)
            (run / PREDICTIONS).unlink(missing_ok=True)
            resume_run(run, reporter=reporter, data=data)
    else:
        check_one_device(config)
        _write_data(data, manifest, pack_file)
        reporter.say(f"{folder.name}: training")
        train_run(config, data, run, reporter=reporter)
    saved = read_run(run)
    _predict(saved, load_prepared(data))
    return saved


def _check_same(saved: SavedRun, config: RunConfig, manifest: Manifest, folder: Path) -> None:
    if not is_same_experiment(saved.config, config):
        raise InputError(f"{folder} holds a fold of another config; name another --out.")
    if saved.record["manifest_hash"] != manifest.hash():
        raise InputError(f"{folder} holds a fold of other data or another target; name another --out.")


def _write_data(folder: Path, manifest: Manifest, pack_file: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    link = folder / manifest.info.pack_file
    # A link left there may be to a pack that has been replaced since.
    link.unlink(missing_ok=True)
    try:
        link.hardlink_to(pack_file)
    except OSError:
        # Another file system, or one without links.
        with replacing(link) as temporary:
            shutil.copyfile(pack_file, temporary)
    manifest.write(folder / MANIFEST_FILE)


def _predict(saved: SavedRun, prepared: Prepared) -> None:
    """Write the logits of a fold's validation and test pictures, in fp32."""
    model = saved.model().to(evaluation_device())
    logits = {}
    for split in ("validation", "test"):
        rows = split_targets(prepared, None, split, saved.labels).pack_rows
        logits[split] = predict_logits(model, prepared.pack, rows, saved.config.model)
    with replacing(saved.folder / PREDICTIONS) as temporary:
        temporary.write_bytes(save(logits))


@dataclass(frozen=True)
class _Prediction:
    """What one fold's run says of its n held-out pictures."""

    probabilities: Float
    """float64 [n, K]."""
    seen: npt.NDArray[np.bool_]
    """bool [K], the classes that it had a training picture of."""
    figures: FoldFigures


def _read(run: SavedRun, manifest: Manifest) -> _Prediction:
    """A fold's logits as calibrated probabilities under the class shares of its training pictures."""
    logits = load_file(run.folder / PREDICTIONS)
    targets = manifest.target()
    train, validation, test = (targets.only(split) for split in ("train", "validation", "test"))
    shares = np.bincount(train.labels, minlength=len(train.classes)) / len(train)
    seen = shares > 0
    offset = np.where(seen, 0.0, -np.inf)
    if run.config.training_set.balance != "none":
        # A balanced run has learned an even prior. Confident learning asks for the probability of a label in
        # this data, so that the posterior is moved back (Saerens et al., Neural Computation 14(1), 2002).
        trained = np.asarray([run.record["prior"][name] for name in run.labels])
        offset[seen] = np.log(shares[seen]) - np.log(trained[seen].clip(1e-12))
    usable = seen[validation.labels]
    temperature = 1.0
    if usable.any():
        fitted = logits["validation"][usable], validation.labels[usable]
        temperature = fit_temperature(*fitted, offset=offset).value
    probabilities = softmax(logits["test"].astype(np.float64) / temperature + offset, axis=1)
    figures = FoldFigures(
        images=len(test),
        training=len(train),
        validation=len(validation),
        accuracy=float((probabilities.argmax(1) == test.labels).mean()),
        temperature=temperature,
    )
    return _Prediction(probabilities, seen, figures)
