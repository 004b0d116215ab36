"""Intervals and comparisons against scipy's bootstrap, known distributions and simulated truth."""

import json

import numpy as np
import pytest
from scipy.stats import binom, bootstrap, norm

from mien.errors import InputError
from mien.evaluate.bootstrap import (
    bootstrap_intervals,
    compare,
    draws,
    mean_interval,
    of_rows,
    resampled_counts,
)
from mien.evaluate.image_statistics import METRICS


def answers(correct: np.ndarray, classes: int = 2) -> np.ndarray:
    """Logits [N, K] for labels that are all 0."""
    return np.where(np.eye(classes, dtype=bool)[np.where(correct, 0, 1)], 3.0, 0.0).astype(np.float32)


def noisy(labels: np.ndarray, classes: int, signal: float, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    return (random.normal(size=(len(labels), classes)) + signal * np.eye(classes)[labels]).astype(np.float32)


def test_the_interval_of_an_accuracy_is_that_of_the_binomial() -> None:
    correct = np.arange(400) < 300
    found = bootstrap_intervals(np.zeros(400, int), answers(correct), ("accuracy",), resamples=4000)
    assert found["accuracy"].value == 0.75
    low, high = binom.ppf([0.025, 0.975], 400, 0.75) / 400
    assert (found["accuracy"].low, found["accuracy"].high) == pytest.approx((low, high), abs=0.004)


def test_intervals_agree_with_scipys_bootstrap() -> None:
    labels = np.random.default_rng(0).integers(0, 3, 300)
    logits = noisy(labels, 3, 1.2, 1)
    found = bootstrap_intervals(labels, logits, ("macro_recall",), resamples=3000)["macro_recall"]
    predicted = logits.argmax(1)

    def metric(rows: np.ndarray) -> float:
        return float(np.mean([(predicted[rows] == k)[labels[rows] == k].mean() for k in range(3)]))

    other = bootstrap(
        (np.arange(300),), metric, vectorized=False, n_resamples=1000, method="percentile", rng=2
    ).confidence_interval
    assert found.value == metric(np.arange(300))
    assert (found.low, found.high) == pytest.approx((other.low, other.high), abs=0.01)


def test_any_metric_can_be_resampled() -> None:
    values = np.random.default_rng(0).normal(size=60)
    drawn = draws([of_rows(lambda rows: float(np.median(values[rows])))], 60, resamples=300)
    assert drawn.shape == (300, 1, 1)
    own = [np.median(np.repeat(values, row.astype(int))) for row in next(resampled_counts(60, resamples=300))]
    assert drawn[:, 0, 0].tolist() == own


@pytest.mark.parametrize("count", [1, 7, 3000])
def test_every_resample_draws_as_many_images(count: int) -> None:
    counts = np.concatenate(list(resampled_counts(count, resamples=700)))
    assert counts.shape == (700, count)
    assert (counts.sum(1) == count).all()
    assert counts.mean(0) == pytest.approx(1, abs=0.3)


def test_groups_are_drawn_whole_and_widen_the_interval() -> None:
    groups = np.repeat(np.arange(40), 10)
    for counts in resampled_counts(400, groups=groups, resamples=20):
        by_group = counts.reshape(-1, 40, 10)
        assert (by_group == by_group[:, :, :1]).all()
        assert (by_group[:, :, 0].sum(1) == 40).all()
    correct = np.repeat(np.arange(40) % 2 == 0, 10)
    alone, whole = (
        bootstrap_intervals(np.zeros(400, int), answers(correct), ("accuracy",), groups=g)["accuracy"]
        for g in (None, groups)
    )
    # Images of a group are alike, so that 400 images say no more than 40: wider by the root of ten.
    assert (whole.high - whole.low) / (alone.high - alone.low) == pytest.approx(10**0.5, rel=0.1)
    named = mean_interval(correct.astype(float), groups=groups)
    assert (named.low, named.high) == (whole.low, whole.high)


def test_groups_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="3 groups do not fit 4 images"):
        mean_interval(np.zeros(4), groups=np.arange(3))
    with pytest.raises(InputError, match="one group"):
        mean_interval(np.zeros(4), groups=np.zeros(4, int))


def test_seeds_are_pooled_with_the_variance_between_them() -> None:
    # Each seed is right on another share of very many images: nearly all variance is between seeds.
    shares = [0.5, 0.6, 0.7, 0.8, 0.9]
    logits = [answers(np.arange(4000) < 4000 * share) for share in shares]
    found = bootstrap_intervals(np.zeros(4000, int), logits, ("accuracy",), resamples=4000)["accuracy"]
    assert found.value == pytest.approx(0.7)
    half = norm.ppf(0.975) * np.std(shares, ddof=1) / 5**0.5
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.06)
    single = bootstrap_intervals(np.zeros(4000, int), logits[:1], ("accuracy",))["accuracy"]
    assert single == bootstrap_intervals(np.zeros(4000, int), logits[0], ("accuracy",))["accuracy"]


def test_the_interval_of_a_calibration_error_does_not_double_its_bias() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(size=(600, 3)) * 1.5
    odds = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    for trial in range(10):
        # The model is calibrated, so that all of the error is chance: its true value is 0.
        labels = (odds.cumsum(1) > random.random((600, 1))).argmax(1)
        for kind in ("ece_equal_mass", "ece_equal_width"):
            found = bootstrap_intervals(labels, logits, (kind,), resamples=200, seed=trial)[kind]
            assert 0 <= found.low <= (found.low + found.high) / 2 < found.value


def test_a_model_is_no_better_than_itself() -> None:
    labels = np.random.default_rng(0).integers(0, 4, 200)
    logits = noisy(labels, 4, 1.0, 1)
    for a, b in ((logits, logits), ([logits, logits * 2], [logits, logits * 2])):
        for found in compare(labels, a, b, tuple(METRICS)).values():
            assert (found.difference, found.low, found.high, found.p_value) == (0, 0, 0, 1)
            assert found.verdict == "no difference"
            assert found.sentence("A", "A").startswith(f"no difference in {found.metric} between A and A")


def test_a_better_model_is_better_in_every_metric_and_the_other_way_round() -> None:
    labels = np.random.default_rng(0).integers(0, 4, 500)
    good, poor = noisy(labels, 4, 2.5, 1), noisy(labels, 4, 0.8, 2)
    metrics = ("accuracy", "macro_recall", "nll")
    for name, found in compare(labels, good, poor).items():
        assert found.verdict == "better"
        assert found.a - found.b == found.difference
        assert found.low < found.difference < found.high
        assert found.sentence("A", "B").startswith(f"A is better than B in {name}")
    back = compare(labels, poor, good)
    assert tuple(back) == metrics
    assert {found.verdict for found in back.values()} == {"worse"}
    assert back["nll"].difference > 0
    assert json.dumps(back["nll"].to_dict(), allow_nan=False)


def test_the_difference_is_paired() -> None:
    # Ten of a thousand images won and none lost: the difference of a resample is Binomial(1000, 0.01) / 1000.
    a, b = answers(np.arange(1000) < 510), answers(np.arange(1000) < 500)
    found = compare(np.zeros(1000, int), a, b, ("accuracy",), resamples=4000)["accuracy"]
    assert (found.low, found.high) == pytest.approx((0.004, 0.017), abs=0.0011)
    assert (found.differing, found.verdict) == (10, "better")


@pytest.mark.parametrize(("won", "verdict"), [(1, "no difference"), (5, "no difference"), (6, "better")])
def test_a_handful_of_images_shows_no_difference(won: int, verdict: str) -> None:
    labels = np.zeros(300, int)
    a, b = answers(np.ones(300, bool)), answers(np.arange(300) >= won)
    found = compare(labels, a, b, ("accuracy",))["accuracy"]
    assert (found.differing, found.verdict) == (won, verdict)


def test_groups_are_the_witnesses_where_groups_are_drawn() -> None:
    # Five of thirty subjects differ, with all of their ten images.
    a, b = answers(np.ones(300, bool)), answers(np.arange(300) >= 50)
    groups = np.arange(300) // 10
    found = compare(np.zeros(300, int), a, b, ("accuracy",), groups=groups)["accuracy"]
    assert found.low > 0
    assert (found.differing, found.verdict) == (5, "no difference")


def test_one_image_shows_no_difference() -> None:
    found = compare(np.array([0]), answers(np.array([True])), answers(np.array([False])))
    assert {one.verdict for one in found.values()} == {"no difference"}
    assert found["accuracy"].difference == 1


def test_false_alarms_are_as_rare_as_promised() -> None:
    random = np.random.default_rng(0)
    labels = np.zeros(300, int)
    alarms = 0
    for trial in range(150):
        a, b = (answers(random.random(300) < 0.7) for _ in range(2))
        found = compare(labels, a, b, ("accuracy",), resamples=400, seed=trial)["accuracy"]
        alarms += found.verdict != "no difference"
        assert (found.verdict == "no difference") == (found.p_value > 0.05) or 0.03 < found.p_value < 0.08
    assert 2 <= alarms <= 15


def test_seeds_that_disagree_show_no_difference_although_the_images_would() -> None:
    labels = np.zeros(1000, int)
    base = [answers(np.arange(1000) < 500)] * 3
    uneven = [answers(np.arange(1000) < 900), *base[1:]]
    assert compare(labels, uneven[0], base[0], ("accuracy",))["accuracy"].verdict == "better"
    found = compare(labels, uneven, base, ("accuracy",))["accuracy"]
    assert found.difference == pytest.approx(0.4 / 3)
    assert (found.verdict, found.seeds) == ("no difference", (3, 3))
    assert compare(labels, uneven, base[:2], ("accuracy",))["accuracy"].seeds == (3, 2)


def test_results_are_reproducible_and_depend_on_the_seed() -> None:
    labels = np.random.default_rng(0).integers(0, 3, 100)
    logits = [noisy(labels, 3, 1.0, seed) for seed in range(2)]
    once = bootstrap_intervals(labels, logits)
    assert once == bootstrap_intervals(labels, logits)
    assert once != bootstrap_intervals(labels, logits, seed=1)


def test_nothing_to_resample_is_refused() -> None:
    with pytest.raises(InputError, match="no predictions"):
        bootstrap_intervals(np.array([0]), [])
    with pytest.raises(InputError, match="no image"):
        mean_interval(np.zeros(0))
