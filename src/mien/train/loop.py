"""The training loop: epochs, the schedule, validation, checkpoints.

A run that was stopped anywhere continues as if it had not been: the order of an epoch and all that a step
draws come from (seed, epoch) and (seed, step).
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from timm.utils import ModelEmaV3
from torch import nn

from mien.config import RunConfig
from mien.data.dataset import TrainingBatches
from mien.errors import LostProcess
from mien.models.saved import EVALUATION
from mien.models.weights import BEST
from mien.progress import Bar, Reporter
from mien.train.budget import Budget
from mien.train.checkpoint import LAST, Position, load_state, save_state, write_tensors
from mien.train.devices import Devices
from mien.train.history import epoch_line, history_entry, write_history, write_tensorboard
from mien.train.interrupt import InterruptFlag
from mien.train.optim import freeze_encoder, is_encoder_frozen, learning_rate
from mien.train.step import StepFigures, TrainingStep
from mien.train.teacher import Teacher

Validate = Callable[[nn.Module], dict[str, Any]]


class TrainingLoop:
    """One run's loop.

    Args:
        model: the network, on the CPU.
        batches: the training split.
        config: the whole run's config.
        run: the run's folder; checkpoint, best weights and history are written there by process 0.
        devices: the processes of the run, started.
        validate: network -> figures of the validation split, in fp32, the same in each process; the selection
            figure is among them.
        reporter: where progress goes.
        teacher: gives soft targets.
    """

    def __init__(
        self,
        model: nn.Module,
        batches: TrainingBatches,
        config: RunConfig,
        run: Path,
        *,
        devices: Devices,
        validate: Validate,
        reporter: Reporter,
        teacher: Teacher | None = None,
    ) -> None:
        self.config, self.batches, self.run, self.devices = config, batches, run, devices
        self.validate, self.reporter = validate, reporter
        self.network = model.to(devices.device)
        self.average = _running_average(model, config.train.ema) if config.train.ema else None
        self.step = TrainingStep(self.network, batches, config, devices, teacher=teacher)
        self.position = Position()
        train = config.train
        self.budget = Budget(train.max_minutes, train.epochs, batches.steps_per_epoch)

    def resume(self) -> None:
        """Continue from the run's last checkpoint.

        Raises:
            CheckpointError: there is none, or it does not fit.
        """
        self.position = load_state(self.run / LAST, self.network, self.average, self.step.optimizer)
        self.step.loss_scale.load(self.position.loss_scale)
        if self.devices.is_first:
            # The checkpoint is the earlier of the two files, and a kill may have come between them.
            write_history(self.run, self.position.history)

    def fit(self) -> Position:
        """Train to the last epoch, or to the end of the budget.

        Raises:
            TrainingDiverged: loss or gradient is not finite.
            LostProcess: another process has ended, or started from another state.
            KeyboardInterrupt: Ctrl-C; the step was finished and a checkpoint written.
            OSError: a file could not be written.
        """
        self._check_same_start()
        size = self.batches.batch_size
        # How many images a budget affords is not known.
        images = self.budget.total_steps * size if self.budget.seconds is None else None
        done = self.budget.steps_done(self.position) * size
        with self.reporter.bar("training", images, done=done) as bar, InterruptFlag() as interrupt:
            while not self._is_finished():
                self._epoch(bar, interrupt)
                self._finish_epoch()
                if self._agreed(interrupt.raised):
                    self._stop()
        return self.position

    def _check_same_start(self) -> None:
        """Refuse processes that start from different weights or another step, as on machines with different
        copies of a run's folder: each would take its own way, and the mean of them means nothing."""
        weights = torch.stack([p.detach().double().sum() for p in self.network.parameters()]).sum().item()
        starts = self.devices.gather((self.budget.steps_done(self.position), self.config.train.seed, weights))
        other = next((rank for rank, start in enumerate(starts) if start != starts[0]), None)
        if other is not None:
            raise LostProcess(
                f"process {other} starts from another checkpoint or other weights than process 0; {self.run} "
                "must lie where all machines see the same files."
            )

    def _is_finished(self) -> bool:
        history = self.position.history
        return self.position.epoch >= self.config.train.epochs or bool(history and history[-1]["last"])

    def _epoch(self, bar: Bar, interrupt: InterruptFlag) -> None:
        position, train = self.position, self.config.train
        order = self.batches.order(position.epoch)
        self.network.train()
        saved = time.monotonic()
        # One step at least, so that there is something to validate.
        while position.step < self.batches.steps_per_epoch and not (
            position.step > 0 and self.budget.is_spent(position)
        ):
            began = time.monotonic()
            position.scheduled = self.budget.scheduled_step(position)
            self._freeze()
            step, rate = self.budget.steps_done(self.position), self._learning_rate()
            figures = self.step(order[position.step], step, rate)
            if self.average is not None:
                self.average.update(self.network, step=step)
            # Read once: a Ctrl-C after this line is the next step's, which saves before it ends.
            stopped = self._account(figures, time.monotonic() - began, interrupt.raised)
            if not math.isfinite(position.loss_sum):
                raise self.step.diverged(order[position.step - 1], step, rate)
            bar.advance(self.batches.batch_size, self._progress_text())
            if stopped or time.monotonic() - saved > 60 * train.checkpoint_minutes:
                self._save()
                saved = time.monotonic()
            if stopped:
                self._stop()

    def _account(self, figures: StepFigures, seconds: float, interrupted: bool) -> bool:
        """Add a step of all processes to the position; returns whether one of them was interrupted."""
        position = self.position
        # The clocks of process 0 count, since all must see the same budget.
        clocks = (seconds, figures.waited, figures.augmented) if self.devices.is_first else (0.0, 0.0, 0.0)
        own = (figures.loss, figures.correct, figures.images, interrupted, *clocks)
        total = self.devices.total(torch.tensor(own, dtype=torch.float64))
        loss, correct, images, stopped, seconds, waited, augmented = total.tolist()
        position.step += 1
        position.loss_sum += loss
        position.correct += int(correct)
        position.seen += int(images)
        position.seconds += seconds
        position.waited += waited
        position.augmented += augmented
        return bool(stopped)

    def _agreed(self, interrupted: bool) -> bool:
        """Whether any process was interrupted."""
        return bool(self.devices.total(torch.tensor([float(interrupted)])).item())

    def _stop(self) -> None:
        """Raise KeyboardInterrupt, with the command that continues; a checkpoint has just been written."""
        if not self.devices.is_first:
            # Process 0 speaks, and takes a process that ends otherwise for one that has failed.
            raise SystemExit(0)
        raise KeyboardInterrupt(f"stopped; continue with: mien train --resume {self.run}")

    def _progress_text(self) -> str:
        position = self.position
        return (
            f"epoch {position.epoch + 1}/{self.config.train.epochs}"
            f"  loss {position.loss_sum / position.seen:.3f}"
            f"  {position.waited / max(position.seconds, 1e-9):.1%} waiting for data"
        )

    def _learning_rate(self) -> float:
        config = self.config
        return learning_rate(
            config.optim, self.position.scheduled, self.batches.steps_per_epoch, config.train.epochs
        )

    def _freeze(self) -> None:
        """Keep the encoder from learning in the first epochs, where the config says so."""
        config = self.config.optim
        if config.frozen_epochs:
            frozen = is_encoder_frozen(config, self.position.scheduled, self.batches.steps_per_epoch)
            freeze_encoder(self.network, frozen)

    def _finish_epoch(self) -> None:
        position, train = self.position, self.config.train
        network = self.network if self.average is None else self.average.module
        began = time.monotonic()
        figures = self.validate(network)
        took = self.devices.gather(time.monotonic() - began)[0]
        position.validation_seconds += took
        selected = figures[train.selection] * (-1 if train.selection == "nll" else 1)
        # The first epoch is kept whatever it is, so that a run always has weights.
        better = position.best_epoch == 0 or selected > position.best or math.isnan(position.best)
        if better:
            position.best = selected
            position.best_epoch = position.epoch + 1
            if self.devices.is_first:
                write_tensors(self.run / BEST, network.state_dict())
                # What was scored of an earlier checkpoint is no longer true of this one.
                shutil.rmtree(self.run / EVALUATION, ignore_errors=True)
        entry = history_entry(
            position,
            figures,
            lr=self._learning_rate(),
            kept=better,
            validation_seconds=took,
        )
        position.history.append(entry)
        entry["last"] = position.epoch + 1 == train.epochs or self.budget.is_spent(
            replace(position, epoch=position.epoch + 1, step=0)
        )
        self.position = replace(position, epoch=position.epoch + 1, step=0, loss_sum=0.0, correct=0, seen=0)
        self._save()
        if self.devices.is_first:
            write_tensorboard(self.run, entry)
        self.reporter.say(epoch_line(self.position.history, train.epochs, self.budget.left(self.position)))

    def _save(self) -> None:
        if not self.devices.is_first:
            return
        self.position.loss_scale = self.step.loss_scale.state()
        save_state(self.run / LAST, self.position, self.network, self.average, self.step.optimizer)
        write_history(self.run, self.position.history)


def _running_average(model: nn.Module, decay: float) -> ModelEmaV3:
    """An average whose decay grows as t / (9 + t) until it is `decay`, so that the first weights, which have
    learned nothing, are forgotten (as in TensorFlow's ExponentialMovingAverage)."""
    return ModelEmaV3(model, decay=decay, use_warmup=True, warmup_gamma=9.0, warmup_power=1.0)
