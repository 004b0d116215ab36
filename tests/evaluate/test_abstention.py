"""Abstention against exhaustive computation, exact binomials and simulated promises."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from mien.errors import InputError
from mien.evaluate.abstention import CANDIDATES, apply_threshold, fit_threshold, risk_coverage


def sure(confidence: list[float], correct: list[bool]) -> tuple[np.ndarray, np.ndarray]:
    """Two-class logits with these confidences, and labels that make them right or wrong; all answer 0."""
    odds = np.log(np.array(confidence) / (1 - np.array(confidence)))
    return np.stack([odds, np.zeros(len(odds))], axis=1), np.where(correct, 0, 1)


def test_a_curve_by_hand() -> None:
    curve = risk_coverage(*sure([0.9, 0.8, 0.7, 0.6], [True, False, True, False]))
    assert curve.threshold.tolist() == pytest.approx([0.9, 0.8, 0.7, 0.6])
    assert curve.coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert curve.risk.tolist() == pytest.approx([0, 1 / 2, 1 / 3, 1 / 2])
    assert curve.aurc == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 2) / 4)
    # A perfect order has the two errors last: 0, 0, 1/3, 1/2.
    assert curve.excess_aurc == pytest.approx(curve.aurc - (1 / 3 + 1 / 2) / 4)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([0.6, 0.7, 0.8, 0.9]), st.booleans()), min_size=1, max_size=6),
)
def test_ties_are_an_average_over_all_orders(answers: list[tuple[float, bool]]) -> None:
    curve = risk_coverage(*sure([c for c, _ in answers], [r for _, r in answers]))
    orders = [
        order
        for order in itertools.permutations(answers)
        if all(a[0] >= b[0] for a, b in itertools.pairwise(order))
    ]
    areas = [np.mean(np.cumsum([not r for _, r in order]) / np.arange(1, len(order) + 1)) for order in orders]
    assert curve.aurc == pytest.approx(np.mean(areas))
    best = sorted((not r for _, r in answers))
    perfect = np.mean(np.cumsum(best) / np.arange(1, len(best) + 1))
    assert curve.excess_aurc == pytest.approx(np.mean(areas) - perfect, abs=1e-9)
    assert len(curve.threshold) == len({c for c, _ in answers})
    assert curve.coverage[-1] == 1
    assert curve.risk[-1] == pytest.approx(np.mean([not r for _, r in answers]))


def test_the_curve_is_thinned_to_its_ends() -> None:
    random = np.random.default_rng(0)
    curve = risk_coverage(random.normal(size=(900, 3)), random.integers(0, 3, 900))
    values = json.loads(json.dumps(curve.to_dict(50), allow_nan=False))
    assert len(values["risk"]) == len(values["coverage"]) == len(values["threshold"]) == 50
    assert (values["coverage"][0], values["coverage"][-1]) == (1 / 900, 1.0)


def test_the_bound_is_clopper_and_pearsons_over_all_candidates() -> None:
    # 300 sure answers with 3 errors, 100 unsure ones of which half are wrong.
    logits, labels = sure([0.95] * 300 + [0.6] * 100, [True] * 297 + [False] * 3 + [True, False] * 50)
    found = fit_threshold(logits, labels, precision=0.95)
    assert found.value == pytest.approx(0.95)
    assert (found.coverage, found.precision, found.count) == (0.75, 0.99, 400)
    assert found.bound is not None
    assert found.bound >= 0.95
    # At the bound, so many right answers or more come with exactly the chance that is allowed.
    assert binom.sf(296, 300, found.bound) == pytest.approx(0.05 / CANDIDATES, rel=1e-6)
    everything = fit_threshold(logits, labels, precision=0.8)
    assert (everything.value, everything.coverage) == (pytest.approx(0.6), 1.0)


def test_the_promise_is_kept_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    broken = promised = 0
    for _ in range(200):
        confidence = random.uniform(0.5, 1, 400)
        logits, labels = sure(confidence.tolist(), (random.random(400) < confidence).tolist())
        found = fit_threshold(logits, labels, precision=0.85, risk_of_error=0.2)
        if found.value is not None:
            promised += 1
            # Confidence is uniform and true, so that the precision from a threshold on is its middle.
            broken += (1 + found.value) / 2 < 0.85
    assert promised > 140
    assert broken <= 0.2 * 200, broken


def test_where_nothing_can_be_promised_nothing_is_answered() -> None:
    logits, labels = sure([0.9] * 20, [True] * 20)
    found = fit_threshold(logits, labels, precision=0.99)
    assert (found.value, found.bound, found.precision, found.coverage) == (None, None, None, 0.0)
    done = apply_threshold(logits, labels, ("a", "b"), found.value)
    assert (done["answered"], done["coverage"]) == (0, 0.0)
    assert (done["precision"], done["precision_interval"]) == (None, None)
    assert done["per_class"]["a"] == {"count": 20, "coverage": 0.0, "accuracy": None}
    assert done["per_class"]["b"] == {"count": 0, "coverage": None, "accuracy": None}
    assert json.dumps([done, found.to_dict()], allow_nan=False)


def test_a_threshold_on_other_images() -> None:
    logits, labels = sure([0.9, 0.9, 0.8, 0.7], [True, True, False, False])
    done = apply_threshold(logits, labels, ("a", "b"), 0.75)
    assert (done["count"], done["answered"], done["coverage"]) == (4, 3, 0.75)
    assert done["precision"] == pytest.approx(2 / 3)
    # Clopper and Pearson for 2 of 3.
    assert done["precision_interval"] == pytest.approx([0.0943, 0.9916], abs=1e-4)
    assert done["per_class"]["b"] == {"count": 2, "coverage": 0.5, "accuracy": 0.0}
    nothing_abstained = apply_threshold(logits, labels, ("a", "b"), 0.0)
    assert (nothing_abstained["coverage"], nothing_abstained["precision"]) == (1.0, 0.5)


def test_the_threshold_itself_is_answered() -> None:
    random = np.random.default_rng(1)
    logits = (3 * random.normal(size=(500, 4))).astype(np.float32)
    labels = np.where(random.random(500) < 0.97, logits.argmax(1), 0)
    found = fit_threshold(logits, labels, precision=0.9, temperature=1.7)
    assert found.value is not None
    done = apply_threshold(logits, labels, tuple("abcd"), found.value, temperature=1.7)
    assert (done["coverage"], done["precision"]) == (found.coverage, found.precision)


def test_one_image() -> None:
    logits, labels = sure([0.9], [False])
    curve = risk_coverage(logits, labels)
    assert (curve.aurc, curve.excess_aurc) == (1.0, 0.0)
    assert fit_threshold(logits, labels, precision=0.5).value is None
    assert apply_threshold(logits, labels, ("a", "b"), 0.5)["precision"] == 0.0


def test_temperature_moves_thresholds() -> None:
    logits, labels = sure([0.9, 0.8], [True, True])
    assert apply_threshold(logits, labels, ("a", "b"), 0.7, temperature=5.0)["answered"] == 0
    flat = risk_coverage(logits, labels, temperature=5.0).threshold
    assert flat[0] == pytest.approx(1 / (1 + (1 / 9) ** 0.2))


@pytest.mark.parametrize("value", [0.0, 1.0, -0.1, float("nan")])
def test_numbers_out_of_range_are_refused(value: float) -> None:
    logits, labels = sure([0.9], [True])
    with pytest.raises(InputError, match="precision must lie above 0 and below 1"):
        fit_threshold(logits, labels, precision=value)
    with pytest.raises(InputError, match="risk_of_error must lie above 0"):
        fit_threshold(logits, labels, precision=0.9, risk_of_error=value)
