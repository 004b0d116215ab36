"""What a run says of its epochs: history.jsonl, a line on the screen, TensorBoard where it is installed."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mien.files import write_text
from mien.models.saved import HISTORY
from mien.train.checkpoint import Position

TENSORBOARD = "tensorboard"
"""The folder of TensorBoard's event files in a run's folder."""


def history_entry(
    position: Position,
    figures: dict[str, Any],
    *,
    lr: float,
    kept: bool,
    validation_seconds: float,
) -> dict[str, Any]:
    """One line of history.jsonl.

    Args:
        position: at the end of the epoch. Its times count from the start of the run.
        figures: of the validation split.
        lr: the rate of the epoch's last step.
        kept: whether this epoch's weights are the best so far.
        validation_seconds: what the validation took.
    """
    return {
        "epoch": position.epoch + 1,
        "lr": lr,
        "train_loss": position.loss_sum / position.seen,
        "train_accuracy": position.correct / position.seen,
        "images": position.seen,
        "seconds": round(position.seconds, 2),
        "data_wait_seconds": round(position.waited, 2),
        "augment_seconds": round(position.augmented, 2),
        "validation_seconds": round(validation_seconds, 1),
        "validation": {k: v for k, v in figures.items() if isinstance(v, float)},
        "kept": kept,
    }


def write_history(run: Path, history: list[dict[str, Any]]) -> None:
    """Write history.jsonl from the checkpoint's own list, so that a resumed run never repeats or loses an
    epoch."""
    write_text(run / HISTORY, "".join(json.dumps(entry) + "\n" for entry in history))


def epoch_line(history: list[dict[str, Any]], epochs: int, budget_left: float | None) -> str:
    """The last epoch in one line.

    Args:
        history: entries with `last`, which says whether the run ends with them.
        epochs: of the config.
        budget_left: seconds; None without a budget.
    """
    entry, before = history[-1], history[-2] if len(history) > 1 else None
    seconds = max(entry["seconds"] - (before["seconds"] if before else 0.0), 1e-9)
    waited = entry["data_wait_seconds"] - (before["data_wait_seconds"] if before else 0.0)
    validation = entry["validation"]
    a_epoch = (entry["seconds"] + sum(e["validation_seconds"] for e in history)) / len(history)
    left = 0.0 if entry["last"] else a_epoch * (epochs - entry["epoch"])
    left = left if budget_left is None else max(0.0, min(left, budget_left))
    return (
        f"epoch {entry['epoch']:>3}/{epochs}  train loss {entry['train_loss']:.3f}"
        f"  accuracy {entry['train_accuracy']:.1%}"
        f"  | validation accuracy {validation['accuracy']:.2%}  macro recall {validation['macro_recall']:.2%}"
        f"{'  kept' if entry['kept'] else '      '}"
        f"  | {entry['images'] / seconds:,.0f} images/s  {waited / seconds:.1%} waiting for data"
        f"  ETA {int(left // 60)}:{int(left % 60):02d}"
    )


def write_tensorboard(run: Path, entry: dict[str, Any]) -> None:
    """Add one epoch to the run's TensorBoard, where that is installed."""
    if find_spec("tensorboard") is None:
        return
    from torch.utils.tensorboard import SummaryWriter

    scalars = {f"train/{name.removeprefix('train_')}": entry[name] for name in ("lr", "train_loss")}
    scalars["train/accuracy"] = entry["train_accuracy"]
    scalars |= {f"validation/{name}": value for name, value in entry["validation"].items()}
    # What a run that was killed after this epoch's checkpoint wrote of later ones is hidden.
    with SummaryWriter(str(run / TENSORBOARD), purge_step=entry["epoch"]) as writer:
        for name, value in scalars.items():
            writer.add_scalar(name, value, entry["epoch"])
