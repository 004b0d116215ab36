"""Folds: who is held out with whom, what a fold's run sees, resuming, temperature and prior."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.special import softmax

from mien.config import RunConfig
from mien.data.manifest import Manifest
from mien.data.prepared import load_prepared
from mien.data.targets import Targets
from mien.errors import InputError
from mien.evaluate.predict import predict_logits
from mien.models.saved import read_run
from mien.progress import Reporter
from mien.study import folds as module
from mien.study.folds import (
    OutOfFold,
    divide,
    fold_manifest,
    fold_splits,
    out_of_fold,
    target_groups,
)

QUIET = Reporter(quiet=True)
FOLDS = 3


@pytest.fixture(scope="module")
def config(tiny: RunConfig) -> RunConfig:
    """One epoch of the tiny run."""
    return dataclasses.replace(tiny, train=dataclasses.replace(tiny.train, epochs=1))


def training_rows(folder: Path) -> tuple[Manifest, Targets]:
    manifest = load_prepared(folder).manifest
    return manifest, manifest.target().only("train")


@pytest.fixture(scope="module")
def predicted(
    config: RunConfig, drawn_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, OutOfFold]:
    """The folder of three finished folds, and what they predicted; tests leave the folder as it is."""
    out = tmp_path_factory.mktemp("folds")
    made = out_of_fold(config, drawn_folder, *training_rows(drawn_folder), out, folds=FOLDS, reporter=QUIET)
    return out, made


def again(
    config: RunConfig, folder: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[OutOfFold, list[str]]:
    """A further call, and the folds that it trained or resumed."""
    touched: list[str] = []
    for name in ("train_run", "resume_run"):
        engine = getattr(module, name)

        def noted(*arguments: object, _name: str = name, _engine: object = engine, **more: object) -> object:
            run = next(a for a in reversed(arguments) if isinstance(a, Path))
            # What an unfinished run predicted is not to be believed, were this call cut off at its end.
            assert not (run / module.PREDICTIONS).exists()
            touched.append(f"{_name} {run.parent.name}")
            return _engine(*arguments, **more)  # type: ignore[operator]

        monkeypatch.setattr(module, name, noted)
    made = out_of_fold(config, folder, *training_rows(folder), out, folds=FOLDS, reporter=QUIET)
    return made, touched


def copied(out: Path, to: Path) -> Path:
    """The finished folds once more, for a test that changes them."""
    shutil.copytree(out, to)
    return to


@pytest.mark.parametrize("folds", [2, 3, 5])
def test_folds_hold_about_as_many_of_each_class_and_divide_no_group(folds: int) -> None:
    rng = np.random.default_rng(folds)
    labels = rng.choice(4, 600, p=[0.5, 0.3, 0.15, 0.05])
    groups = np.concatenate([np.arange(400), rng.integers(1000, 1050, 200)])
    fold = divide(labels, groups, folds, seed=0)
    assert set(fold.tolist()) == set(range(folds))
    for group in np.unique(groups):
        assert len(np.unique(fold[groups == group])) == 1
    for label in range(4):
        wanted = (labels == label).sum() / folds
        held = np.bincount(fold[labels == label], minlength=folds)
        assert np.abs(held - wanted).max() <= 2
    assert (divide(labels, groups, folds, seed=0) == fold).all()
    assert (divide(labels, groups, folds, seed=1) != fold).any()


def test_a_class_with_fewer_groups_than_folds_is_no_error() -> None:
    labels = np.array([0] * 40 + [1] * 2)
    fold = divide(labels, np.arange(42), 5, seed=0)
    assert len(set(fold[labels == 1].tolist())) == 2


def test_too_few_folds_or_groups_are_refused() -> None:
    labels = np.zeros(30, dtype=np.int64)
    with pytest.raises(InputError, match="at least 2"):
        divide(labels, np.arange(30), 1, seed=0)
    with pytest.raises(InputError, match=r"30 images in 3 groups .* too few for 4 folds"):
        divide(labels, np.arange(30) % 3, 4, seed=0)
    # Two groups, one held out: one group cannot be training and validation.
    fold = divide(labels, np.arange(30) % 2, 2, seed=0)
    with pytest.raises(InputError, match="too few for 2 folds"):
        fold_splits(labels, np.arange(30) % 2, fold, 0, seed=0)


def test_a_fold_is_tested_and_a_tenth_of_the_other_groups_validates() -> None:
    rng = np.random.default_rng(0)
    labels, groups = rng.integers(0, 5, 1000), rng.integers(0, 300, 1000)
    fold = divide(labels, groups, 4, seed=0)
    for number in range(4):
        splits = fold_splits(labels, groups, fold, number, seed=0)
        assert ((splits == "test") == (fold == number)).all()
        assert 65 <= (splits == "validation").sum() <= 85
        for group in np.unique(groups):
            assert len(np.unique(splits[groups == group])) == 1


def test_groups_are_joined_through_rows_that_the_target_does_not_label(drawn_folder: Path) -> None:
    manifest, _ = training_rows(drawn_folder)
    frame = manifest.frame.head(4).with_columns(
        pl.Series("split", ["train", "test", "train", "train"]),
        pl.Series("subject", ["a", "b", "b", "c"]),
        pl.Series("twin_group", ["t", "t", None, None], dtype=pl.String),
        pl.when(pl.int_range(pl.len()) == 1).then(None).otherwise("labels.drawn").alias("labels.drawn"),
    )
    # The second row is not kept under its target, but it joins the first by twin and the third by subject.
    frame = frame.with_columns(pl.Series("pack_row", [0, 1, 2, 3]))
    small = Manifest(frame, manifest.info)
    targets = small.target("drawn")
    assert len(targets) == 3
    first, third, fourth = target_groups(small, targets)
    assert first == third != fourth


def test_a_folds_manifest_holds_its_rows_alone_with_a_balance_plan_of_its_own(drawn_folder: Path) -> None:
    manifest, targets = training_rows(drawn_folder)
    splits = np.where(np.arange(len(targets)) % 3 == 0, "test", "train").astype("<U10")
    splits[1] = "validation"
    made = fold_manifest(manifest, targets, splits, "a fold")
    assert made.frame["id"].to_list() == list(targets.ids)
    own = made.target()
    assert own.name == targets.name
    assert own.splits.tolist() == splits.tolist()
    assert own.pack_rows.tolist() == targets.pack_rows.tolist()
    train = own.only("train")
    totals = np.bincount(train.labels, weights=train.copies)
    assert (totals == np.bincount(train.labels).max()).all()
    assert (own.copies[splits != "train"] == 1).all()
    assert made.hash() != manifest.hash()


def test_every_row_is_scored_once_by_a_model_that_saw_neither_it_nor_its_subject(
    predicted: tuple[Path, OutOfFold], drawn_folder: Path
) -> None:
    out, made = predicted
    subject = dict(load_prepared(drawn_folder).manifest.frame.select("id", "subject").iter_rows())
    held_out: list[str] = []
    for number in range(FOLDS):
        folder = out / f"fold-{number + 1}-of-{FOLDS}"
        prepared, run = load_prepared(folder / "data"), read_run(folder / "run")
        own = prepared.manifest.target()
        test, rest = own.only("test"), {i for i, s in zip(own.ids, own.splits, strict=True) if s != "test"}
        assert run.record["manifest_hash"] == prepared.manifest.hash()
        assert run.record["training_images"] == len(own.only("train")) == made.folds[number].training
        assert not {subject[i] for i in test.ids} & {subject[i] for i in rest}
        held_out += test.ids
        rows = np.flatnonzero(made.fold == number)
        assert [made.targets.ids[row] for row in rows] == list(test.ids)
        # Calibration divides all logits alike, so that it changes no most probable class.
        logits = predict_logits(run.model(), prepared.pack, test.pack_rows, run.config.model)
        assert (made.probabilities[rows].argmax(1) == logits.argmax(1)).all()
        temperature = made.folds[number].temperature
        assert np.allclose(made.probabilities[rows], softmax(logits / temperature, axis=1), atol=1e-6)
        assert made.folds[number].accuracy == (logits.argmax(1) == test.labels).mean()
    assert sorted(held_out) == sorted(training_rows(drawn_folder)[1].ids)
    assert made.known.all()


def test_the_pack_is_linked_and_copied_where_it_cannot_be(
    predicted: tuple[Path, OutOfFold], drawn_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = load_prepared(drawn_folder).manifest
    pack = drawn_folder / manifest.info.pack_file
    assert (predicted[0] / "fold-1-of-3" / "data" / pack.name).samefile(pack)

    def refuse(*_: object) -> None:
        raise OSError

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    module._write_data(tmp_path, manifest, pack)
    copy = tmp_path / pack.name
    assert not copy.samefile(pack)
    assert copy.read_bytes() == pack.read_bytes()


def test_a_second_call_trains_nothing_and_says_the_same(
    predicted: tuple[Path, OutOfFold], config: RunConfig, drawn_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, first = predicted
    # Threads and precision make no other experiment.
    other = dataclasses.replace(config, train=dataclasses.replace(config.train, threads=2))
    second, touched = again(other, drawn_folder, out, monkeypatch)
    assert touched == []
    assert (second.probabilities == first.probabilities).all()
    assert second.folds == first.folds


def test_an_unfinished_fold_is_resumed_and_a_missing_one_trained(
    predicted: tuple[Path, OutOfFold],
    config: RunConfig,
    drawn_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = copied(predicted[0], tmp_path / "folds")
    stopped, missing = out / "fold-2-of-3" / "run", out / "fold-3-of-3"
    for name in ("history.jsonl", "last.safetensors", "best.safetensors"):
        (stopped / name).unlink()
    (stopped / module.PREDICTIONS).write_bytes(b"stale")
    shutil.rmtree(missing)
    made, touched = again(config, drawn_folder, out, monkeypatch)
    assert touched == ["resume_run fold-2-of-3", "train_run fold-3-of-3"]
    assert np.allclose(made.probabilities, predicted[1].probabilities, atol=1e-5)


def test_folds_of_another_config_or_other_data_are_refused(
    predicted: tuple[Path, OutOfFold], config: RunConfig, drawn_folder: Path
) -> None:
    manifest, targets = training_rows(drawn_folder)
    seeded = dataclasses.replace(config, train=dataclasses.replace(config.train, seed=1))
    with pytest.raises(InputError, match="another config"):
        out_of_fold(seeded, drawn_folder, manifest, targets, predicted[0], folds=FOLDS, reporter=QUIET)
    fewer = Manifest(manifest.frame.filter(pl.col("id") != targets.ids[0]), manifest.info)
    with pytest.raises(InputError, match="other data"):
        out_of_fold(
            config,
            drawn_folder,
            fewer,
            fewer.target().only("train"),
            predicted[0],
            folds=FOLDS,
            reporter=QUIET,
        )


def test_a_balanced_run_is_moved_back_to_the_class_shares_of_the_data(
    config: RunConfig, drawn_folder: Path, tmp_path: Path
) -> None:
    manifest, _ = training_rows(drawn_folder)
    rare = pl.col("labels.drawn").is_in(["anger", "fear", "sadness"])
    frame = manifest.frame.filter(~rare | (pl.int_range(pl.len()) % 4 == 0))
    uneven = Manifest(frame, manifest.info)
    targets = uneven.target()
    sampled = dataclasses.replace(
        config, training_set=dataclasses.replace(config.training_set, balance="sampling")
    )
    made = out_of_fold(sampled, drawn_folder, uneven, targets, tmp_path, folds=2, reporter=QUIET)
    shares = np.bincount(targets.labels) / len(targets)
    told = made.probabilities.mean(axis=0)
    # An even prior would be 0.36 away.
    assert np.abs(1 / 8 - shares).sum() > 0.3
    assert np.abs(told - shares).sum() < 0.15


def test_a_row_of_a_class_that_its_model_never_saw_is_not_judged(
    config: RunConfig, drawn_folder: Path, tmp_path: Path
) -> None:
    manifest, targets = training_rows(drawn_folder)
    first = targets.ids[int(np.flatnonzero(targets.labels == 0)[0])]
    others = manifest.frame.filter((pl.col("labels.drawn") != targets.classes[0]) | (pl.col("id") == first))
    lonely = Manifest(others, manifest.info)
    own = lonely.target()
    made = out_of_fold(config, drawn_folder, lonely, own, tmp_path, folds=2, reporter=QUIET)
    assert [own.ids[i] for i in np.flatnonzero(~made.known)] == [first]
    # No model says that any picture is of a class it has not seen.
    assert (made.probabilities[made.fold == made.fold[own.ids.index(first)], 0] == 0).all()
