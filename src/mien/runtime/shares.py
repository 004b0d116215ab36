"""How often each emotion was seen, with intervals that know that neighbouring frames are alike.

Frames of a video are no independent draws: a smile lasts for dozens of them. So time is cut into blocks and
whole blocks are resampled (Carlstein, Annals of Statistics 14(3), 1986: non-overlapping blocks), with
percentile intervals.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

BLOCK: Final = 5.0
"""Seconds of a block; it must be longer than what makes neighbouring frames alike, an expression and the
smoothing."""
LEAST_BLOCKS: Final = 6
"""Fewer tell nothing about an interval, and none is given."""
RESAMPLES: Final = 2000


@dataclass(frozen=True)
class Share:
    """A share of frames and its 95 % interval."""

    value: float
    """0..1."""
    low: float | None
    """None where there are fewer than `LEAST_BLOCKS` blocks."""
    high: float | None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: value, low, high."""
        return asdict(self)


class ShareCounter:
    """Counts frames of kinds by block, in memory that grows with the blocks and not with the frames.

    Args:
        kinds: how many kinds there are, K.
        block: seconds of a block.
    """

    def __init__(self, kinds: int, block: float = BLOCK) -> None:
        self._kinds = kinds
        self._block = block
        self._counts: dict[Hashable, dict[int, NDArray[np.int64]]] = {}

    def add(self, who: Hashable, time: float, kind: int) -> None:
        """Count a frame.

        Args:
            who: whose shares it belongs to.
            time: in seconds.
            kind: 0..K-1.
        """
        blocks = self._counts.setdefault(who, {})
        place = int(time / self._block)
        if place not in blocks:
            blocks[place] = np.zeros(self._kinds, dtype=np.int64)
        blocks[place][kind] += 1

    def counts(self, who: Hashable) -> NDArray[np.int64]:
        """Frames of each kind in each block where there was one, int64 [B,K]."""
        blocks = self._counts.get(who, {})
        rows = [blocks[place] for place in sorted(blocks)]
        return np.stack(rows) if rows else np.zeros((0, self._kinds), dtype=np.int64)

    def shares(self, who: Hashable) -> list[Share]:
        """The share of each kind; see `block_shares`."""
        return block_shares(self.counts(who))


def block_shares(
    counts: NDArray[np.integer] | Sequence[Sequence[int]], *, resamples: int = RESAMPLES, seed: int = 0
) -> list[Share]:
    """Shares of kinds with 95 % percentile intervals over blocks.

    Args:
        counts: frames of each kind in each block, [B,K]; a block with more frames weighs more.
        resamples: how many.
        seed: of the draws.

    Returns:
        K shares; they are 0 without an interval where there is no frame at all.
    """
    table = np.asarray(counts, dtype=np.float64)
    total = table.sum()
    values = table.sum(0) / total if total else np.zeros(table.shape[1])
    blocks = len(table)
    if blocks < LEAST_BLOCKS:
        return [Share(float(value), None, None) for value in values]
    random = np.random.default_rng(seed)
    drawn = random.multinomial(blocks, np.full(blocks, 1 / blocks), size=resamples) @ table
    low, high = np.quantile(drawn / drawn.sum(1, keepdims=True), [0.025, 0.975], axis=0)
    return [Share(*map(float, edges)) for edges in zip(values, low, high, strict=True)]
