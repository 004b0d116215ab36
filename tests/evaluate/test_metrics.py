import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy

from mien.errors import InputError
from mien.evaluate.metrics import in_view, score
from mien.labels import EMOTIONS

NAMES = ("a", "b", "c")


def _logits(predicted: list[int], classes: int = 3) -> np.ndarray:
    return (np.eye(classes)[predicted] * 5).astype(np.float32)


def test_a_case_by_hand() -> None:
    figures = score(_logits([0, 0, 1, 1, 2, 0]), np.array([0, 0, 0, 1, 1, 2]), NAMES)
    assert figures["count"] == 6
    assert figures["accuracy"] == pytest.approx(3 / 6)
    assert figures["confusion"] == [[2, 1, 0], [0, 1, 1], [1, 0, 0]]
    assert figures["per_class"]["a"] == {
        "precision": pytest.approx(2 / 3), "recall": pytest.approx(2 / 3), "f1": pytest.approx(2 / 3),
        "count": 3
    }  # fmt: skip
    assert figures["macro_recall"] == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert figures["weighted_precision"] == pytest.approx((3 * 2 / 3 + 2 * 1 / 2 + 0) / 6)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 40), st.integers(2, 6), st.integers(0, 2**31))
def test_definitions_on_random_data(count: int, classes: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    names = [f"c{i}" for i in range(classes)]
    logits = random.normal(size=(count, classes)).astype(np.float32)
    labels = random.integers(0, classes, count)
    votes = random.dirichlet(np.ones(classes), count).astype(np.float32)
    figures = score(logits, labels, names, votes=votes)
    predicted = logits.argmax(1)
    assert figures["accuracy"] == pytest.approx(np.mean(predicted == labels))
    # On one set of images the recall weighted by class counts is the accuracy: the paper's Table 2 prints two
    # numbers.
    assert figures["weighted_recall"] == pytest.approx(figures["accuracy"])
    recalls = [np.mean(predicted[labels == c] == c) if (labels == c).any() else 0.0 for c in range(classes)]
    assert figures["macro_recall"] == pytest.approx(np.mean(recalls))
    assert np.sum(figures["confusion"]) == count
    probabilities = np.exp(logits.astype(float)) / np.exp(logits.astype(float)).sum(1, keepdims=True)
    assert figures["nll"] == pytest.approx(-np.log(probabilities[np.arange(count), labels]).mean())
    assert figures["kl_to_votes"] == pytest.approx(
        entropy(votes.T, probabilities.T).mean(), rel=1e-4, abs=1e-5
    )
    low, high = figures["accuracy_interval"]
    assert 0 <= low <= figures["accuracy"] <= high <= 1


def test_the_seven_class_view_leaves_contempt_out_and_masks_its_logit() -> None:
    contempt, neutral = EMOTIONS.index("contempt"), EMOTIONS.index("neutral")
    logits = np.zeros((3, 8), np.float32)
    logits[:, contempt] = 9
    logits[:, neutral] = 1
    figures = score(logits, np.array([contempt, neutral, 0]), EMOTIONS, view="7")
    assert figures["count"] == 2
    assert "contempt" not in figures["labels"]
    assert figures["accuracy"] == 0.5
    assert figures["nll"] == pytest.approx(np.mean([-1 + math.log(math.e + 6), math.log(math.e + 6)]))


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    covered = 0
    for _ in range(120):
        correct = random.random(300) < 0.7
        figures = score(_logits(list(np.where(correct, 0, 1)), 2), np.zeros(300, int), ("a", "b"))
        low, high = figures["accuracy_interval"]
        covered += low <= 0.7 <= high
    assert 108 <= covered <= 119


@pytest.mark.parametrize("absent", ["truth", "prediction"])
def test_a_class_that_is_absent_counts_as_zero_not_as_a_warning(absent: str) -> None:
    labels = np.array([0, 1, 0]) if absent == "truth" else np.array([0, 1, 2])
    figures = score(_logits([0, 1, 2] if absent == "truth" else [0, 1, 0]), labels, NAMES)
    assert figures["per_class"]["c"]["f1"] == 0.0


def test_one_image() -> None:
    assert score(_logits([1]), np.array([1]), NAMES)["accuracy_interval"] == [1.0, 1.0]


def test_a_view_without_images_is_refused() -> None:
    with pytest.raises(InputError, match="no image of b, c"):
        score(_logits([0]), np.array([0]), NAMES, view="b,c")


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 60), st.integers(2, 6), st.integers(0, 2**31))
def test_agreement_beyond_chance_on_random_data(count: int, classes: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    logits = random.normal(size=(count, classes)).astype(np.float32)
    labels = random.integers(0, classes, count)
    figures = score(logits, labels, [f"c{i}" for i in range(classes)])
    confusion = np.array(figures["confusion"], dtype=float)
    shares_true, shares_predicted = confusion.sum(1) / count, confusion.sum(0) / count
    chance = float(shares_true @ shares_predicted)
    agreed = np.trace(confusion) / count
    # Gorodkin 2004: the covariance of truth and prediction over the root of the product of their own.
    spread = math.sqrt((1 - (shares_true**2).sum()) * (1 - (shares_predicted**2).sum()))
    if chance == 1:
        assert figures["cohen_kappa"] is None
        assert figures["matthews_correlation"] is None
    else:
        assert figures["cohen_kappa"] == pytest.approx((agreed - chance) / (1 - chance), abs=1e-9)
        wanted = (agreed - chance) / spread if spread else 0.0
        assert figures["matthews_correlation"] == pytest.approx(wanted, abs=1e-9)
    present = np.unique(labels)
    recalls = [np.mean(logits.argmax(1)[labels == k] == k) for k in present]
    assert figures["balanced_accuracy"] == pytest.approx(np.mean(recalls))
    assert figures["macro_recall"] == pytest.approx(np.sum(recalls) / classes)


def test_equal_logits_predict_the_first_class() -> None:
    figures = score(np.ones((2, 3), np.float32), np.array([0, 2]), NAMES)
    assert figures["confusion"] == [[1, 0, 0], [0, 0, 0], [1, 0, 0]]
    assert figures["nll"] == pytest.approx(math.log(3))


def test_images_without_votes_do_not_count_in_the_divergence() -> None:
    logits = np.zeros((3, 2), np.float32)
    votes = np.array([[1, 0], [0, 0], [2, 2]], np.float32)
    # ln 2 from the first, 0 from the third.
    figures = score(logits, np.array([0, 0, 1]), ("a", "b"), votes=votes)
    assert figures["kl_to_votes"] == pytest.approx(math.log(2) / 2)
    assert "kl_to_votes" not in score(logits, np.array([0, 0, 1]), ("a", "b"), votes=votes * 0)


def test_logits_that_are_extreme_stay_finite() -> None:
    figures = score(np.array([[1e30, -1e30]], np.float32), np.array([0]), ("a", "b"))
    assert figures["nll"] == 0.0


def test_the_figures_are_json() -> None:
    figures = score(_logits([0, 1, 2]), np.array([0, 1, 1]), NAMES, votes=np.ones((3, 3), np.float32))
    assert json.loads(json.dumps(figures, allow_nan=False)) == figures


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite_are_refused(bad: float) -> None:
    logits = _logits([0, 1, 2])
    logits[1, 2] = bad
    with pytest.raises(InputError, match=r"1 of 3 images are not finite, the first in row 1"):
        score(logits, np.array([0, 1, 2]), NAMES)


@pytest.mark.parametrize(
    ("logits", "labels", "votes", "message"),
    [
        (np.zeros((2, 3)), np.array([0]), None, "do not fit"),
        (np.zeros((2, 2)), np.array([0, 1]), None, "2 logits an image but 3 class names"),
        (np.zeros((0, 3)), np.zeros(0, int), None, "no image to evaluate"),
        (np.zeros((2, 3)), np.array([0, 3]), None, "labels run from 0 to 3"),
        (np.zeros((2, 3)), np.array([0, -1]), None, "labels run from -1 to 0"),
        (np.zeros((2, 3)), np.array([0, 1]), np.zeros((1, 3)), "votes"),
        (np.zeros((2, 3)), np.array([0, 1]), np.full((2, 3), -1.0), "negative"),
        (np.zeros((2, 3)), np.array([0, 1]), np.full((2, 3), np.nan), "negative or not finite"),
    ],
)
def test_what_does_not_fit_is_refused(logits, labels, votes, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=message):
        score(logits, labels, NAMES, votes=votes)


def test_a_view_keeps_rows_logits_and_votes_together() -> None:
    logits = np.arange(12, dtype=np.float32).reshape(4, 3)
    seen = in_view(logits, np.array([2, 1, 0, 2]), NAMES, view="c,a", votes=logits)
    assert seen.names == ("a", "c")
    assert seen.rows.tolist() == [0, 2, 3]
    assert seen.labels.tolist() == [1, 0, 1]
    assert seen.logits.tolist() == [[0, 2], [6, 8], [9, 11]]
    assert seen.votes is not None
    assert seen.votes.tolist() == seen.logits.tolist()
