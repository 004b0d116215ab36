"""Calibration against scikit-learn, plain loops, hand-made cases and models whose temperature is known."""

import json
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, log_loss

from mien.errors import InputError
from mien.evaluate.calibration import (
    BINS,
    TEMPERATURES,
    before_and_after,
    calibration_error,
    calibration_figures,
    fit_temperature,
    reliability,
)


def calibrated(count: int, classes: int, seed: int, scale: float = 1.5) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels drawn from exactly their probabilities."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=(count, classes)) * scale
    cumulative = softmax(logits, axis=1).cumsum(1)
    labels = (cumulative > random.random((count, 1)) * cumulative[:, -1:]).argmax(1)
    return logits.astype(np.float32), labels


def plain_error(confidence: np.ndarray, correct: np.ndarray, binning: str) -> float:
    """Guo et al., equation 3, one image at a time."""
    edges = [i / BINS for i in range(1, BINS)]
    if binning == "equal_mass":
        ordered = sorted(confidence)
        places = [Fraction(i * (len(ordered) - 1), BINS) for i in range(1, BINS)]
        edges = [
            ordered[math.floor(p)] + float(p % 1) * (ordered[math.ceil(p)] - ordered[math.floor(p)])
            for p in places
        ]
    bins: dict[int, list[tuple[float, bool]]] = {}
    for value, right in zip(confidence, correct, strict=True):
        bins.setdefault(sum(edge < value - 1e-12 for edge in edges), []).append((value, right))
    gaps = [abs(sum(right for _, right in one) - sum(value for value, _ in one)) for one in bins.values()]
    return sum(gaps) / len(confidence)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 150), st.integers(2, 6), st.integers(0, 2**31), st.sampled_from([0.4, 1.0, 3.0]))
def test_figures_on_random_data(count: int, classes: int, seed: int, temperature: float) -> None:
    random = np.random.default_rng(seed)
    logits = (random.normal(size=(count, classes)) * 2).astype(np.float32)
    labels = random.integers(0, classes, count)
    names = [f"c{i}" for i in range(classes)]
    figures = calibration_figures(logits, labels, names, temperature=temperature)
    probabilities = softmax(logits.astype(float) / temperature, axis=1)
    confidence, correct = probabilities.max(1), probabilities.argmax(1) == labels
    assert figures["nll"] == pytest.approx(log_loss(labels, probabilities, labels=range(classes)))
    brier = brier_score_loss(labels, probabilities, labels=range(classes), scale_by_half=False)
    assert figures["brier"] == pytest.approx(brier)
    for binning in ("equal_mass", "equal_width"):
        found = figures[binning]
        assert found["ece"] == pytest.approx(plain_error(confidence, correct, binning), abs=1e-9)
        each = [plain_error(probabilities[:, k], labels == k, binning) for k in range(classes)]
        assert list(found["classwise"].values()) == pytest.approx(each, abs=1e-9)
        assert found["classwise_ece"] == pytest.approx(np.mean(each), abs=1e-9)
        assert sum(one["count"] for one in found["bins"]) == count
        for one in found["bins"]:
            assert one["low"] - 1e-12 <= one["accuracy"] <= one["high"] + 1e-12
            assert one["lower"] - 1e-9 <= one["confidence"] <= one["upper"] + 1e-9
    assert json.dumps(figures, allow_nan=False)


@pytest.mark.parametrize(("binning", "strategy"), [("equal_mass", "quantile"), ("equal_width", "uniform")])
def test_the_bins_are_those_of_scikit_learn(binning: str, strategy: str) -> None:
    random = np.random.default_rng(0)
    # 397 and 15 share no factor, so that no edge falls on a value, where rounding would decide.
    confidence = random.random(398).round(2)
    correct = random.random(398) < confidence
    accuracy, mean = calibration_curve(correct, confidence, n_bins=BINS, strategy=strategy)
    bins = reliability(confidence, correct, binning)  # type: ignore[arg-type]
    assert [one.accuracy for one in bins] == pytest.approx(accuracy.tolist())
    assert [one.confidence for one in bins] == pytest.approx(mean.tolist())
    if binning == "equal_mass":
        assert max(one.count for one in bins) < 2 * 398 / BINS


def test_an_error_by_hand() -> None:
    # Two images at 0.9, one right; two at 0.6, both right: gaps 0.4 and 0.4.
    confidence, correct = np.array([0.9, 0.9, 0.6, 0.6]), np.array([True, False, True, True])
    assert calibration_error(confidence, correct, "equal_width") == pytest.approx(0.4)
    assert calibration_error(confidence, correct, "equal_mass") == pytest.approx(0.4)


def test_ties_share_a_bin_whatever_their_order() -> None:
    confidence, correct = np.full(90, 0.7), np.arange(90) < 63
    for order in (slice(None), slice(None, None, -1)):
        (one,) = reliability(confidence[order], correct[order], "equal_mass")
        assert (one.count, one.accuracy) == (90, 0.7)
    assert calibration_error(confidence, correct, "equal_mass") == pytest.approx(0, abs=1e-12)


def test_the_interval_of_a_bin_is_wilsons() -> None:
    (one,) = reliability(np.full(10, 0.8), np.arange(10) < 8, "equal_width")
    # Wilson, JASA 22 (1927), for 8 of 10.
    assert (one.low, one.high) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert (one.lower, one.upper) == pytest.approx((11 / 15, 12 / 15))


def test_one_image_and_absent_classes() -> None:
    figures = calibration_figures(np.array([[0.0, 0.0, 0.0]]), np.array([2]), ("a", "b", "c"))
    assert figures["equal_mass"]["ece"] == pytest.approx(1 / 3)
    assert figures["equal_width"]["classwise"]["c"] == pytest.approx(2 / 3)
    assert figures["brier"] == pytest.approx(2 / 3)
    assert len(figures["equal_mass"]["bins"]) == 1


def test_an_over_confident_model_comes_out_calibrated() -> None:
    """Issue 5: its error on held-out images falls below 0.03."""
    logits, labels = calibrated(6000, 8, 0)
    logits *= 3
    found = fit_temperature(logits[:3000], labels[:3000])
    assert found.value == pytest.approx(3, rel=0.06)
    assert not found.at_bound
    figures = before_and_after(logits[3000:], labels[3000:], [f"c{i}" for i in range(8)], found.value)
    for binning in ("equal_mass", "equal_width"):
        before, after = figures["before"][binning], figures["after"][binning]
        assert before["ece"] > 0.2 > before["by_chance"]["high"]
        assert after["ece"] < 0.03
        assert after["classwise_ece"] < before["classwise_ece"] / 2
    assert figures["after"]["nll"] < figures["before"]["nll"]
    assert figures["after"]["accuracy"] == figures["before"]["accuracy"]


@pytest.mark.parametrize("scale", [0.3, 1.0, 4.0])
def test_the_temperature_is_the_best_on_a_grid(scale: float) -> None:
    logits, labels = calibrated(800, 4, 1)
    found = fit_temperature(logits * scale, labels)
    grid = np.linspace(0.1, 8, 2000)
    losses = [log_loss(labels, softmax(logits * scale / t, axis=1)) for t in grid[::10]]
    assert found.value == pytest.approx(grid[::10][int(np.argmin(losses))], abs=0.05)
    assert found.nll_after <= min(losses) + 1e-4
    assert found.nll_before == pytest.approx(log_loss(labels, softmax(logits * scale, axis=1)), rel=1e-5)


def test_votes_are_fitted_to_their_shares() -> None:
    logits, _ = calibrated(500, 4, 2)
    votes = softmax(logits / 2, axis=1)
    # How many voted must not matter, only their shares; the many here are all of other shares.
    votes[:250] = softmax(logits[:250] / 3, axis=1) * 50
    votes[::7] = 0
    found = fit_temperature(logits, np.zeros(500, int), votes=votes)
    shares = votes[votes.any(1)] / votes[votes.any(1)].sum(1, keepdims=True)
    kept = logits[votes.any(1)].astype(float)
    grid = np.linspace(1.5, 4, 501)
    losses = [-(shares * np.log(softmax(kept / t, axis=1))).sum(1).mean() for t in grid]
    assert found.value == pytest.approx(grid[int(np.argmin(losses))], abs=0.02)
    assert (found.target, found.count) == ("votes", 500 - 72)
    with pytest.raises(InputError, match="no image has a vote"):
        fit_temperature(logits, np.zeros(500, int), votes=votes * 0)


def test_few_or_separable_images_do_not_run_away() -> None:
    right = 5 * np.eye(4, dtype=np.float32)
    for logits, labels in (
        (right, np.arange(4)),
        (np.tile(right, (500, 1)), np.tile(np.arange(4), 500)),
        (right[:1], np.array([0])),
        (right[:1], np.array([1])),
        (right, np.array([1, 2, 3, 0])),
        (np.zeros((3, 4), np.float32), np.array([0, 1, 2])),
    ):
        found = fit_temperature(logits, labels)
        assert 0.3 < found.value < 20
        # A model that is always wrong may end at the bound, and says so; the others may not.
        assert not found.at_bound
    assert fit_temperature(right[:1], np.array([0])).value == pytest.approx(1, abs=0.1)
    always_wrong = fit_temperature(np.tile(right, (500, 1)), np.tile([1, 2, 3, 0], 500))
    assert always_wrong.at_bound
    assert TEMPERATURES[0] <= always_wrong.value <= TEMPERATURES[1]


def test_chance_explains_the_error_of_a_calibrated_model_and_not_of_another() -> None:
    names = tuple("abcde")
    below = 0
    for seed in range(10):
        logits, labels = calibrated(300, 5, seed)
        one = calibration_figures(logits, labels, names)["equal_mass"]
        below += one["ece"] <= one["by_chance"]["high"]
        assert one["by_chance"]["mean"] < one["by_chance"]["high"]
        other = calibration_figures(logits * 2, labels, names)["equal_mass"]
        assert other["ece"] > other["by_chance"]["high"]
    assert below >= 8


def test_what_cannot_be_used_is_refused() -> None:
    logits, labels = np.zeros((2, 2)), np.array([0, 1])
    for temperature in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match="temperature must be a finite number above 0"):
            calibration_figures(logits, labels, ("a", "b"), temperature=temperature)
    with pytest.raises(InputError, match="3 class names do not fit 2"):
        calibration_figures(logits, labels, ("a", "b", "c"))
    with pytest.raises(InputError, match="not finite"):
        fit_temperature(np.full((2, 2), np.nan), labels)
    with pytest.raises(InputError, match="no image"):
        fit_temperature(np.zeros((0, 2)), np.zeros(0, int))


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_the_temperature_under_another_prior_is_found(temperature: float) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (20_000, 5)).astype(np.float32)
    offset = np.log([0.4, 0.3, 0.15, 0.1, 0.05])
    probabilities = softmax(logits / temperature + offset, axis=1)
    labels = (probabilities.cumsum(1) < rng.random((len(logits), 1))).sum(1).clip(max=4)
    found = fit_temperature(logits, labels, offset=offset).value
    assert found == pytest.approx(temperature, rel=0.05)
    assert fit_temperature(logits * 3, labels, offset=offset).value == pytest.approx(3 * found, rel=1e-3)
