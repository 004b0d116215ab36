"""Evaluating one split of a prepared folder: logits, figures, and the small files that later comparisons
need."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file, save
from torch import nn

from mien.config import ModelConfig
from mien.data.prepared import Prepared
from mien.data.targets import Targets
from mien.errors import InputError
from mien.evaluate.metrics import score
from mien.evaluate.predict import predict_logits
from mien.files import replacing, write_json
from mien.models.saved import EVALUATION


@dataclass(frozen=True)
class SplitPredictions:
    """One split's truth and logits; the M rows are in the manifest's order."""

    split: str
    labels: npt.NDArray[np.int64]
    """int64 [M], index into the class names."""
    votes: npt.NDArray[np.float32]
    """float32 [M, K], soft labels."""
    logits: npt.NDArray[np.float32]
    """float32 [M, K]."""
    pack_rows: npt.NDArray[np.int64]
    """int64 [M], each row's face in the pack."""


def split_targets(prepared: Prepared, target: str | None, split: str, labels: tuple[str, ...]) -> Targets:
    """The rows of one split under a target.

    Args:
        prepared: the data.
        target: what is learned; none takes the prepared folder's own.
        split: `train`, `validation` or `test`.
        labels: the model's class names; empty accepts the data's.

    Raises:
        InputError: no image of the split has such a label, or the data's classes are not the model's.
    """
    targets = prepared.manifest.target(target).only(split)
    if labels and targets.classes != labels:
        raise InputError(
            f"the data's classes are {', '.join(targets.classes)}, the model's are {', '.join(labels)}; "
            "evaluate on data that was prepared with the model's labels."
        )
    if len(targets) == 0:
        raise InputError(
            f"split {split!r} has no image with a {targets.name} label; prepare data that has one."
        )
    return targets


def predict_split(
    model: nn.Module, pack: npt.NDArray[np.uint8], targets: Targets, config: ModelConfig
) -> SplitPredictions:
    """Run a model on the rows of one split.

    Args:
        model: normalised faces -> logits.
        pack: uint8 [N, C, H, W].
        targets: one split's rows.
        config: the model's input.
    """
    return split_predictions(targets, predict_logits(model, pack, targets.pack_rows, config))


def split_predictions(targets: Targets, logits: npt.NDArray[np.float32]) -> SplitPredictions:
    """Predictions from logits, float32 [M, K], of all of one split's rows."""
    return SplitPredictions(str(targets.splits[0]), targets.labels, targets.soft, logits, targets.pack_rows)


def score_split(
    predictions: SplitPredictions, targets: Targets, manifest_hash: str, *, view: str = "all"
) -> dict[str, Any]:
    """Figures of one split, with what they are worth: data, split, rule for ambiguous images, labels."""
    figures = score(
        predictions.logits,
        predictions.labels,
        targets.classes,
        view=view,
        votes=predictions.votes if targets.has_votes else None,
    )
    return {
        "manifest_hash": manifest_hash,
        "split": predictions.split,
        "rule": targets.rule,
        **figures,
    }


def write_evaluation(run: Path, predictions: SplitPredictions, figures: list[dict[str, Any]]) -> None:
    """Write `evaluation/<split>.json` and `evaluation/<split>.safetensors` (labels, rows, logits as fp16).

    Half precision keeps the file small enough to be committed beside a lab log; the figures come from fp32.
    """
    folder = run / EVALUATION
    with replacing(folder / f"{predictions.split}.safetensors") as temporary:
        temporary.write_bytes(
            save(
                {
                    "labels": predictions.labels.astype(
                        np.uint8 if predictions.logits.shape[1] < 256 else np.int64
                    ),
                    "pack_rows": predictions.pack_rows.astype(np.int32),
                    # safetensors writes an array's memory as it lies, whatever the order of its axes.
                    "logits": np.ascontiguousarray(predictions.logits, dtype=np.float16),
                }
            )
        )
    write_json(folder / f"{predictions.split}.json", figures)


def read_evaluation(run: Path, split: str) -> list[dict[str, Any]] | None:
    """The figures that `write_evaluation` wrote, one entry a label view, or None where there are none."""
    path = run / EVALUATION / f"{split}.json"
    if not path.is_file():
        return None
    figures: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return figures


def read_logits(run: Path, split: str) -> dict[str, npt.NDArray[Any]]:
    """`labels` [M], `pack_rows` [M] and `logits` float16 [M, K] of an evaluated split.

    Raises:
        InputError: the split was not evaluated.
    """
    path = run / EVALUATION / f"{split}.safetensors"
    if not path.is_file():
        raise InputError(f"{path}: the split was not evaluated; run mien evaluate {run} --split {split}.")
    tensors: dict[str, npt.NDArray[Any]] = load_file(path)
    return tensors
