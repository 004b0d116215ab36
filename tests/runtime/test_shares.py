"""Shares of frames, and intervals that cover although frames are alike for seconds."""

import numpy as np
import pytest

from mien.runtime.shares import LEAST_BLOCKS, Share, ShareCounter, block_shares


def test_shares_are_those_of_all_frames():
    random = np.random.default_rng(0)
    times, kinds = random.uniform(0, 100, 500), random.integers(0, 3, 500)
    counter = ShareCounter(3, block=5.0)
    for time, kind in zip(times, kinds, strict=True):
        counter.add("a", time, kind)
    shares = counter.shares("a")
    np.testing.assert_allclose([s.value for s in shares], np.bincount(kinds) / 500)
    table = np.zeros((20, 3), int)
    np.add.at(table, ((times // 5).astype(int), kinds), 1)
    np.testing.assert_array_equal(counter.counts("a"), table)
    assert all(s.low < s.value < s.high for s in shares)


def test_intervals_are_percentiles_of_resampled_blocks():
    counts = np.random.default_rng(1).integers(0, 20, (12, 2))
    random = np.random.default_rng(7)
    rows = random.multinomial(12, np.full(12, 1 / 12), size=2000)
    drawn = [np.repeat(counts, row, axis=0).sum(0) for row in rows]
    expected = np.quantile([one[0] / one.sum() for one in drawn], [0.025, 0.975])
    share = block_shares(counts, seed=7)[0]
    np.testing.assert_allclose([share.low, share.high], expected)


def test_a_few_blocks_give_no_interval():
    assert block_shares([[3, 1]] * (LEAST_BLOCKS - 1)) == [Share(0.75, None, None), Share(0.25, None, None)]
    assert block_shares([[3, 1]] * LEAST_BLOCKS)[0] == Share(0.75, 0.75, 0.75)
    assert block_shares(np.zeros((0, 2), int)) == [Share(0.0, None, None)] * 2
    assert ShareCounter(2).shares("nobody") == [Share(0.0, None, None)] * 2


def test_intervals_cover_where_expressions_last():
    """A chain that stays in its state for about 1.5 s, at 10 frames a second over five minutes."""
    random = np.random.default_rng(0)
    stay, share, frames, runs = 14 / 15, 0.3, 3000, 200
    inside = blind = 0
    for run in range(runs):
        jump = random.random(frames) > stay
        jump[0] = True
        fresh = random.random(frames) < share
        state = fresh[np.maximum.accumulate(np.where(jump, np.arange(frames), 0))]
        counts = np.stack([state.reshape(-1, 50).sum(1), (~state).reshape(-1, 50).sum(1)], axis=1)
        got = block_shares(counts, resamples=400, seed=run)[0]
        inside += got.low <= share <= got.high
        error = 1.96 * np.sqrt(state.mean() * (1 - state.mean()) / frames)
        blind += abs(state.mean() - share) <= error
    assert 0.86 <= inside / runs <= 0.99
    assert blind / runs < 0.6


@pytest.mark.parametrize("values", [(0.5, None, None), (0.5, 0.25, 0.75)])
def test_a_share_as_json(values):
    assert Share(*values).to_dict() == dict(zip(("value", "low", "high"), values, strict=True))
