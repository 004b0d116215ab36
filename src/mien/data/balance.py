"""The balance plan of section 3.3, as numbers: how many images an epoch each training picture stands for.

The paper brings the training split to balance by augmentation alone and removes surplus generated images.
Here nothing is generated ahead: `copies` says how often a picture is drawn in an epoch, each time augmented
anew; 0 leaves a picture of a class that is larger than the target out of the epoch.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mien.errors import InputError

Index = npt.NDArray[np.int64]
Copies = npt.NDArray[np.int32]


def plan(labels: npt.ArrayLike, target: int | None = None, seed: int = 0) -> Copies:
    """How often each picture is drawn in an epoch so that every class reaches `target`.

    Args:
        labels: class index of each training picture, int [N].
        target: images of each class an epoch; None takes the largest class's count.
        seed: chooses which pictures of a class get one copy more, or none.

    Returns:
        int32 [N], summing to exactly `target` over each class that has a picture; two pictures of one class
        differ by at most one.

    Raises:
        InputError: `target` is below 1.
    """
    index = np.asarray(labels, dtype=np.int64)
    copies = np.zeros(len(index), dtype=np.int32)
    if target is not None and target < 1:
        raise InputError(f"balance.target is {target}; it must be at least 1 image a class.")
    classes, counts = np.unique(index, return_counts=True)
    if len(classes) == 0:
        return copies
    wanted = int(counts.max()) if target is None else target
    rng = np.random.default_rng(seed)
    for name, count in zip(classes, counts, strict=True):
        each, extra = divmod(wanted, int(count))
        rows = rng.permutation(np.flatnonzero(index == name))
        copies[rows] = each
        copies[rows[:extra]] += 1
    return copies


def class_counts(labels: npt.ArrayLike, classes: int, copies: npt.ArrayLike | None = None) -> Index:
    """Images of each class an epoch, int64 [classes]: before the plan, or after it when `copies` is given."""
    weights = None if copies is None else np.asarray(copies, dtype=np.int64)
    counted = np.bincount(np.asarray(labels, dtype=np.int64), weights=weights, minlength=classes)
    return np.rint(counted).astype(np.int64)
