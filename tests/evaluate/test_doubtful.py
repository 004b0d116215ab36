"""Galleries against cleanlab, plain sorting and hand-made ties."""

import numpy as np
import pytest
from cleanlab.rank import get_label_quality_scores
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax

from mien.errors import InputError
from mien.evaluate.doubtful import (
    confident_errors,
    doubtful_labels,
    label_quality,
    least_certain,
    vote_entropy,
)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(2, 5), st.integers(0, 2**31))
def test_random_images_against_plain_sorting(count: int, classes: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    # Few distinct logits, so that ties are common.
    logits = random.integers(0, 3, (count, classes)).astype(float)
    labels = random.integers(0, classes, count)
    confidence = softmax(logits, axis=1).max(1)
    wrong = [i for i in range(count) if int(np.argmax(logits[i])) != labels[i]]
    wanted = sorted(wrong, key=lambda i: (-confidence[i], i))
    assert confident_errors(logits, labels, 7).tolist() == wanted[:7]
    assert least_certain(logits, labels, 7).tolist() == sorted(range(count), key=lambda i: confidence[i])[:7]
    quality = softmax(logits, axis=1)[np.arange(count), labels]
    assert doubtful_labels(logits, labels, 7).tolist() == sorted(range(count), key=lambda i: quality[i])[:7]


def test_quality_is_cleanlabs_self_confidence() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(size=(60, 4))
    labels = np.concatenate([np.arange(4), random.integers(0, 4, 56)])
    wanted = get_label_quality_scores(labels, softmax(logits / 1.7, axis=1), method="self_confidence")
    assert label_quality(logits, labels, temperature=1.7) == pytest.approx(wanted)


def test_votes_that_disagree_come_first() -> None:
    votes = np.array([[9, 0, 0], [3, 3, 3], [0, 5, 4], [4, 5, 0], [0, 0, 0]], np.float32)
    logits = np.array([[3, 0, 0], [3, 0, 0], [0, 2, 0], [0, 1, 0], [9, 0, 0]], float)
    labels = np.array([0, 0, 1, 1, 1])
    # Rows 2 and 3 disagree alike; the label of row 3 is the less probable.
    assert doubtful_labels(logits, labels, 9, votes=votes).tolist() == [1, 3, 2, 0, 4]
    assert doubtful_labels(logits, labels, 2, votes=votes).tolist() == [1, 3]
    assert vote_entropy(votes) == pytest.approx([0, np.log(3), 0.6870, 0.6870, -1], abs=1e-4)


def test_temperature_may_change_the_order() -> None:
    logits = np.array([[4.0, 2.0, -9.0], [2.2, 0.0, 0.0]])
    labels = np.array([1, 1])
    assert confident_errors(logits, labels, 2).tolist() == [0, 1]
    assert confident_errors(logits, labels, 2, temperature=0.5).tolist() == [0, 1]
    flat = softmax(logits / 8, axis=1).max(1)
    order = [0, 1] if flat[0] > flat[1] else [1, 0]
    assert confident_errors(logits, labels, 2, temperature=8).tolist() == order


def test_no_error_makes_an_empty_gallery() -> None:
    assert confident_errors(np.eye(3), np.arange(3), 5).tolist() == []


def test_what_is_not_finite_is_refused() -> None:
    bad = np.array([[np.nan, 0.0]])
    for function in (confident_errors, least_certain, doubtful_labels):
        with pytest.raises(InputError, match="not finite"):
            function(bad, np.array([0]), 1)
    with pytest.raises(InputError, match="temperature"):
        least_certain(np.zeros((1, 2)), np.array([0]), 1, temperature=0)
    with pytest.raises(InputError, match="votes"):
        doubtful_labels(np.zeros((1, 2)), np.array([0]), 1, votes=np.zeros((2, 2)))
