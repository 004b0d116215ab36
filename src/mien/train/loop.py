"""The training loop: the same `optimizer.step(closure)` for SGD, AdamW and SAM (section 3.6).

Everything random in a step (order, augmentation, stochastic depth) is drawn from (seed, step), so a run that
was stopped anywhere continues as if it had not been.
"""

from __future__ import annotations

import json
import logging
import shutil
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from mien.config import LoopConfig, RunConfig
from mien.data.augment import augment_faces, mix_up
from mien.data.dataset import Batch, TrainingBatches
from mien.errors import TrainingDiverged
from mien.files import write_text
from mien.models.saved import EVALUATION, HISTORY
from mien.models.weights import BEST
from mien.progress import Bar, Reporter
from mien.train.checkpoint import LAST, Position, load_state, save_state, write_tensors
from mien.train.optim import (
    build_optimizer,
    freeze_encoder,
    is_encoder_frozen,
    learning_rate,
    set_learning_rate,
)

CHECKPOINT_SECONDS = 300.0
"""Longest time between two checkpoints within an epoch."""

Validate = Callable[[nn.Module], dict[str, Any]]


def autocast_precision(config: LoopConfig) -> str:
    """Fabric's name of the arithmetic that `precision` means on this machine: `32-true` or `bf16-mixed`."""
    if config.precision == "auto":
        if torch.cuda.is_available():
            # Emulated bf16, as on a T4, is slower than fp32.
            has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        else:
            capabilities = torch.cpu.get_capabilities()
            has_bf16 = bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
        return "bf16-mixed" if has_bf16 else "32-true"
    return {"fp32": "32-true", "bf16": "bf16-mixed"}[config.precision]


class TrainingLoop:
    """One run's loop.

    Args:
        model: the network, on the CPU.
        batches: the training split.
        config: the whole run's config.
        run: the run's folder; checkpoint, best weights and history are written there.
        validate: network -> figures of the validation split, in fp32; the selection figure is among them.
        reporter: where progress goes.
    """

    def __init__(
        self,
        model: nn.Module,
        batches: TrainingBatches,
        config: RunConfig,
        run: Path,
        *,
        validate: Validate,
        reporter: Reporter,
    ) -> None:
        self.config, self.batches, self.run = config, batches, run
        self.validate, self.reporter = validate, reporter
        if config.train.threads:
            torch.set_num_threads(config.train.threads)
        # Fabric announces its precision on every start; run.json holds it.
        logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
        self.fabric = Fabric(accelerator="auto", devices=1, precision=autocast_precision(config.train))
        self.network = model
        self.model = self.fabric.setup_module(model)
        self.average = (
            ModelEmaV3(model, decay=config.train.ema, use_warmup=True) if config.train.ema else None
        )
        self.sam = build_optimizer(model, config.optim)
        self.optimizer = self.fabric.setup_optimizers(self.sam)
        self.generator = torch.Generator()
        self.position = Position()
        self.log_prior = torch.from_numpy(np.log(batches.prior.clip(1e-6))).float().to(self.fabric.device)

    def resume(self) -> None:
        """Continue from the run's last checkpoint.

        Raises:
            CheckpointError: there is none, or it does not fit.
        """
        self.position = load_state(self.run / LAST, self.network, self.average, self.sam)

    def fit(self) -> Position:
        """Train to the last epoch.

        Raises:
            TrainingDiverged: loss or gradient is not finite.
            KeyboardInterrupt: Ctrl-C; the step was finished and a checkpoint written.
            OSError: a file could not be written.
        """
        epochs = self.config.train.epochs
        images = self.batches.steps_per_epoch * self.batches.batch_size
        finished = self.position.epoch * self.batches.steps_per_epoch + self.position.step
        done = finished * self.batches.batch_size
        with self.reporter.bar("training", epochs * images, done=done) as bar, _InterruptFlag() as interrupt:
            while self.position.epoch < epochs:
                self._epoch(bar, interrupt)
                self._finish_epoch()
                if interrupt.raised:
                    interrupt.end(self.run)
        return self.position

    def _epoch(self, bar: Bar, interrupt: _InterruptFlag) -> None:
        position, epochs = self.position, self.config.train.epochs
        order = self.batches.order(position.epoch)
        self.model.train()
        saved = time.monotonic()
        while position.step < self.batches.steps_per_epoch:
            began = time.monotonic()
            self._freeze()
            loss, correct, count = self._step(order[position.step])
            position.step += 1
            position.loss_sum += loss * count
            position.correct += correct
            position.seen += count
            now = time.monotonic()
            position.seconds += now - began
            bar.advance(
                count, f"epoch {position.epoch + 1}/{epochs}  loss {position.loss_sum / position.seen:.3f}"
            )
            # Read once: a Ctrl-C after this line is the next step's, which saves before it ends.
            stopped = interrupt.raised
            if stopped or now - saved > CHECKPOINT_SECONDS:
                self._save()
                saved = now
            if stopped:
                interrupt.end(self.run)

    def _freeze(self) -> None:
        """Keep the encoder from learning in the first epochs, where the config says so."""
        config, steps = self.config.optim, self.batches.steps_per_epoch
        if config.frozen_epochs:
            step = self.position.epoch * steps + self.position.step
            freeze_encoder(self.network, is_encoder_frozen(config, step, steps))

    def _step(self, positions: np.ndarray[Any, np.dtype[np.int64]]) -> tuple[float, int, int]:
        position, config = self.position, self.config
        step = position.epoch * self.batches.steps_per_epoch + position.step
        rate = self._learning_rate(step)
        set_learning_rate(self.sam, rate)
        seed = np.random.SeedSequence((config.train.seed, step)).generate_state(2, np.uint64)
        torch.manual_seed(int(seed[0] >> np.uint64(1)))
        self.generator.manual_seed(int(seed[1] >> np.uint64(1)))
        batch = self.batches.batch(positions)
        x, targets = self._input(batch)
        hits: list[Tensor] = []

        def closure(rows: Tensor | None = None, *, backward: bool = True) -> Tensor:
            faces, wanted = (x, targets) if rows is None else (x[rows], targets[rows])
            logits, losses, own_loss = self._losses(faces, wanted)
            if not hits:
                hits.append((logits.detach().argmax(1) == wanted.argmax(1)).sum())
            if backward:
                self.optimizer.zero_grad()
                self.fabric.backward(losses.mean() + own_loss)
            return losses.detach()

        try:
            loss = float(self.optimizer.step(closure))
        except FloatingPointError:
            loss = float("nan")
        if not np.isfinite(loss):
            rows = ", ".join(map(str, batch.rows[:8])) + (", ..." if len(batch.rows) > 8 else "")
            raise TrainingDiverged(
                f"loss or gradient is not finite at step {step} of the run, in epoch {position.epoch + 1} "
                f"(learning rate {rate:.3g}, rows {rows} "
                "of the pack); lower optim.lr or set optim.clip_norm."
            )
        if self.average is not None:
            self.average.update(self.network, step=step)
        return loss, int(hits[0]), len(batch.rows)

    def _losses(self, x: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor | float]:
        """Logits [B, K], each image's cross-entropy [B], and what the network itself adds to the mean."""
        own_loss: Tensor | float = 0.0
        if getattr(self.network, "has_own_loss", False):
            logits, own_loss = self.model(x, targets)
        else:
            logits = self.model(x)
        adjusted = logits
        if self.config.training_set.balance == "logit_adjustment":
            adjusted = logits + self.log_prior
        smoothing = self.config.train.label_smoothing
        return (
            logits,
            F.cross_entropy(adjusted, targets, reduction="none", label_smoothing=smoothing),
            own_loss,
        )

    def _learning_rate(self, step: int) -> float:
        return learning_rate(self.config.optim, step, self.batches.steps_per_epoch, self.config.train.epochs)

    def _input(self, batch: Batch) -> tuple[Tensor, Tensor]:
        device = self.fabric.device
        faces, config = batch.faces.to(device), self.config
        x = augment_faces(faces, config.augment, config.model, self.generator, batch.rotated)
        targets = batch.targets.to(device)
        if config.augment.mixup > 0:
            x, targets = mix_up(x, targets, config.augment.mixup, self.generator)
        return x, targets

    def _finish_epoch(self) -> None:
        position, config = self.position, self.config
        network = self.network if self.average is None else self.average.module
        began = time.monotonic()
        figures = self.validate(network)
        selected = figures[config.train.selection] * (-1 if config.train.selection == "nll" else 1)
        # The first epoch is kept whatever it is, so that a run always has weights.
        better = position.best_epoch == 0 or selected > position.best
        if better:
            position.best = selected
            position.best_epoch = position.epoch + 1
            write_tensors(self.run / BEST, network.state_dict())
            # What was scored of an earlier checkpoint is no longer true of this one.
            shutil.rmtree(self.run / EVALUATION, ignore_errors=True)
        entry = {
            "epoch": position.epoch + 1,
            "lr": self._learning_rate((position.epoch + 1) * self.batches.steps_per_epoch - 1),
            "train_loss": position.loss_sum / position.seen,
            "train_accuracy": position.correct / position.seen,
            "seconds": round(position.seconds, 1),
            "validation_seconds": round(time.monotonic() - began, 1),
            "validation": {k: v for k, v in figures.items() if isinstance(v, float)},
            "kept": better,
        }
        position.history.append(entry)
        self.position = replace(position, epoch=position.epoch + 1, step=0, loss_sum=0.0, correct=0, seen=0)
        self._save()
        self.reporter.say(_epoch_line(entry, config.train.epochs))

    def _save(self) -> None:
        save_state(self.run / LAST, self.position, self.network, self.average, self.sam)
        write_history(self.run, self.position.history)


def write_history(run: Path, history: list[dict[str, Any]]) -> None:
    """Write history.jsonl from the checkpoint's own list, so that a resumed run never repeats or loses an
    epoch."""
    write_text(run / HISTORY, "".join(json.dumps(entry) + "\n" for entry in history))


def _epoch_line(entry: dict[str, Any], epochs: int) -> str:
    validation = entry["validation"]
    left = entry["seconds"] / entry["epoch"] * (epochs - entry["epoch"])
    return (
        f"epoch {entry['epoch']:>3}/{epochs}  train loss {entry['train_loss']:.3f}"
        f"  accuracy {entry['train_accuracy']:.1%}"
        f"  | validation accuracy {validation['accuracy']:.2%}  macro recall {validation['macro_recall']:.2%}"
        f"{'  kept' if entry['kept'] else '      '}  ETA {int(left // 60)}:{int(left % 60):02d}"
    )


class _InterruptFlag:
    """Remembers the first Ctrl-C, so that a step is finished and saved; the second one ends at once."""

    def __init__(self) -> None:
        self.raised = False
        self._previous: Any = None

    def __enter__(self) -> _InterruptFlag:
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGINT, self._remember)
        return self

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if self.raised:
            raise KeyboardInterrupt
        self.raised = True

    def end(self, run: Path) -> None:
        """Raise KeyboardInterrupt, with the command that continues; a checkpoint has just been written."""
        raise KeyboardInterrupt(f"stopped; continue with: mien train --resume {run}")

    def __exit__(self, *_: object) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)
