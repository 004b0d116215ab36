"""Figures for a named label set: what was asked, of how many images, how good, how sure.

Precision, recall, F1 and the confusion matrix are scikit-learn's. Weighted recall equals accuracy on one set
of images; the paper's Table 2 prints different numbers for the two (see docs/paper-map.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from mien.errors import InputError
from mien.labels import class_view

RESAMPLES = 2000
"""Bootstrap resamples of an interval."""


def score(
    logits: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64],
    names: Sequence[str],
    *,
    view: str = "all",
    votes: npt.NDArray[np.float32] | None = None,
) -> dict[str, Any]:
    """All figures of one set of predictions.

    Args:
        logits: float32 [N, K].
        labels: int64 [N], index into `names`.
        names: the K class names.
        view: `all`, `7` or names; images of other classes are left out and their logits masked (section 3.7).
        votes: float32 [N, K] soft labels, where there are any.

    Returns:
        JSON-ready figures: view, labels, count, accuracy with a 95 % bootstrap interval, macro and weighted
        precision, recall and F1, the same per class with counts, confusion (rows truth, columns prediction),
        mean negative log-likelihood in nats, and the mean Kullback-Leibler divergence from the votes in nats.

    Raises:
        InputError: no image is left in the view.
    """
    kept_names = class_view(names, view)
    columns = np.array([list(names).index(name) for name in kept_names])
    position = np.full(len(names), -1)
    position[columns] = np.arange(len(columns))
    kept = position[labels] >= 0
    if not kept.any():
        raise InputError(f"label view {view!r}: no image of {', '.join(kept_names)} is in this split.")
    truth = position[labels[kept]]
    log_probabilities = _log_softmax(logits[kept][:, columns].astype(np.float64))
    predicted = log_probabilities.argmax(1)
    figures: dict[str, Any] = {
        "view": view,
        "labels": list(kept_names),
        "count": int(kept.sum()),
        "accuracy": float((truth == predicted).mean()),
        "accuracy_interval": _bootstrap_interval(truth == predicted),
        "nll": float(-log_probabilities[np.arange(len(truth)), truth].mean()),
    }
    figures |= _class_figures(truth, predicted, kept_names)
    figures["confusion"] = confusion_matrix(truth, predicted, labels=np.arange(len(columns))).tolist()
    if votes is not None:
        figures["kl_to_votes"] = _divergence(votes[kept][:, columns].astype(np.float64), log_probabilities)
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


def _log_softmax(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    shifted = logits - logits.max(1, keepdims=True)
    result: npt.NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return result


def _bootstrap_interval(correct: npt.NDArray[np.bool_]) -> list[float]:
    # The mean of a resample of 0s and 1s is a binomial draw: the same distribution without the resampling.
    draws = np.random.default_rng(0).binomial(len(correct), correct.mean(), RESAMPLES) / len(correct)
    low, high = np.quantile(draws, [0.025, 0.975])
    return [float(low), float(high)]


def _divergence(votes: npt.NDArray[np.float64], log_probabilities: npt.NDArray[np.float64]) -> float:
    shares = votes / votes.sum(1, keepdims=True).clip(1e-12)
    log_shares = np.log(np.where(shares > 0, shares, 1.0))
    return float((shares * (log_shares - log_probabilities)).sum(1).mean())
