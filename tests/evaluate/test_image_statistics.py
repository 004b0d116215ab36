"""Metrics of resamples against scikit-learn and plain loops on the drawn images themselves."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, log_loss, precision_score, recall_score

from mien.errors import InputError
from mien.evaluate.calibration import calibration_figures
from mien.evaluate.further_metrics import further_metrics
from mien.evaluate.image_statistics import METRICS, ImageStatistics
from mien.evaluate.metrics import score


def drawn(count: int, classes: int, seed: int, *, ties: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Labels and logits that know something; with ties the confidences repeat."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, count)
    logits = random.normal(size=(count, classes)) + 1.5 * np.eye(classes)[labels]
    return labels, logits.round(0 if ties else 6).astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 80), st.integers(2, 6), st.integers(0, 2**31), st.booleans())
def test_on_all_images_once_they_are_the_figures_of_score(
    count: int, classes: int, seed: int, ties: bool
) -> None:
    labels, logits = drawn(count, classes, seed, ties=ties)
    names = [f"c{i}" for i in range(classes)]
    found = dict(
        zip(METRICS, ImageStatistics(labels, logits, tuple(METRICS))(np.ones((1, count)))[0], strict=True)
    )
    figures = score(logits, labels, names)
    calibration = calibration_figures(logits, labels, names)
    for name in METRICS:
        if name.startswith("ece_"):
            wanted = calibration[name.removeprefix("ece_")]["ece"]
        else:
            wanted = (calibration if name == "brier" else figures)[name]
        assert found[name] == pytest.approx(np.nan if wanted is None else wanted, abs=1e-9, nan_ok=True), name


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 80), st.integers(2, 5), st.integers(0, 2**31), st.booleans())
def test_a_resample_is_scored_as_its_images_are(count: int, classes: int, seed: int, ties: bool) -> None:
    labels, logits = drawn(count, classes, seed, ties=ties)
    rows = np.random.default_rng(seed + 1).integers(0, count, count + 3)
    counts = np.bincount(rows, minlength=count).astype(float)[None]
    found = dict(zip(METRICS, ImageStatistics(labels, logits, tuple(METRICS))(counts)[0], strict=True))
    truth, scores = labels[rows], logits[rows].astype(float)
    predicted = scores.argmax(1)
    probabilities = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    # Classes of the resample, and those that no image has at all, which count as 0.
    kept = sorted({*truth.tolist()} | ({*range(classes)} - {*labels.tolist()}))
    options = {"labels": kept, "average": "macro", "zero_division": 0}
    wanted = {
        "accuracy": np.mean(truth == predicted),
        "macro_precision": precision_score(truth, predicted, **options),
        "macro_recall": recall_score(truth, predicted, **options),
        "macro_f1": f1_score(truth, predicted, **options),
        "weighted_f1": f1_score(truth, predicted, average="weighted", zero_division=0),
        "nll": log_loss(truth, probabilities, labels=range(classes)),
        "brier": np.mean(((probabilities - np.eye(classes)[truth]) ** 2).sum(1)),
    }
    calibration = calibration_figures(logits[rows], truth, [f"c{i}" for i in range(classes)])
    wanted |= {f"ece_{kind}": calibration[kind]["ece"] for kind in ("equal_mass", "equal_width")}
    figures = score(logits[rows], truth, [f"c{i}" for i in range(classes)])
    wanted |= {name: np.nan if figures[name] is None else figures[name] for name in further_metrics()}
    for name in METRICS:
        assert found[name] == pytest.approx(wanted[name], abs=1e-6, nan_ok=True), name


def test_a_class_that_only_a_resample_lacks_is_left_out_of_its_mean() -> None:
    labels, logits = np.array([0, 1]), np.eye(3, dtype=np.float32)[:2]
    both, first = ImageStatistics(labels, logits, ("macro_recall",))(np.array([[1.0, 1.0], [2.0, 0.0]]))[:, 0]
    # Class 2 has no image at all and counts as 0; class 1 is merely not drawn in the second.
    assert both == pytest.approx(2 / 3)
    assert first == pytest.approx(1 / 2)


def test_rows_of_counts_do_not_touch_each_other() -> None:
    labels, logits = drawn(50, 4, 0)
    statistic = ImageStatistics(labels, logits, tuple(METRICS))
    counts = np.random.default_rng(1).integers(0, 3, (5, 50)).astype(float)
    together = statistic(counts)
    assert together.shape == (5, len(METRICS))
    assert np.allclose(together, np.concatenate([statistic(row[None]) for row in counts]), atol=1e-12)


def test_an_unknown_metric_is_refused() -> None:
    with pytest.raises(InputError, match="metric 'auc' is not one of accuracy"):
        ImageStatistics(np.array([0]), np.zeros((1, 2), np.float32), ("auc",))
