"""`mien evaluate`: a run's checkpoint on one split, in fp32."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mien.data.prepared import Prepared, load_prepared
from mien.evaluate.predict import evaluation_device
from mien.evaluate.split import predict_split, score_split, split_targets, write_evaluation
from mien.models.saved import SavedRun, read_run


def evaluate_run(
    run: Path, data: Path | None = None, *, split: str = "test", views: Sequence[str] | None = None
) -> list[dict[str, Any]]:
    """Score the checkpoint that validation chose.

    Args:
        run: a run's folder.
        data: a prepared folder; none takes the one that the run was trained on.
        split: `train`, `validation` or `test`.
        views: label views to score; none takes all classes, and the 7-class view where the run has one.

    Returns:
        Figures, one entry a wanted view. All classes, and the 7-class view where there is one, are written to
        the run's `evaluation/`, unless the data is not what it was trained on.

    Raises:
        InputError: run or data cannot be used, or the split is empty.
    """
    saved = read_run(run)
    return evaluate_saved(saved, load_prepared(data or saved.data), split=split, views=views)


def evaluate_saved(
    saved: SavedRun, prepared: Prepared, *, split: str, views: Sequence[str] | None = None
) -> list[dict[str, Any]]:
    """As `evaluate_run`, of a run and data that are open already.

    Args:
        saved: the run.
        prepared: the data.
        split: `train`, `validation` or `test`.
        views: see `evaluate_run`.
    """
    manifest_hash = prepared.manifest.hash()
    targets = split_targets(prepared, saved.config.training_set.target, split, saved.labels)
    model = saved.model().to(evaluation_device())
    predictions = predict_split(model, prepared.pack, targets, saved.config.model)
    own = ["all", *saved.record["views"]]
    figures = {
        view: score_split(predictions, targets, manifest_hash, view=view)
        for view in dict.fromkeys([*own, *(views or [])])
    }
    if manifest_hash == saved.record["manifest_hash"]:
        write_evaluation(saved.folder, predictions, [figures[view] for view in own])
    return [figures[view] for view in views or own]
