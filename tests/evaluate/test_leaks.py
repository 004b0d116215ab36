"""Leaks that were planted, and a split without any."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from tests.planted import COUNTS, blot, prepared_of

from mien.data.prepared import Prepared
from mien.evaluate.leaks import Leak, leaks_between, related_groups


def leaks_of(prepared: Prepared, split: str) -> tuple[Leak, ...]:
    every = prepared.manifest.target()
    return leaks_between(prepared.manifest.frame, every.only(split), every)


def names_of(prepared: Prepared, split: str, mask: npt.NDArray[np.bool_]) -> set[str]:
    frame = prepared.manifest.frame
    file_of = dict(zip(frame["id"], frame["source_file"], strict=True))
    ids = prepared.manifest.target().only(split).ids
    return {Path(file_of[ids[i]]).stem for i in np.flatnonzero(mask)}


@pytest.fixture(scope="module")
def leaky(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    noisy = (blot(5).astype(int) + np.random.default_rng(9).integers(-3, 4, (48, 48))).clip(0, 255)
    return prepared_of(
        tmp_path_factory.mktemp("leaky") / "raw",
        copied={
            "test-0": blot(3),
            "test-1": blot(4),
            "test-2": noisy.astype(np.uint8),
            "test-3": np.ascontiguousarray(blot(6)[:, ::-1]),
            "test-4": blot(COUNTS["train"] + 1),
            "validation-7": blot(8),
        },
        subjects={"train-9": "anna", "test-5": "anna", "test-6": "ben", "train-3": "cleo", "test-0": "cleo"},
    )


def test_planted_leaks_are_found_and_nothing_else(leaky: Prepared) -> None:
    training, validation = leaks_of(leaky, "test")
    assert (training.earlier, validation.earlier) == ("train", "validation")
    assert names_of(leaky, "test", training.exact) == {"test-0", "test-1"}
    assert names_of(leaky, "test", training.near) == {"test-2", "test-3"}
    assert names_of(leaky, "test", training.subject) == {"test-0", "test-5"}
    assert names_of(leaky, "test", training.twin) == {f"test-{i}" for i in range(4)}
    assert int(training.any.sum()) == 5
    assert names_of(leaky, "test", validation.any) == {"test-4"}


def test_validation_is_held_against_training_alone(leaky: Prepared) -> None:
    (training,) = leaks_of(leaky, "validation")
    assert names_of(leaky, "validation", training.any) == {"validation-7"}
    assert leaks_of(leaky, "train") == ()


def test_distinct_pictures_leak_nothing(tmp_path: Path) -> None:
    prepared = prepared_of(tmp_path / "raw", subjects={"train-0": "anna", "train-1": "anna", "test-1": "ben"})
    assert [int(leak.any.sum()) for leak in leaks_of(prepared, "test")] == [0, 0]
    assert [len(leak.any) for leak in leaks_of(prepared, "test")] == [COUNTS["test"]] * 2


def test_a_picture_that_is_not_learned_from_leaks_nothing(leaky: Prepared) -> None:
    every = leaky.manifest.target()
    chosen = leaky.manifest.frame.filter(source_file="train-3.png")["id"][0]
    splits = every.splits.astype(object)
    splits[every.ids.index(chosen)] = "left out"
    training, _ = leaks_between(
        leaky.manifest.frame, every.only("test"), replace(every, splits=splits.astype(np.str_))
    )
    assert names_of(leaky, "test", training.exact) == {"test-1"}


def test_related_images_share_a_group(tmp_path: Path) -> None:
    prepared = prepared_of(
        tmp_path / "raw",
        copied={"test-1": blot(COUNTS["train"] + COUNTS["validation"])},
        subjects={"test-1": "anna", "test-2": "anna"},
    )
    targets = prepared.manifest.target().only("test")
    frame = prepared.manifest.frame
    groups = related_groups(frame, targets, np.arange(len(targets)))
    assert groups is not None
    assert len(set(groups.tolist())) == COUNTS["test"] - 2
    related = names_of(prepared, "test", groups == np.bincount(groups).argmax())
    assert related == {"test-0", "test-1", "test-2"}
    apart = [i for i in range(len(targets)) if groups[i] != np.bincount(groups).argmax()]
    assert related_groups(frame, targets, np.array(apart)) is None
    assert related_groups(frame, targets, np.flatnonzero(groups == np.bincount(groups).argmax())) is None
