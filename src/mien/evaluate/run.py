"""`mien evaluate`: a model on one split, in fp32."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mien.data.prepared import Prepared, load_prepared
from mien.data.targets import Targets
from mien.evaluate.evaluated_model import EvaluatedFolder
from mien.evaluate.metrics import score
from mien.evaluate.models import EvaluatedModel, LabelMatch, LogProbabilities, match_labels
from mien.evaluate.predict import evaluation_device
from mien.evaluate.split import (
    SplitPredictions,
    predict_split,
    score_split,
    split_targets,
    write_evaluation,
)
from mien.files import path_from
from mien.models.build import parameter_count
from mien.models.saved import SavedRun, read_run

FACES_AT_ONCE = 4096
"""A split that does not fit into memory is read in such parts."""


def evaluate_run(
    run: Path, data: Path | None = None, *, split: str = "test", views: Sequence[str] | None = None
) -> list[dict[str, Any]]:
    """Score the checkpoint that validation chose, on its logits as they are: at temperature 1.

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
    model: EvaluatedModel,
    data: Path,
    *,
    split: str = "test",
    target: str | None = None,
    views: Sequence[str] | None = None,
    out: Path | None = None,
) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    """Score any model on a split of a prepared folder, by the classes that both have.

    Args:
        model: what `mien.evaluate.models.open_model` opened.
        data: a prepared folder.
        split: `train`, `validation` or `test`.
        target: whose labels count, such as `fer2013`; none takes the prepared folder's own.
        views: label views; none takes all shared classes, and the 7-class view where both have it.
        out: where to write `mien.evaluate.evaluated_model.EvaluatedFolder` and what a run has in
            `evaluation/`, so that a report can be made; the logits in it are log-probabilities. None writes
            nothing.

    Returns:
        Figures, one entry a view, and sentences about classes that only one of the two has.

    Raises:
        InputError: model or data cannot be used, the split is empty, they do not share the view's classes, or
            `out` holds something else.
    """
    prepared = load_prepared(data)
    targets = split_targets(prepared, target, split, ())
    match = match_labels(model.labels, targets.classes, model=model.name)
    manifest_hash = prepared.manifest.hash()
    known = {
        name: names for name, names in prepared.manifest.info.views.items() if set(names) <= set(match.names)
    }
    folder = None
    if out is not None:
        folder = _folder(model, out, data, targets, match, known, manifest_hash)
        folder.check()
    answers = np.concatenate([model.log_probabilities(faces) for faces in faces_of(prepared, targets)])
    made = {"manifest_hash": manifest_hash, "split": split, "rule": targets.rule}
    figures: dict[str, dict[str, Any]] = {}
    sentences: list[str] = []
    own = ["all", *known]
    for view in dict.fromkeys([*(own if folder else ()), *(views or own)]):
        matched = match_labels(model.labels, targets.classes, view=view, model=model.name)
        seen = _seen(matched, answers, targets)
        votes = seen.votes if targets.has_votes else None
        scored = score(seen.logits, seen.labels, matched.names, votes=votes)
        figures[view] = {**made, **scored, "view": view}
        if view in (views or own):
            sentences += matched.sentences(model.name)
    if folder is not None:
        write_evaluation(folder.folder, _seen(match, answers, targets), [figures[view] for view in own])
        folder.write()
    return [figures[view] for view in views or own], tuple(dict.fromkeys(sentences))


def _folder(
    model: EvaluatedModel,
    out: Path,
    data: Path,
    targets: Targets,
    match: LabelMatch,
    views: Mapping[str, tuple[str, ...]],
    manifest_hash: str,
) -> EvaluatedFolder:
    return EvaluatedFolder(
        folder=out,
        name=model.name,
        kind=model.kind,
        spec=model.spec,
        labels=match.names,
        views=views,
        target=targets.name,
        rule=targets.rule,
        sets=tuple(sorted(set(targets.sets))),
        data=path_from(out, data),
        manifest_hash=manifest_hash,
        weights_sha256=model.weights_sha256,
        parameters=None if model.network is None else parameter_count(model.network),
        card=None if model.card is None else model.card.to_dict(),
    )


def _seen(match: LabelMatch, answers: LogProbabilities, targets: Targets) -> SplitPredictions:
    """The rows whose class the model knows, with log-probabilities over the shared classes."""
    rows, labels = match.labels(targets.labels)
    columns = [targets.classes.index(name) for name in match.names]
    return SplitPredictions(
        split=str(targets.splits[0]),
        labels=labels,
        votes=targets.soft[rows][:, columns],
        logits=match.log_probabilities(answers[rows]),
        pack_rows=targets.pack_rows[rows],
    )


def faces_of(prepared: Prepared, targets: Targets) -> Iterator[npt.NDArray[np.uint8]]:
    """A split's faces, uint8 [n, H, W, C], a part at a time."""
    for start in range(0, len(targets), FACES_AT_ONCE):
        rows = targets.pack_rows[start : start + FACES_AT_ONCE]
        yield np.ascontiguousarray(prepared.pack[rows].transpose(0, 2, 3, 1))
