"""`mien evaluate`: a model on one split, in fp32."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mien.data.prepared import Prepared, load_prepared
from mien.data.targets import Targets
from mien.evaluate.metrics import score
from mien.evaluate.models import match_labels, open_model
from mien.evaluate.predict import evaluation_device
from mien.evaluate.split import predict_split, score_split, split_targets, write_evaluation
from mien.models.saved import SavedRun, read_run

FACES_AT_ONCE = 4096
"""A split that does not fit into memory is read in such parts."""


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


def evaluate_model(
    spec: str,
    data: Path,
    *,
    split: str = "test",
    target: str | None = None,
    views: Sequence[str] | None = None,
) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    """Score any model on a split of a prepared folder; nothing is written.

    Args:
        spec: see `mien.evaluate.models.open_model`.
        data: a prepared folder.
        split: `train`, `validation` or `test`.
        target: whose labels count, such as `fer2013`; none takes the prepared folder's own.
        views: label views; none takes all classes that model and data share.

    Returns:
        Figures, one entry a view, and sentences about classes that only one of the two has.

    Raises:
        InputError: model or data cannot be used, the split is empty, or they do not share the view's classes.
    """
    model, prepared = open_model(spec), load_prepared(data)
    targets = split_targets(prepared, target, split, ())
    answers = np.concatenate([model.log_probabilities(faces) for faces in _faces(prepared, targets)])
    made = {"manifest_hash": prepared.manifest.hash(), "split": split, "rule": targets.rule}
    figures: list[dict[str, Any]] = []
    sentences: list[str] = []
    for view in views or ["all"]:
        match = match_labels(model.labels, targets.classes, view=view, model=model.name)
        rows, labels = match.labels(targets.labels)
        columns = [targets.classes.index(name) for name in match.names]
        scored = score(
            match.log_probabilities(answers[rows]),
            labels,
            match.names,
            votes=targets.soft[rows][:, columns] if targets.has_votes else None,
        )
        figures.append({**made, **scored, "view": view})
        sentences += match.sentences(model.name)
    return figures, tuple(dict.fromkeys(sentences))


def _faces(prepared: Prepared, targets: Targets) -> Iterator[npt.NDArray[np.uint8]]:
    """The split's faces, uint8 [n, H, W, C], a part at a time."""
    for start in range(0, len(targets), FACES_AT_ONCE):
        rows = targets.pack_rows[start : start + FACES_AT_ONCE]
        yield np.ascontiguousarray(prepared.pack[rows].transpose(0, 2, 3, 1))
