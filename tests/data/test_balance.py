import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.data import balance
from mien.errors import InputError

LABELS = st.lists(st.integers(0, 5), min_size=1, max_size=200)


@given(labels=LABELS, target=st.one_of(st.none(), st.integers(1, 100)), seed=st.integers(0, 2**32))
def test_every_class_reaches_the_target_evenly(labels, target, seed):
    copies = balance.plan(labels, target, seed)
    wanted = target or int(np.bincount(labels).max())
    assert copies.dtype == np.int32
    after = balance.class_counts(labels, 6, copies)
    for name in range(6):
        mine = copies[np.asarray(labels) == name]
        if len(mine):
            assert after[name] == wanted
            assert mine.max() - mine.min() <= 1
        else:
            assert after[name] == 0
    np.testing.assert_array_equal(copies, balance.plan(labels, target, seed))


def test_surplus_is_left_out_and_the_small_class_is_repeated():
    labels = [0] * 6 + [1] * 2
    copies = balance.plan(labels, 4, seed=1)
    assert sorted(copies[:6]) == [0, 0, 1, 1, 1, 1]
    assert list(copies[6:]) == [2, 2]
    assert balance.class_counts(labels, 3).tolist() == [6, 2, 0]
    assert balance.class_counts(labels, 3, copies).tolist() == [4, 4, 0]


def test_without_a_target_the_largest_class_is_whole():
    assert balance.plan([0, 0, 0, 1], None, seed=0).tolist() == [1, 1, 1, 3]


def test_no_rows_and_a_bad_target():
    assert balance.plan([], 5).tolist() == []
    with pytest.raises(InputError, match="at least 1"):
        balance.plan([0], 0)


def test_the_seed_decides_who_is_repeated():
    labels = [0] * 50
    assert (balance.plan(labels, 75, 1) != balance.plan(labels, 75, 2)).any()
