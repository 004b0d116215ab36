"""Who goes into train, validation and test; a subject and a set of twins are never in two of them.

`official` keeps the splits that a set came with. What a set lacks is drawn: a set without splits gets
70/15/15 of each class, one with only some of the three gets the missing ones out of its training split, 15/85
of it each; its test split never changes. `clean` is the same without the leaks: no twin of a test picture
stays in training or validation, and none of a validation picture in training. `balanced` draws validation and
test anew, over all sets together, with the same number of images a class (section 3.3).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Mapping, Sequence
from typing import Final, cast

import numpy as np
import numpy.typing as npt

from mien.data.sources.record import SPLITS, Split
from mien.errors import InputError

Index = npt.NDArray[np.int64]
SHARES: Final[Mapping[Split, float]] = {"train": 0.70, "validation": 0.15, "test": 0.15}
"""Shares of a set that came without splits (mien's choice, not in the paper)."""
SURPLUS: Final = "surplus"
"""What `balanced` gives a picture that must not be trained on and does not fit the equal count."""


def groups_of(subjects: Sequence[str | None], twins: Sequence[str | None]) -> Index:
    """A number a row, int64 [N], equal for rows that must share a split.

    These have the same subject, or are twins, or are joined by a chain of both.
    """
    parent = list(range(len(subjects)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for keys in (subjects, twins):
        first: dict[str, int] = {}
        for i, key in enumerate(keys):
            if key is not None:
                parent[root(i)] = root(first.setdefault(key, i))
    return np.asarray([root(i) for i in range(len(parent))], dtype=np.int64)


def _table(labels: Index, groups: Index, classes: int) -> tuple[Index, Index]:
    """Rows' group numbers 0..G-1 [N], and images by group and class [G, classes]; label -1 counts nowhere."""
    _, member = np.unique(groups, return_inverse=True)
    counts = np.zeros((int(member.max(initial=-1)) + 1, classes), dtype=np.int64)
    labelled = labels >= 0
    np.add.at(counts, (member[labelled], labels[labelled]), 1)
    return member.astype(np.int64), counts


def stratified(labels: Index, groups: Index, shares: Mapping[Split, float], seed: int) -> list[Split]:
    """Splits with about the given share of each class, whole groups at a time, larger groups first.

    Args:
        labels: class index [N], -1 for none.
        groups: from `groups_of`, [N].
        shares: split to its share; they sum to 1.
        seed: of the order of equally large groups.

    Returns:
        A split a row. Without larger groups each class is off by less than two images, and each of the
        splits gets an image of every class that has as many images as there are splits.
    """
    # Rows without a label are spread as a class of their own.
    filled = np.where(labels < 0, labels.max(initial=-1) + 1, labels)
    member, counts = _table(filled, groups, int(filled.max(initial=-1)) + 1)
    order = np.random.default_rng(seed).permutation(len(counts))
    order = order[np.argsort(-counts[order].sum(axis=1), kind="stable")]
    names = list(shares)
    wanted = np.asarray([shares[name] for name in names])[:, None] * counts.sum(axis=0)
    need, wanted = wanted.copy(), np.maximum(wanted, 1e-9)
    chosen = np.zeros(len(counts), dtype=np.int64)
    for group in order:
        # The relative need, so that the small splits are served before the large one is full.
        chosen[group] = int(np.argmax((need / wanted) @ counts[group]))
        need[chosen[group]] -= counts[group]
    return [names[i] for i in chosen[member]]


def official(
    sets: Sequence[str], given: Sequence[Split | None], labels: Index, groups: Index, seed: int
) -> tuple[list[Split], list[str]]:
    """The splits that the sets came with, and drawn ones where a set lacks them.

    Args:
        sets: raw set of each row.
        given: its own split, or None.
        labels: class index [N], -1 for none.
        groups: from `groups_of`, [N].
        seed: of drawn splits.

    Returns:
        A split a row, and a sentence for each thing that had to be drawn.

    Raises:
        InputError: some rows of a set have a split and others do not.
    """
    out: list[Split | None] = list(given)
    notes = []
    for name in dict.fromkeys(sets):
        rows = np.asarray([i for i, value in enumerate(sets) if value == name], dtype=np.int64)
        have = {given[i] for i in rows}
        if None in have and len(have) > 1:
            raise InputError(
                f"some pictures of {name} have a split and others none; give every one a split, or none."
            )
        missing: list[Split] = [split for split in SPLITS if split not in have]
        if have == {None}:
            notes.append(f"{name} came without splits: 70/15/15 of each class were drawn, seed {seed}.")
        elif missing and "train" in have:
            rows = np.asarray([i for i in rows if given[i] == "train"], dtype=np.int64)
            notes.append(
                f"{name} came without {' and '.join(missing)}: drawn from its training split, seed {seed}."
            )
        else:
            continue
        part: dict[Split, float] = {
            split: SHARES[split] for split in SPLITS if split == "train" or split in missing
        }
        total = sum(part.values())
        drawn = stratified(labels[rows], groups[rows], {k: v / total for k, v in part.items()}, seed)
        _place(out, rows, drawn, groups, part)
    return [split for split in out if split is not None], notes


def _place(
    out: list[Split | None], rows: Index, drawn: Sequence[Split], groups: Index, part: Container[Split]
) -> None:
    # A twin that another split already holds decides for its group, test before validation before train; but
    # nothing is moved into a split that the set itself came with.
    drawing = set(rows.tolist())
    held: dict[int, Split] = {}
    for i, split in enumerate(out):
        if split is not None and i not in drawing:
            held[int(groups[i])] = max(held.get(int(groups[i]), split), split, key=SPLITS.index)
    for i, split in zip(rows, drawn, strict=True):
        twins = held.get(int(groups[i]), split)
        out[i] = twins if twins in part else split


def leaks(splits: Sequence[str | None], groups: Index) -> list[Split | None]:
    """The later split that a row's twin lies in, for rows that a `clean` split leaves out; None for the rest.

    Args:
        splits: the split of each row.
        groups: number of a row's group of twins, int64 [N]; -1 for no twin.

    Returns:
        `test` for rows of train and validation with a twin in test, `validation` for rows of train with one
        there.
    """
    latest: dict[int, int] = {}
    places = [-1 if split is None else SPLITS.index(cast(Split, split)) for split in splits]
    for group, place in zip(groups.tolist(), places, strict=True):
        if group >= 0:
            latest[group] = max(latest.get(group, -1), place)
    return [
        SPLITS[latest[group]] if group >= 0 and -1 < place < latest[group] else None
        for group, place in zip(groups.tolist(), places, strict=True)
    ]


def balanced(
    labels: Index, groups: Index, classes: Sequence[str], *, validation: int, test: int, seed: int
) -> list[str]:
    """Validation and test with the same number of images of each class, the rest for training.

    Classes without any image are left alone. Rows without a label follow their group, or go to training.

    Args:
        labels: class index [N], -1 for none.
        groups: from `groups_of`, [N].
        classes: the class names.
        validation: images of each class for validation, at least 1.
        test: images of each class for test, at least 1.
        seed: of the draw.

    Returns:
        A split a row, or `SURPLUS` for a picture whose subject or twin is in validation or test, but whose
        class is full there.

    Raises:
        InputError: a class is too small; the message names it and the largest number possible.
    """
    if validation < 1 or test < 1:
        raise InputError(
            "splits.validation_per_class and splits.test_per_class must be at least 1 image a class."
        )
    member, counts = _table(labels, groups, len(classes))
    chosen = _draw(counts, validation, test, seed)
    if isinstance(chosen, int):
        low, high = 0, int(counts.sum(axis=0)[chosen])
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (
                (low, middle - 1) if isinstance(_draw(counts, middle, middle, seed), int) else (middle, high)
            )
        best = (
            f"{low} for each is the largest number possible"
            if low
            else "splits.policy=balanced is not possible here"
        )
        raise InputError(
            f"class {classes[chosen]} has {int(counts.sum(axis=0)[chosen])} images, too few for "
            "validation_per_class="
            f"{validation} and test_per_class={test} and one for training, subjects and twins kept "
            f"together; {best}."
        )
    out = [str(SPLITS[i]) for i in chosen[member]]
    for split, limit in (("validation", validation), ("test", test)):
        taken: Counter[int] = Counter()
        for i in np.random.default_rng([seed, limit]).permutation(len(out)):
            if out[i] == split and labels[i] >= 0:
                taken[int(labels[i])] += 1
                if taken[int(labels[i])] > limit:
                    out[i] = SURPLUS
    return out


def _draw(counts: Index, validation: int, test: int, seed: int) -> Index | int:
    """The index into `SPLITS` of each group, or the class that could not be filled."""
    order = np.random.default_rng(seed).permutation(len(counts))
    chosen = np.zeros(len(counts), dtype=np.int64)
    left = counts.sum(axis=0)
    present = left > 0
    for split, size, later in ((2, test, validation), (1, validation, 0)):
        need = np.where(present, size, 0)
        spare = left - np.where(present, later + 1, 0)
        # Groups that fit exactly come first; one that overshoots a class wastes pictures, so the least
        # wasteful next.
        free = order[chosen[order] == 0]
        for group in free if need.any() else ():
            count = counts[group]
            fits = (count <= need) & ((count <= spare) | (count == 0))
            if count.any() and fits.all():
                chosen[group] = split
                need, left, spare = need - count, left - count, spare - count
        while need.any():
            free = free[chosen[free] == 0]
            allowed = ((counts[free] <= spare) | (counts[free] == 0)).all(axis=1)
            useful = free[allowed & (np.minimum(counts[free], need) > 0).any(axis=1)]
            if len(useful) == 0:
                return int(np.argmin(np.where(need > 0, left, left.max() + 1)))
            waste = np.maximum(counts[useful] - need, 0).sum(axis=1) / np.minimum(counts[useful], need).sum(
                axis=1
            )
            group = int(useful[np.argmin(waste)])
            count = counts[group]
            chosen[group] = split
            need, left, spare = np.maximum(need - count, 0), left - count, spare - count
    return chosen
