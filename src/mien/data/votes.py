"""From taggers' votes to one label or to a distribution, by the rule of the FER+ authors.

Source: Barsoum et al., "Training deep networks for facial expression recognition with crowd-sourced label
distribution", ICMI 2016, and the `majority` mode of github microsoft/FERPlus: a count of exactly one is an
outlier and is dropped; the winner must hold more than half of what remains and must be an emotion.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from mien.labels import NOT_AN_EMOTION

Float = npt.NDArray[np.float32]


def majority(votes: Mapping[str, int]) -> str | None:
    """The name that the authors' `majority` rule picks, or None where it finds none.

    Args:
        votes: class name to raw count; `unknown` and `NF` count as rivals but cannot win.
    """
    kept = {name: count for name, count in votes.items() if count > 1}
    if not kept:
        return None
    winner = max(kept, key=lambda name: kept[name])
    if 2 * kept[winner] <= sum(kept.values()) or winner in NOT_AN_EMOTION:
        return None
    return winner


def soft_labels(votes: npt.ArrayLike, names: Sequence[str], classes: Sequence[str]) -> Float:
    """Votes as distributions over the classes: single votes dropped, only `classes` kept, then summing to 1.

    Args:
        votes: raw counts [N, V].
        names: the V names of the columns; `unknown` and `NF` never get any weight.
        classes: the K class names.

    Returns:
        float32 [N, K]; a row that keeps no vote is all zeros.
    """
    counts = np.asarray(votes, dtype=np.float32).reshape(-1, len(names))
    counts = np.where(counts > 1, counts, 0)
    out = np.zeros((len(counts), len(classes)), dtype=np.float32)
    for column, name in enumerate(names):
        if name in classes and name not in NOT_AN_EMOTION:
            out[:, classes.index(name)] += counts[:, column]
    total = out.sum(axis=1, keepdims=True)
    np.divide(out, total, out=out, where=total > 0)
    return out
