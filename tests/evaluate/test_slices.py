"""Slices by hand, against simulated truth, and with many slices at once."""

import json

import numpy as np
import pytest
from scipy.stats import fisher_exact

from mien.errors import InputError
from mien.evaluate.slices import ALARM, LEAST_TESTED, MISSING, SliceColumn, holm, slice_figures


def answers(correct: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logits of two classes that answer 0, and labels that make them right or wrong."""
    return np.tile([1.0, 0.0], (len(correct), 1)), np.where(correct, 0, 1)


def column(values: list[str | None]) -> SliceColumn:
    return SliceColumn(values, sorted({value for value in values if value is not None}))


def test_a_case_by_hand() -> None:
    # 100 images: 40 old ones with 10 right, 60 young ones with 45 right.
    correct = np.concatenate([np.arange(40) < 10, np.arange(60) < 45])
    logits, labels = answers(correct)
    figures = slice_figures(logits, labels, {"age": column(["old"] * 40 + ["young"] * 60)})
    assert (figures["count"], figures["accuracy"], figures["tested"]) == (100, 0.55, 2)
    old, young = figures["slices"]
    assert (old["column"], old["value"], old["count"], old["accuracy"]) == ("age", "old", 40, 0.25)
    assert old["gap"] == pytest.approx(-0.5)
    assert old["gap_to_whole"] == pytest.approx(-0.3)
    assert young["gap"] == pytest.approx(0.5)
    # Wilson for 10 of 40; Agresti and Caffo (2000) for the difference, about -0.5 +- 0.18.
    assert (old["low"], old["high"]) == pytest.approx((0.1419, 0.4019), abs=1e-3)
    assert (old["gap_low"], old["gap_high"]) == pytest.approx((-0.66, -0.31), abs=0.02)
    assert old["p_value"] == pytest.approx(fisher_exact([[10, 30], [45, 15]]).pvalue)
    assert old["p_adjusted"] == pytest.approx(2 * old["p_value"])
    assert (old["verdict"], young["verdict"]) == ("worse", "better")
    assert "2 slices were tested" in figures["note"]
    assert json.dumps(figures, allow_nan=False)


def test_what_the_mix_of_classes_explains() -> None:
    # Class 0 is always right, class 1 never; the slice is half and half, the rest all of class 0.
    labels = np.array([0, 1] * 20 + [0] * 60)
    logits = np.tile([1.0, 0.0], (100, 1))
    near, far = slice_figures(logits, labels, {"place": column(["a"] * 40 + ["b"] * 60)})["slices"]
    assert near["accuracy"] == near["expected"] == 0.5
    assert far["expected"] == 1.0


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.6]) == [1.0, 1.0]
    assert holm([]) == []


def test_forty_slices_raise_no_false_alarm() -> None:
    random = np.random.default_rng(0)
    alarms = single = 0
    for _ in range(25):
        logits, labels = answers(random.random(500) < 0.7)
        columns = {f"c{i}": column(random.choice(["a", "b", "c", "d"], 500).tolist()) for i in range(10)}
        found = slice_figures(logits, labels, columns, resamples=50)["slices"]
        assert len(found) == 40
        alarms += any(one["verdict"] != "no difference" for one in found)
        single += any(one["p_value"] <= ALARM for one in found)
    assert alarms <= 4
    assert single > 12


def test_the_gap_holds_the_truth_as_often_as_it_says() -> None:
    random = np.random.default_rng(1)
    places = {"size": column(["small"] * 40 + ["large"] * 200)}
    covered = 0
    for trial in range(150):
        logits, labels = answers(random.random(240) < np.repeat([0.9, 0.7], [40, 200]))
        large, _small = slice_figures(logits, labels, places, resamples=400, seed=trial)["slices"]
        covered += large["gap_low"] <= -0.2 <= large["gap_high"]
    assert 134 <= covered <= 149


def test_a_slice_of_few_right_images_is_not_certain() -> None:
    logits, labels = answers(np.array([True] * 3 + [True, False] * 50))
    found = slice_figures(logits, labels, {"x": column(["few"] * 3 + ["rest"] * 100)})["slices"][0]
    assert found["accuracy"] == 1.0
    assert found["low"] < 0.5
    assert found["gap_low"] < 0 < found["gap_high"]
    assert (found["p_value"], found["p_adjusted"], found["verdict"]) == (None, None, "not tested")


@pytest.mark.parametrize(("count", "tested"), [(LEAST_TESTED - 1, 0), (LEAST_TESTED, 2)])
def test_slices_below_the_least_count_are_only_shown(count: int, tested: int) -> None:
    logits, labels = answers(np.arange(100) % 2 == 0)
    figures = slice_figures(logits, labels, {"x": column(["a"] * count + ["b"] * (100 - count))})
    assert figures["tested"] == tested
    assert len(figures["slices"]) == 2


def test_images_of_one_group_are_not_counted_as_many() -> None:
    # Two kinds of subject; each subject's 20 images are all right or all wrong.
    random = np.random.default_rng(2)
    subject = np.repeat(np.arange(30), 20)
    correct = np.repeat(np.arange(30) % 15 < np.where(np.arange(30) < 15, 9, 6), 20)
    logits, labels = answers(correct)
    kind = {"kind": column(["a"] * 300 + ["b"] * 300)}
    alone = slice_figures(logits, labels, kind)["slices"][0]
    whole = slice_figures(logits, labels, kind, groups=subject)["slices"][0]
    assert (alone["verdict"], whole["verdict"]) == ("better", "no difference")
    # 9 of 15 subjects against 6 of 15: standard error 0.179, p about 0.27.
    assert whole["p_value"] == pytest.approx(0.27, abs=0.06)
    assert whole["gap_low"] < 0 < alone["gap_low"]
    assert whole["high"] - whole["low"] > 2 * (alone["high"] - alone["low"])
    # Groups of single images change little; a slice of few subjects is not tested, however many images.
    single = slice_figures(logits, labels, kind, groups=random.permutation(600))["slices"][0]
    assert single["gap_low"] == pytest.approx(alone["gap_low"], abs=0.02)
    few = {"few": column(["a"] * 100 + ["b"] * 500)}
    assert slice_figures(logits, labels, few, groups=subject)["tested"] == 0


def test_missing_values_and_the_order_are_kept() -> None:
    logits, labels = answers(np.arange(60) % 3 == 0)
    values = [None, "low", "high"] * 20
    figures = slice_figures(logits, labels, {"x": SliceColumn(values, ["low", "middle", "high"])})
    assert [one["value"] for one in figures["slices"]] == ["low", "high", MISSING]
    assert [one["accuracy"] for one in figures["slices"]] == [0, 0, 1]


def test_a_column_of_one_value_and_no_column_make_no_slice() -> None:
    logits, labels = answers(np.array([True, False]))
    assert slice_figures(logits, labels, {"x": column(["a", "a"])})["slices"] == []
    assert slice_figures(logits[:1], labels[:1], {"x": column(["a"])}, groups=None)["tested"] == 0


def test_columns_that_do_not_fit_are_refused() -> None:
    logits, labels = answers(np.array([True, False]))
    with pytest.raises(InputError, match="column x has 1 values for 2 images"):
        slice_figures(logits, labels, {"x": column(["a"])})
    with pytest.raises(InputError, match="column x holds 'b'"):
        slice_figures(logits, labels, {"x": SliceColumn(["a", "b"], ["a"])})
