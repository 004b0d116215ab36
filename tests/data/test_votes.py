import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.data.votes import majority, soft_labels
from mien.labels import EMOTIONS, FERPLUS_COLUMNS


@pytest.mark.parametrize(
    ("votes", "winner"),
    [
        ({"happiness": 10}, "happiness"),
        ({"happiness": 6, "neutral": 4}, "happiness"),
        ({"happiness": 5, "neutral": 5}, None),
        # Exactly half of what remains is not more than half.
        ({"happiness": 4, "neutral": 2, "fear": 2}, None),
        # Single votes are outliers: 4 of the remaining 7, not of 10.
        ({"happiness": 4, "neutral": 3, "fear": 1, "anger": 1, "sadness": 1}, "happiness"),
        (
            {"happiness": 3, "neutral": 1, "fear": 1, "anger": 1, "sadness": 1, "disgust": 1, "NF": 1},
            "happiness",
        ),
        ({"unknown": 6, "neutral": 4}, None),
        ({"NF": 10}, None),
        # `unknown` cannot win, but it counts as a rival.
        ({"neutral": 4, "unknown": 4, "fear": 2}, None),
        ({"neutral": 5, "unknown": 3, "fear": 2}, None),
        ({"neutral": 6, "unknown": 2, "fear": 2}, "neutral"),
        (dict.fromkeys(FERPLUS_COLUMNS, 1), None),
        ({}, None),
    ],
)
def test_majority_rule_by_hand(votes, winner):
    assert majority(votes) == winner


def test_soft_labels_drop_single_votes_and_what_is_no_emotion():
    names = ("neutral", "happiness", "fear", "unknown", "NF")
    soft = soft_labels(
        [[4, 4, 1, 1, 0], [6, 0, 0, 4, 0], [0, 0, 1, 2, 7]], names, ("fear", "happiness", "neutral")
    )
    np.testing.assert_allclose(soft, [[0, 0.5, 0.5], [0, 0, 1], [0, 0, 0]])
    assert soft.dtype == np.float32


@given(st.lists(st.lists(st.integers(0, 10), min_size=10, max_size=10), min_size=1, max_size=20))
def test_soft_labels_sum_to_one_and_the_majority_leads(counts):
    soft = soft_labels(counts, FERPLUS_COLUMNS, EMOTIONS)
    for row, shares in zip(counts, soft, strict=True):
        winner = majority(dict(zip(FERPLUS_COLUMNS, row, strict=True)))
        assert shares.sum() == pytest.approx(1, abs=1e-5) or shares.sum() == 0
        if winner is not None:
            assert EMOTIONS[int(shares.argmax())] == winner
            assert shares.max() > 0.5
