"""The training split as a run sees it: a part of it, or with wrong labels put in on purpose.

Both are drawn from `training_set.draw_seed` alone, so that runs of all seeds, with and without SAM, see the
same images with the same labels.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from mien.config import TrainingSetConfig
from mien.data.prepared import Prepared
from mien.data.targets import Targets
from mien.errors import InputError
from mien.evaluate.split import split_targets

Index = npt.NDArray[np.int64]


def training_targets(prepared: Prepared, config: TrainingSetConfig) -> Targets:
    """The training split under a config: what another annotation labels too, of that a share, of that some
    labels made wrong.

    Raises:
        InputError: no image is left, or the data has no such target.
    """
    targets = split_targets(prepared, config.target, "train", ())
    if config.labelled_by is not None:
        others = set(split_targets(prepared, config.labelled_by, "train", ()).ids)
        targets = targets.at(np.flatnonzero([name in others for name in targets.ids]))
        if len(targets) == 0:
            raise InputError(
                f"training_set.labelled_by: no image has both a {targets.name} and a {config.labelled_by} "
                "label; leave it out."
            )
    if config.share < 1:
        targets = targets.at(stratified_share(targets.labels, config.share, config.draw_seed))
    if config.label_noise > 0:
        targets = with_wrong_labels(targets, config.label_noise, config.draw_seed)
    return targets


def stratified_share(labels: Index, share: float, seed: int) -> Index:
    """Positions of a share of the images of each class.

    Args:
        labels: int64 [N], class of each image.
        share: in (0, 1].
        seed: of the draw. A smaller share of the same seed lies within a larger one.

    Returns:
        int64 [n], ascending: round(share * count) of each class, at least one.
    """
    random = np.random.default_rng((seed, 0))
    chosen = []
    for label in np.unique(labels):
        rows = random.permutation(np.flatnonzero(labels == label))
        chosen.append(rows[: max(1, round(share * len(rows)))])
    return np.sort(np.concatenate(chosen)).astype(np.int64)


def with_wrong_labels(targets: Targets, share: float, seed: int) -> Targets:
    """The same images, round(share * N) of them with the label of another class.

    Symmetric noise (van Rooyen et al., NeurIPS 2015): the other class is drawn uniformly from those that have
    an image. A wrong vote distribution is that of a random image of that class, so that it is as sharp as
    true ones are.

    Args:
        targets: N rows.
        share: 0..1.
        seed: of the draw.

    Raises:
        InputError: all images are of one class.
    """
    random = np.random.default_rng((seed, 1))
    present = np.unique(targets.labels)
    if len(present) < 2:
        raise InputError("training_set.label_noise needs images of two classes or more.")
    labels, soft = targets.labels.copy(), targets.soft.copy()
    for row in random.permutation(len(labels))[: round(share * len(labels))]:
        wrong = random.choice(present[present != targets.labels[row]])
        labels[row] = wrong
        soft[row] = targets.soft[random.choice(np.flatnonzero(targets.labels == wrong))]
    return dataclasses.replace(targets, labels=labels, soft=soft)
