"""One optimizer step: the micro-batches of this process, what is drawn for each, and their losses.

Everything random (augmentation, mixing, stochastic depth, ESAM's weights) is drawn from (seed, step, number
of the micro-batch), so a step depends on nothing that came before it, nor on which process takes which
micro-batch.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from mien.config import RunConfig
from mien.data.augment import augment_faces
from mien.data.dataset import TrainingBatches
from mien.data.mixing import mix_faces
from mien.errors import TrainingDiverged
from mien.train.batch_statistics import BatchStatistics
from mien.train.criterion import Criterion
from mien.train.devices import Devices
from mien.train.optim import build_optimizer, set_learning_rate
from mien.train.precision import LossScale
from mien.train.sam import Closure
from mien.train.teacher import Teacher


@dataclass
class StepFigures:
    """What happened in the micro-batches of one step."""

    loss: float = 0.0
    """Summed loss of the images in the first pass: at the weights before the climb, or, by momentum-SAM, at
    the moved weights. It may be infinite, or no number."""
    correct: int = 0
    """Images whose most probable class was predicted."""
    images: int = 0
    """How many there were."""
    waited: float = 0.0
    """Seconds spent waiting for the pack's pictures."""
    augmented: float = 0.0
    """Seconds spent augmenting and mixing."""


class TrainingStep:
    """What is done with a step's images: `optimizer.step(closures)`, the same for SGD, AdamW and SAM (section
    3.6).

    Args:
        model: the network, on its device.
        batches: the training split.
        config: the whole run's config.
        devices: the processes of the run.
        teacher: gives soft targets.
    """

    def __init__(
        self,
        model: nn.Module,
        batches: TrainingBatches,
        config: RunConfig,
        devices: Devices,
        *,
        teacher: Teacher | None = None,
    ) -> None:
        self.model, self.batches, self.config, self.devices = model, batches, config, devices
        self.teacher = teacher
        self.optimizer = build_optimizer(model, config.optim, average=devices.average)
        self.criterion = Criterion(config, batches.prior, devices.device)
        self.loss_scale = LossScale(config.train)

    def __call__(self, positions: npt.NDArray[np.int64], step: int, rate: float) -> StepFigures:
        """Take one step.

        Args:
            positions: int64 [batch_size], the step's images, of all devices.
            step: its number, counted from 0 over the whole run.
            rate: the learning rate.

        Returns:
            The figures of this process's images.

        Raises:
            TrainingDiverged: the gradient is not finite.
        """
        set_learning_rate(self.optimizer, rate)
        while True:
            figures = StepFigures()
            batches = _MicroBatches(self, positions, step, figures)
            try:
                self.optimizer.step(batches)
            except FloatingPointError:
                batches.undo()
                # A gradient too large for fp16 at this scale: the same step again, with the same draws.
                if self.loss_scale.overflowed():
                    continue
                raise self.diverged(positions, step, rate) from None
            self.loss_scale.good()
            return figures

    def diverged(self, positions: npt.NDArray[np.int64], step: int, rate: float) -> TrainingDiverged:
        """The error of a step whose loss or gradient is not finite; arguments as of the step."""
        # Activations beyond fp16's range overflow in the forward pass, at any scale of the loss.
        other = ", or train in bf16 or fp32" if self.loss_scale.active else ""
        numbers, epoch = self.batches.rows[positions], step // self.batches.steps_per_epoch + 1
        rows = ", ".join(map(str, numbers[:8])) + (", ..." if len(numbers) > 8 else "")
        return TrainingDiverged(
            f"loss or gradient is not finite at step {step} of the run, in epoch {epoch} (learning rate "
            f"{rate:.3g}, rows {rows} of the pack); lower optim.lr or set optim.clip_norm{other}."
        )


class _MicroBatches(Collection[Closure]):
    """This process's closures of one step, each seeded when its turn comes."""

    def __init__(
        self, owner: TrainingStep, positions: npt.NDArray[np.int64], step: int, figures: StepFigures
    ) -> None:
        train, devices = owner.config.train, owner.devices
        self._owner, self._step, self._figures = owner, step, figures
        parts = np.split(positions, train.accumulate * train.devices)
        first = devices.rank * train.accumulate
        self._parts = list(enumerate(parts))[first : first + train.accumulate]
        several = len(parts) > 1 or owner.loss_scale.active
        self._statistics = BatchStatistics(owner.model, devices.average) if several else None

    def __len__(self) -> int:
        return len(self._parts)

    def __contains__(self, _: object) -> bool:
        return False

    def __iter__(self) -> Iterator[Closure]:
        for number, positions in self._parts:
            seeds = np.random.SeedSequence((self._owner.config.train.seed, self._step, number))
            state = seeds.generate_state(2, np.uint64) >> np.uint64(1)
            torch.manual_seed(int(state[0]))
            yield _MicroBatch(self._owner, positions, int(state[1]), self._figures)
            if self._statistics is not None:
                self._statistics.take()
        if self._statistics is not None:
            self._statistics.finish()

    def undo(self) -> None:
        """Set BatchNorm's statistics to what they were before the step."""
        if self._statistics is not None:
            self._statistics.put_back()


class _MicroBatch:
    """The closure of some of a step's images; see `mien.train.sam.Closure` and `ESAM`."""

    def __init__(
        self, owner: TrainingStep, positions: npt.NDArray[np.int64], seed: int, figures: StepFigures
    ) -> None:
        self._owner, self._figures = owner, figures
        began = time.perf_counter()
        batch = owner.batches.batch(positions)
        fetched = time.perf_counter()
        config, device = owner.config, owner.devices.device
        generator = torch.Generator().manual_seed(seed)
        x = augment_faces(batch.faces.to(device), config.augment, config.model, generator, batch.rotated)
        self._x, self._targets = mix_faces(x, batch.targets.to(device), config.augment, generator)
        figures.waited += fetched - began
        figures.augmented += time.perf_counter() - fetched
        self._taught: Tensor | None = None
        if owner.teacher is not None:
            with owner.devices.fabric.autocast():
                self._taught = owner.teacher(self._x)
        self._has_counted = False

    def __call__(self, rows: Tensor | None = None, *, backward: bool = True) -> Tensor:
        owner = self._owner
        x, targets, taught = self._x, self._targets, self._taught
        if rows is not None:
            x, targets = x[rows], targets[rows]
            taught = None if taught is None else taught[rows]
        own_loss: Tensor | float = 0.0
        with owner.devices.fabric.autocast():
            if getattr(owner.model, "has_own_loss", False):
                logits, own_loss = owner.model(x, targets)
            else:
                logits = owner.model(x)
        losses = owner.criterion(logits, targets, taught)
        if not self._has_counted:
            self._count(logits, targets, losses)
        if backward:
            owner.optimizer.zero_grad()
            owner.loss_scale.backward(losses.mean() + own_loss, owner.model.parameters())
        return losses.detach()

    def _count(self, logits: Tensor, targets: Tensor, losses: Tensor) -> None:
        self._has_counted = True
        right = logits.detach().argmax(1) == targets.argmax(1)
        summed = torch.stack([losses.detach().sum().double(), right.sum().double()]).tolist()
        self._figures.loss += summed[0]
        self._figures.correct += int(summed[1])
        self._figures.images += len(logits)
