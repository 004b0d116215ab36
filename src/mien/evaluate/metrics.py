"""Figures for a named label set: what was asked, of how many images, how good, how sure.

Precision, recall, F1 and the confusion matrix are scikit-learn's. Weighted recall equals accuracy on one set
of images; the paper's Table 2 prints different numbers for the two (see docs/paper-map.md). Further metrics
are those of `mien.evaluate.further_metrics`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import log_softmax, rel_entr  # type: ignore[import-untyped]
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from mien.errors import InputError
from mien.evaluate.further_metrics import further_metrics
from mien.evaluate.resamples import Resamples
from mien.labels import class_view

RESAMPLES = 2000
"""Bootstrap resamples of an interval."""


@dataclass(frozen=True)
class InView:
    """What a label view leaves of N images and K classes: M images and L classes; all arrays are aligned."""

    names: tuple[str, ...]
    """The L class names, in the order of the model's."""
    rows: npt.NDArray[np.int64]
    """int64 [M], the images that are left, as rows of what went in."""
    labels: npt.NDArray[np.int64]
    """int64 [M], index into `names`."""
    logits: npt.NDArray[np.float64]
    """float64 [M, L], those of the classes in view: what masking the others leaves of a softmax."""
    votes: npt.NDArray[np.float64] | None
    """float64 [M, L], not normalised; a row may be all zeros."""


def in_view(
    logits: npt.NDArray[np.floating],
    labels: npt.NDArray[np.integer],
    names: Sequence[str],
    *,
    view: str | Sequence[str] = "all",
    votes: npt.NDArray[np.floating] | None = None,
) -> InView:
    """Leave out the images of other classes and mask their logits (section 3.7).

    Args:
        logits: float [N, K], finite.
        labels: int [N], index into `names`.
        names: the K class names.
        view: `all`, `7` or names.
        votes: float [N, K], 0 or more, where there are any.

    Raises:
        InputError: shapes that do not fit, a label out of range, a logit that is not finite, a vote that is
            negative or not finite, or no image that is left in the view.
    """
    check_predictions(logits, labels)
    if logits.shape[1] != len(names):
        raise InputError(
            f"there are {logits.shape[1]} logits an image but {len(names)} class names; "
            "name the model's classes."
        )
    if votes is not None:
        check_votes(votes, logits)
    kept_names = class_view(names, view)
    columns = np.array([list(names).index(name) for name in kept_names])
    position = np.full(len(names), -1)
    position[columns] = np.arange(len(columns))
    rows = np.flatnonzero(position[labels] >= 0).astype(np.int64)
    if not len(rows):
        raise InputError(f"label view {view!r}: no image of {', '.join(kept_names)} is in this split.")
    return InView(
        names=kept_names,
        rows=rows,
        labels=position[labels[rows]],
        logits=logits[rows][:, columns].astype(np.float64),
        votes=None if votes is None else votes[rows][:, columns].astype(np.float64),
    )


def check_predictions(logits: npt.NDArray[np.floating], labels: npt.NDArray[np.integer]) -> None:
    """Refuse what no figure can be made of.

    Args:
        logits: float [N, K].
        labels: int [N], 0 to K - 1.

    Raises:
        InputError: shapes that do not fit, no image, a label out of range, or a logit that is not finite.
    """
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or not logits.shape[1]:
        raise InputError(
            f"logits {list(logits.shape)} and labels {list(labels.shape)} do not fit; give [N, K] and [N]."
        )
    if not len(labels):
        raise InputError("there is no image to evaluate; take a split that has some.")
    if labels.min() < 0 or labels.max() >= logits.shape[1]:
        raise InputError(
            f"labels run from {labels.min()} to {labels.max()}, but there are {logits.shape[1]} classes."
        )
    finite = np.isfinite(logits).all(axis=1)
    if not finite.all():
        raise InputError(
            f"the logits of {int((~finite).sum())} of {len(finite)} images are not finite, the first in row "
            f"{int(np.flatnonzero(~finite)[0])}; look at the model's weights and input."
        )


def check_votes(votes: npt.NDArray[np.floating], logits: npt.NDArray[np.floating]) -> None:
    """Refuse votes that do not fit their logits; both are float [N, K].

    Raises:
        InputError: another shape, or a vote that is negative or not finite.
    """
    if votes.shape != logits.shape:
        raise InputError(
            f"votes {list(votes.shape)} do not fit logits {list(logits.shape)}; give one row an image."
        )
    if not (np.isfinite(votes).all() and (votes >= 0).all()):
        raise InputError("the votes hold a number that is negative or not finite; prepare the data again.")


def score(
    logits: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64],
    names: Sequence[str],
    *,
    view: str = "all",
    votes: npt.NDArray[np.float32] | None = None,
) -> dict[str, Any]:
    """All figures of one set of predictions.

    A class that no image has, or that is never predicted, counts as 0 in the macro figures. Of equal logits
    the first class is predicted.

    Args:
        logits: float32 [N, K].
        labels: int64 [N], index into `names`.
        names: the K class names.
        view: `all`, `7` or names; images of other classes are left out and their logits masked (section 3.7).
        votes: float32 [N, K] soft labels, where there are any.

    Returns:
        JSON-ready figures: view, labels, count, accuracy with a 95 % bootstrap interval, macro and weighted
        precision, recall and F1, the same per class with counts, every further metric by its name (None
        where it has no meaning), confusion (rows truth, columns prediction), mean negative log-likelihood in
        nats, and the mean Kullback-Leibler divergence from the votes in nats over the images that have votes
        in the view (without the key where none has).

    Raises:
        InputError: see `in_view`.
    """
    seen = in_view(logits, labels, names, view=view, votes=votes)
    log_probabilities = log_softmax(seen.logits, axis=1)
    truth, predicted = seen.labels, log_probabilities.argmax(1)
    figures: dict[str, Any] = {
        "view": view,
        "labels": list(seen.names),
        "count": len(truth),
        "accuracy": float((truth == predicted).mean()),
        "accuracy_interval": _bootstrap_interval(truth == predicted),
        "nll": float(-log_probabilities[np.arange(len(truth)), truth].mean()),
    }
    figures |= _class_figures(truth, predicted, seen.names)
    confusion = confusion_matrix(truth, predicted, labels=np.arange(len(seen.names)))
    figures |= _further_figures(truth, log_probabilities, confusion)
    figures["confusion"] = confusion.tolist()
    if seen.votes is not None and seen.votes.any():
        figures["kl_to_votes"] = _divergence(seen.votes, log_probabilities)
    return figures


def _class_figures(
    truth: npt.NDArray[np.int64], predicted: npt.NDArray[np.int64], names: Sequence[str]
) -> dict[str, Any]:
    """Precision, recall and F1: macro, weighted by class size, and of each class with its count."""
    classes = np.arange(len(names))
    figures: dict[str, Any] = {}
    for average in ("macro", "weighted"):
        p, r, f, _ = precision_recall_fscore_support(
            truth, predicted, labels=classes, average=average, zero_division=0
        )
        figures |= {
            f"{average}_precision": float(p),
            f"{average}_recall": float(r),
            f"{average}_f1": float(f),
        }
    per_class = precision_recall_fscore_support(truth, predicted, labels=classes, zero_division=0)
    figures["per_class"] = {
        name: {"precision": float(p), "recall": float(r), "f1": float(f), "count": int(n)}
        for name, p, r, f, n in zip(names, *per_class, strict=True)
    }
    return figures


def _further_figures(
    truth: npt.NDArray[np.int64],
    log_probabilities: npt.NDArray[np.float64],
    confusion: npt.NDArray[np.integer],
) -> dict[str, float | None]:
    once = Resamples(truth, log_probabilities, np.ones((1, len(truth))), confusion[None].astype(np.float64))
    values = {name: float(metric.value(once)[0]) for name, metric in further_metrics().items()}
    return {name: None if np.isnan(value) else value for name, value in values.items()}


def _bootstrap_interval(correct: npt.NDArray[np.bool_]) -> list[float]:
    # The mean of a resample of 0s and 1s is a binomial draw: the same distribution without the resampling.
    draws = np.random.default_rng(0).binomial(len(correct), correct.mean(), RESAMPLES) / len(correct)
    low, high = np.quantile(draws, [0.025, 0.975])
    return [float(low), float(high)]


def _divergence(votes: npt.NDArray[np.float64], log_probabilities: npt.NDArray[np.float64]) -> float:
    voted = votes.sum(1) > 0
    shares = votes[voted] / votes[voted].sum(1, keepdims=True)
    # rel_entr(p, 1) is p log p with 0 at p = 0; the model's logarithms stay as they are, however small.
    return float((rel_entr(shares, 1.0) - shares * log_probabilities[voted]).sum(1).mean())
