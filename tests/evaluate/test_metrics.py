import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy

from mien.errors import InputError
from mien.evaluate.metrics import score
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
    for _ in range(200):
        correct = random.random(300) < 0.7
        figures = score(_logits(list(np.where(correct, 0, 1)), 2), np.zeros(300, int), ("a", "b"))
        low, high = figures["accuracy_interval"]
        covered += low <= 0.7 <= high
    assert 180 <= covered <= 199


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
