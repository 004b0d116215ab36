"""Training batches from the pack: which images an epoch holds, in what order.

The order of epoch e is drawn from (seed, e) alone, so a resumed run needs no sampler state.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mien.config import Balance
from mien.errors import InputError


@dataclass(frozen=True)
class Batch:
    """One step's images, as they lie in the pack."""

    faces: Tensor
    """uint8 [B, C, H, W]."""
    targets: Tensor
    """float32 [B, K], soft labels that sum to 1."""
    rows: npt.NDArray[np.int64]
    """int64 [B], rows of the pack."""
    rotated: Tensor
    """bool [B], which faces may be rotated."""


class TrainingBatches:
    """The training split as batches.

    Args:
        pack: uint8 [N, C, H, W], memory-mapped.
        rows: int64 [n], the pack's rows of the training split.
        labels: int64 [n], class of each.
        targets: float32 [n, K], soft label of each.
        copies: int32 [n], how often each image comes in an epoch under the balance plan.
        rotated: bool [n], whether augmentation may rotate each.
        balance: how the classes are brought to balance.
        batch_size: images a step; the rest of an epoch that does not fill a batch is left out. A split that
            is smaller makes one batch.
        parts: micro-batches that a step is cut into, evenly.
        seed: of the order.

    Raises:
        InputError: the balance plan leaves no image, or fewer than there are micro-batches.
    """

    def __init__(
        self,
        pack: npt.NDArray[np.uint8],
        rows: npt.NDArray[np.int64],
        labels: npt.NDArray[np.int64],
        targets: npt.NDArray[np.float32],
        copies: npt.NDArray[np.int32],
        rotated: npt.NDArray[np.bool_],
        *,
        balance: Balance,
        batch_size: int,
        parts: int = 1,
        seed: int,
    ) -> None:
        self.pack = pack
        self.rows, self.labels, self.targets, self.rotated = rows, labels, targets, rotated
        self.balance = balance
        self.seed = seed
        self._pool = np.repeat(np.arange(len(rows)), copies) if balance == "copies" else np.arange(len(rows))
        if len(self._pool) == 0:
            raise InputError(
                "training_set.balance: the balance plan keeps no training image; prepare the data again."
            )
        self.batch_size = min(batch_size, len(self._pool) // parts * parts)
        if self.batch_size == 0:
            raise InputError(
                f"train.accumulate times train.devices makes {parts} micro-batches of {len(self._pool)} "
                "training images; take fewer."
            )
        self.prior = self._prior()
        self.steps_per_epoch = len(self._pool) // self.batch_size

    def _prior(self) -> npt.NDArray[np.float64]:
        """float64 [K]: the mean soft label of what an epoch draws, which is what the loss sees."""
        prior: npt.NDArray[np.float64]
        if self.balance == "sampling":
            classes = [self.targets[self.labels == c].mean(0) for c in np.unique(self.labels)]
            prior = np.mean(classes, axis=0, dtype=np.float64)
        else:
            prior = np.mean(self.targets[self._pool], axis=0, dtype=np.float64)
        return prior

    def order(self, epoch: int) -> npt.NDArray[np.int64]:
        """int64 [steps_per_epoch, batch_size]: positions in `rows` for each step of an epoch."""
        random = np.random.default_rng((self.seed, epoch))
        wanted = self.steps_per_epoch * self.batch_size
        if self.balance == "sampling":
            weights = 1 / np.bincount(self.labels, minlength=self.targets.shape[1]).clip(min=1)[self.labels]
            drawn = random.choice(self._pool, wanted, p=weights / weights.sum())
        else:
            drawn = random.permutation(self._pool)[:wanted]
        return drawn.reshape(self.steps_per_epoch, self.batch_size)

    def batch(self, positions: npt.NDArray[np.int64]) -> Batch:
        """The images at one step's positions."""
        rows = self.rows[positions]
        return Batch(
            faces=torch.from_numpy(np.ascontiguousarray(self.pack[rows])),
            targets=torch.from_numpy(self.targets[positions]),
            rows=rows,
            rotated=torch.from_numpy(self.rotated[positions]),
        )
