from collections import Counter

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mien.data import splits
from mien.errors import InputError

NAMES = ("a", "b", "c")


@st.composite
def rows(draw):
    """Labels, subjects and twins of up to 150 pictures, some of each unknown."""
    n = draw(st.integers(1, 150))
    key = st.one_of(st.none(), st.integers(0, 40).map(str))
    labels = draw(st.lists(st.integers(-1, 2), min_size=n, max_size=n))
    subjects = draw(st.lists(key, min_size=n, max_size=n))
    twins = draw(st.lists(key, min_size=n, max_size=n))
    return np.asarray(labels, dtype=np.int64), subjects, twins


def assert_not_shared(out, keys):
    homes = {}
    for split, key in zip(out, keys, strict=True):
        if key is not None and split != splits.SURPLUS:
            homes.setdefault(key, set()).add(split)
    assert all(len(found) == 1 for found in homes.values())


def test_groups_are_joined_by_subject_and_twin():
    groups = splits.groups_of(["p", "p", None, None, "q", None], [None, "t", "t", None, None, None])
    assert groups[0] == groups[1] == groups[2]
    assert len({groups[0], groups[3], groups[4], groups[5]}) == 4


@given(rows(), st.integers(0, 1000))
def test_stratified_never_shares_a_subject_or_a_twin(data, seed):
    labels, subjects, twins = data
    out = splits.stratified(labels, splits.groups_of(subjects, twins), splits.SHARES, seed)
    assert_not_shared(out, subjects)
    assert_not_shared(out, twins)
    assert out == splits.stratified(labels, splits.groups_of(subjects, twins), splits.SHARES, seed)


@given(st.lists(st.integers(0, 2), min_size=1, max_size=150), st.integers(0, 1000))
def test_stratified_without_groups_is_off_by_less_than_two_images(labels, seed):
    labels = np.asarray(labels, dtype=np.int64)
    out = np.asarray(splits.stratified(labels, np.arange(len(labels)), splits.SHARES, seed))
    for name in set(labels.tolist()):
        total = int((labels == name).sum())
        for split, share in splits.SHARES.items():
            got = int(((labels == name) & (out == split)).sum())
            assert abs(got - share * total) < 2
            assert got >= 1 or total < 3


@given(rows(), st.integers(1, 4), st.integers(1, 4), st.integers(0, 1000))
def test_balanced_gives_equal_counts_and_shares_nobody(data, validation, test, seed):
    labels, subjects, twins = data
    groups = splits.groups_of(subjects, twins)
    try:
        out = splits.balanced(labels, groups, NAMES, validation=validation, test=test, seed=seed)
    except InputError:
        assume(False)
    assert_not_shared(out, subjects)
    assert_not_shared(out, twins)
    counts = Counter((split, int(label)) for split, label in zip(out, labels, strict=True))
    for name in set(labels.tolist()) - {-1}:
        assert counts["validation", name] == validation
        assert counts["test", name] == test
        assert counts["train", name] >= 1


def test_balanced_without_groups_uses_every_image():
    labels = np.repeat(np.arange(3), 20)
    out = splits.balanced(labels, np.arange(60), NAMES, validation=5, test=7, seed=3)
    assert Counter(out) == {"train": 24, "validation": 15, "test": 21}
    assert out == splits.balanced(labels, np.arange(60), NAMES, validation=5, test=7, seed=3)
    assert out != splits.balanced(labels, np.arange(60), NAMES, validation=5, test=7, seed=4)


def test_a_small_class_is_named_with_the_largest_number_possible():
    labels = np.asarray([0] * 40 + [1] * 9 + [2] * 40)
    with pytest.raises(
        InputError, match=r"class b has 9 images.*; 4 for each is the largest number possible\.$"
    ):
        splits.balanced(labels, np.arange(89), NAMES, validation=10, test=10, seed=0)
    splits.balanced(labels, np.arange(89), NAMES, validation=4, test=4, seed=0)


def test_a_class_of_one_subject_cannot_be_balanced():
    labels = np.asarray([0] * 40 + [1] * 9)
    groups = splits.groups_of([str(i) for i in range(40)] + ["only"] * 9, [None] * 49)
    with pytest.raises(InputError, match=r"class b .* splits\.policy=balanced is not possible here"):
        splits.balanced(labels, groups, NAMES, validation=2, test=2, seed=0)


def test_classes_without_images_are_left_alone():
    out = splits.balanced(np.asarray([0] * 5 + [2] * 5), np.arange(10), NAMES, validation=1, test=1, seed=0)
    assert Counter(out) == {"train": 6, "validation": 2, "test": 2}


def test_balanced_needs_at_least_one_image_a_class():
    with pytest.raises(InputError, match="at least 1"):
        splits.balanced(np.zeros(9, dtype=np.int64), np.arange(9), NAMES, validation=0, test=1, seed=0)


def test_official_splits_are_kept():
    given_splits = ["train", "test", "validation", "train"]
    out, notes = splits.official(["x"] * 4, given_splits, np.zeros(4, dtype=np.int64), np.arange(4), 0)
    assert out == given_splits
    assert notes == []


def test_a_set_without_splits_gets_70_15_15():
    out, notes = splits.official(["x"] * 100, [None] * 100, np.zeros(100, dtype=np.int64), np.arange(100), 0)
    assert Counter(out) == {"train": 70, "validation": 15, "test": 15}
    assert "70/15/15" in notes[0]


def test_a_missing_validation_split_comes_out_of_training_and_test_stays():
    given_splits = ["train"] * 85 + ["test"] * 15
    out, notes = splits.official(["x"] * 100, given_splits, np.zeros(100, dtype=np.int64), np.arange(100), 0)
    assert out[85:] == ["test"] * 15
    assert Counter(out[:85]) == {"train": 70, "validation": 15}
    assert "without validation" in notes[0]


def test_a_twin_of_another_sets_test_image_joins_it_there():
    sets = ["x", "x", "x"] + ["y"] * 20
    given_splits = ["train", "validation", "test"] + [None] * 20
    groups = splits.groups_of([None] * 23, ["t", None, "u", "t", "u", *[None] * 18])
    out, _ = splits.official(sets, given_splits, np.zeros(23, dtype=np.int64), groups, 0)
    assert out[3] == "train"
    assert out[4] == "test"


def test_an_official_test_split_takes_no_new_image_although_a_twin_is_there():
    given_splits = ["train"] * 20 + ["test"]
    groups = splits.groups_of([None] * 21, ["t", *[None] * 19, "t"])
    out, _ = splits.official(["x"] * 21, given_splits, np.zeros(21, dtype=np.int64), groups, 0)
    assert out.count("test") == 1


def test_half_given_splits_are_refused():
    with pytest.raises(InputError, match="some pictures of x have a split"):
        splits.official(["x", "x"], ["train", None], np.zeros(2, dtype=np.int64), np.arange(2), 0)


def test_no_rows():
    empty = np.zeros(0, dtype=np.int64)
    assert splits.official([], [], empty, empty, 0) == ([], [])


def test_leaks_are_the_twins_of_a_later_split():
    given = ["train", "test", "validation", "train", "validation", "train", "train", None, "test", "test"]
    twins = np.array([0, 0, 0, 3, 3, -1, 6, 6, 8, 8])
    expected = ["test", None, "test", "validation", None, None, None, None, None, None]
    assert splits.leaks(given, twins) == expected
