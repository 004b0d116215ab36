"""Paired intervals and verdicts, against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from mien.report.gains import Answers, Gain, answers_of, compare, seed_interval, verdict_of


def answered(correct: list[int], first_row: int = 0) -> Answers:
    rows = np.arange(first_row, first_row + len(correct), dtype=np.int64)
    return Answers(rows, np.zeros(len(correct), dtype=np.int64), np.array(correct, dtype=bool))


def test_a_column_against_itself_is_no_difference() -> None:
    column = {0: answered([1, 0, 1, 1])}
    gain = compare(column, column, view="all", difference=0.0)
    assert (gain.difference, gain.interval, gain.verdict) == (0.0, (0.0, 0.0), "no difference")
    assert (gain.differing, gain.smallest_seen) == (0, None)


def test_the_interval_is_that_of_the_differences_not_of_the_accuracies() -> None:
    # All images alike but ten of a thousand, all won: a resample's difference is Binomial(1000, 0.01) / 1000.
    before = [1] * 500 + [0] * 500
    after = [1] * 510 + [0] * 490
    gain = compare({0: answered(before)}, {0: answered(after)}, view="all", difference=0.01)
    assert gain.difference == pytest.approx(0.01)
    assert gain.interval is not None
    # 2.5 % and 97.5 % quantiles of Binomial(1000, 0.01) are 4 and 17.
    assert gain.interval == pytest.approx((0.004, 0.017), abs=0.0011)
    assert gain.verdict == "gain"


def test_won_and_lost_alike_is_no_difference_and_many_lost_is_a_loss() -> None:
    even = compare({0: answered([1, 0] * 200)}, {0: answered([0, 1] * 200)}, view="all", difference=0.0)
    assert even.verdict == "no difference"
    # The differences are +1 and -1, so the mean of 400 has a standard deviation of 1/20.
    assert even.interval == pytest.approx((-0.098, 0.098), abs=0.012)
    assert even.differing == 400
    assert even.smallest_seen == pytest.approx(0.098, abs=0.006)
    lost = compare({0: answered([1] * 50)}, {0: answered([0] * 25 + [1] * 25)}, view="all", difference=-0.5)
    assert lost.verdict == "loss"


def test_other_images_or_labels_are_not_paired() -> None:
    one = answered([1, 0, 1])
    other_rows = compare({0: one}, {0: answered([1, 0, 1], first_row=1)}, view="all", difference=0.1)
    assert (other_rows.verdict, other_rows.interval) == ("not paired", None)
    assert other_rows.difference == 0.1
    assert "other images" in other_rows.reason
    relabelled = Answers(one.pack_rows, one.truth + 1, one.correct)
    assert "other labels" in compare({0: one}, {0: relabelled}, view="all", difference=0.0).reason
    assert "not kept" in compare({}, {0: one}, view="all", difference=0.0).reason


def test_a_gain_must_lie_outside_the_interval_over_seeds_too() -> None:
    base = {seed: answered([0] * 100) for seed in range(3)}
    uneven = {0: answered([1] * 60 + [0] * 40), 1: answered([0] * 100), 2: answered([0] * 100)}
    gain = compare(base, uneven, view="all", difference=0.2)
    assert gain.interval is not None
    assert gain.interval[0] > 0
    # Differences 0.6, 0, 0: mean 0.2, standard deviation 0.3464, t(2) = 4.3027.
    assert gain.seed_interval == pytest.approx((0.2 - 0.8605, 0.2 + 0.8605), abs=1e-3)
    assert gain.verdict == "no difference"


def test_the_smallest_difference_seen_is_of_the_wider_interval() -> None:
    gain = Gain("all", 100, 50, (0, 1, 2), 0.01, (-0.02, 0.04), (-0.05, 0.07), "no difference")
    assert gain.smallest_seen == pytest.approx(0.06)
    assert gain.intervals == ((-0.02, 0.04), (-0.05, 0.07))


def test_seeds_that_one_column_lacks_are_left_out() -> None:
    earlier = {0: answered([0] * 40), 1: answered([0] * 40), 2: answered([1] * 40)}
    later = {1: answered([1] * 20 + [0] * 20), 3: answered([1] * 40)}
    gain = compare(earlier, later, view="all", difference=0.9)
    assert (gain.seeds, gain.difference, gain.seed_interval) == ((1,), 0.5, None)
    # Without a seed in common the means of both are compared: 1/3 and 1.
    apart = compare(earlier, {3: answered([1] * 40)}, view="all", difference=0.9)
    assert apart.seeds == ()
    assert apart.difference == pytest.approx(2 / 3)


def test_seed_intervals_are_of_differences_paired_by_seed() -> None:
    # The seeds' accuracies spread by 0.5, their differences by nothing.
    earlier = {seed: answered([1] * (50 * seed) + [0] * (100 - 50 * seed)) for seed in range(2)}
    earlier[2] = answered([1] * 20 + [0] * 80)
    later = {
        seed: Answers(a.pack_rows, a.truth, a.correct | (a.pack_rows >= 90)) for seed, a in earlier.items()
    }
    gain = compare(earlier, later, view="all", difference=0.1)
    assert gain.seed_interval == pytest.approx((0.1, 0.1))


def test_seed_intervals_need_three_seeds() -> None:
    assert seed_interval([0.5, 0.6]) is None
    assert seed_interval([0.5, 0.5, 0.5]) == (0.5, 0.5)


def test_zero_at_the_edge_is_no_difference() -> None:
    assert verdict_of([(0.0, 0.1)]) == "no difference"
    assert verdict_of([(-0.1, 0.0)]) == "no difference"


def test_five_images_are_too_few_to_tell_two_columns_apart() -> None:
    five, six = ({0: answered([1] * n + [0] * 20)} for n in (5, 6))
    none = {0: answered([0] * 26)}
    assert compare({0: answered([0] * 25)}, five, view="all", difference=0.2).verdict == "no difference"
    assert compare(none, six, view="all", difference=0.2).verdict == "gain"


def test_answers_are_ordered_by_row_and_the_seven_class_view_masks_contempt() -> None:
    names = ("anger", "contempt", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")
    logits = np.zeros((3, 8), dtype=np.float16)
    logits[0, 1], logits[0, 2] = 5, 4  # disgust, outvoted by contempt
    logits[1, 1] = 5  # contempt, left out
    logits[2, 0] = 5  # anger
    tensors = {
        "labels": np.array([2, 1, 0], dtype=np.uint8),
        "pack_rows": np.array([9, 8, 7], dtype=np.int32),
        "logits": logits,
    }
    every = answers_of(tensors, names, "all")
    assert every.pack_rows.tolist() == [7, 8, 9]
    assert every.correct.tolist() == [True, True, False]
    seven = answers_of(tensors, names, "7")
    assert seven.pack_rows.tolist() == [7, 9]
    assert seven.correct.tolist() == [True, True]
