"""A share of the training split and labels made wrong: how many, which, and that every run sees the same."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from mien.config import RunConfig, TrainingSetConfig
from mien.data.prepared import Prepared, load_prepared
from mien.data.targets import Targets
from mien.errors import InputError
from mien.evaluate.split import split_targets
from mien.progress import Reporter
from mien.train.run import train_run
from mien.train.training_set import stratified_share, training_targets, with_wrong_labels


@pytest.fixture
def prepared(drawn_folder: Path) -> Prepared:
    return load_prepared(drawn_folder)


def voted(count: int) -> Targets:
    """Three classes of four, with votes of which no two rows are alike."""
    random = np.random.default_rng(5)
    labels = random.integers(0, 3, count)
    soft = random.dirichlet(np.ones(4), count).astype(np.float32)
    names = tuple(f"{i}" for i in range(count))
    return Targets(
        name="t",
        classes=("a", "b", "c", "d"),
        ids=names,
        sets=("s",) * count,
        splits=np.full(count, "train"),
        pack_rows=np.arange(count),
        labels=labels,
        soft=soft,
        copies=np.ones(count, dtype=np.int32),
    )


@pytest.mark.parametrize("share", [0.2, 0.4])
def test_the_share_of_wrong_labels_is_exact_and_the_wrong_class_uniform(share: float) -> None:
    clean = voted(6000)
    noisy = with_wrong_labels(clean, share, seed=0)
    wrong = noisy.labels != clean.labels
    assert wrong.sum() == round(share * 6000)
    # Of each class the two others are drawn alike (three standard errors), and never one without images.
    for label in range(3):
        drawn = noisy.labels[wrong & (clean.labels == label)]
        shares = np.bincount(drawn, minlength=4) / len(drawn)
        assert shares[label] == shares[3] == 0
        assert abs(shares.max() - 0.5) < 3 * 0.5 / np.sqrt(len(drawn))


def test_wrong_votes_are_those_of_an_image_of_the_wrong_class() -> None:
    clean = voted(300)
    noisy = with_wrong_labels(clean, 0.3, seed=0)
    owner = {votes.tobytes(): int(label) for votes, label in zip(clean.soft, clean.labels, strict=True)}
    assert [owner[votes.tobytes()] for votes in noisy.soft] == noisy.labels.tolist()
    right = noisy.labels == clean.labels
    np.testing.assert_array_equal(noisy.soft[right], clean.soft[right])


def test_one_class_alone_has_no_wrong_label() -> None:
    clean = voted(30)
    with pytest.raises(InputError, match="two classes"):
        with_wrong_labels(clean.at(np.flatnonzero(clean.labels == 0)), 0.1, seed=0)


def test_a_share_is_stratified_and_lies_in_larger_ones() -> None:
    labels = np.repeat([0, 1, 2], [1000, 100, 3])
    tenth, third = (stratified_share(labels, share, seed=0) for share in (0.1, 0.3))
    assert np.bincount(labels[tenth]).tolist() == [100, 10, 1]
    assert np.bincount(labels[third]).tolist() == [300, 30, 1]
    assert set(tenth) <= set(third)
    assert (np.diff(tenth) > 0).all()
    assert not np.array_equal(tenth, stratified_share(labels, 0.1, seed=1))


def test_the_draw_hangs_on_its_own_seed(prepared: Prepared) -> None:
    config = TrainingSetConfig(label_noise=0.2, share=0.5)
    one, again = (training_targets(prepared, config) for _ in range(2))
    other = training_targets(prepared, TrainingSetConfig(label_noise=0.2, share=0.5, draw_seed=1))
    np.testing.assert_array_equal(one.labels, again.labels)
    assert one.ids == again.ids
    assert one.ids != other.ids


def test_without_options_the_split_is_what_it_was(prepared: Prepared) -> None:
    plain = training_targets(prepared, TrainingSetConfig())
    split = split_targets(prepared, None, "train", ())
    assert plain.ids == split.ids
    np.testing.assert_array_equal(plain.soft, split.soft)


def test_a_run_records_what_it_learned_and_validates_on_true_labels(
    prepared: Prepared, drawn_folder: Path, tiny: RunConfig, tmp_path: Path
) -> None:
    noisy = TrainingSetConfig(label_noise=0.5, share=0.5)
    config = dataclasses.replace(tiny, training_set=noisy, train=dataclasses.replace(tiny.train, epochs=1))
    figures = train_run(config, drawn_folder, tmp_path / "run", reporter=Reporter(quiet=True))
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    learned = training_targets(prepared, noisy)
    assert record["training_images"] == len(learned)
    assert record["training_counts"] == learned.class_counts()
    validation = split_targets(prepared, None, "validation", ())
    counts = {name: entry["count"] for name, entry in figures["per_class"].items()}
    assert counts == validation.class_counts()


@pytest.mark.parametrize("change", [{"label_noise": 0.1}, {"share": 0.5}, {"labelled_by": "x"}])
def test_the_balance_plan_does_not_go_with_other_rows(change: dict[str, object]) -> None:
    with pytest.raises(InputError, match="balance copies"):
        TrainingSetConfig(balance="copies", **change)  # type: ignore[arg-type]
