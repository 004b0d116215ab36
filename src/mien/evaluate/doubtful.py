"""Which images to look at: the surest errors, the most doubtful labels, the least certain answers.

All functions give rows, the most striking first. Of equal images the one with the smaller row comes first, so
that a gallery is the same every time; sort images by something that lasts, such as the pack's rows, before.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.special import softmax  # type: ignore[import-untyped]
from scipy.stats import entropy  # type: ignore[import-untyped]

from mien.evaluate.calibration import check_temperature
from mien.evaluate.metrics import check_predictions, check_votes

Float: TypeAlias = npt.NDArray[np.float64]
Index: TypeAlias = npt.NDArray[np.int64]


def confident_errors(
    logits: npt.NDArray[np.floating],
    labels: npt.NDArray[np.integer],
    count: int,
    *,
    temperature: float = 1.0,
) -> Index:
    """Wrong answers by falling confidence.

    Args:
        logits: float [N, K].
        labels: int [N].
        count: at most so many.
        temperature: divides the logits; with more than two classes it may change the order.

    Returns:
        int64 [n], rows.

    Raises:
        InputError: predictions that do not fit or are not finite, or a temperature that is not above 0.
    """
    probabilities = _probabilities(logits, labels, temperature)
    wrong = np.flatnonzero(logits.argmax(1) != labels)
    return wrong[np.argsort(-probabilities[wrong].max(1), kind="stable")][:count]


def least_certain(
    logits: npt.NDArray[np.floating],
    labels: npt.NDArray[np.integer],
    count: int,
    *,
    temperature: float = 1.0,
) -> Index:
    """Images by rising confidence, right or wrong; arguments and errors as of `confident_errors`."""
    probabilities = _probabilities(logits, labels, temperature)
    return np.argsort(probabilities.max(1), kind="stable")[:count].astype(np.int64)


def doubtful_labels(
    logits: npt.NDArray[np.floating],
    labels: npt.NDArray[np.integer],
    count: int,
    *,
    votes: npt.NDArray[np.floating] | None = None,
    temperature: float = 1.0,
) -> Index:
    """Labels by rising quality.

    Without votes the quality is the model's probability of the label (Northcutt et al., JAIR 70, 2021;
    cleanlab's `self_confidence`): the model must not have been trained on these images. With votes those who
    labelled are asked: the images whose votes have the largest entropy come first, of equal ones the smaller
    probability of the label, and images without any vote last.

    Args:
        logits: float [N, K].
        labels: int [N].
        count: at most so many.
        votes: float [N, K], where there are any.
        temperature: divides the logits.

    Returns:
        int64 [n], rows.

    Raises:
        InputError: predictions or votes that do not fit or are not finite, or a temperature that is not above
            0.
    """
    quality = label_quality(logits, labels, temperature=temperature)
    if votes is None:
        return np.argsort(quality, kind="stable")[:count].astype(np.int64)
    check_votes(votes, logits)
    return np.lexsort((quality, -vote_entropy(votes)))[:count].astype(np.int64)


def label_quality(
    logits: npt.NDArray[np.floating], labels: npt.NDArray[np.integer], *, temperature: float = 1.0
) -> Float:
    """The probability of each label, float64 [N], 0..1; arguments and errors as of `confident_errors`."""
    probabilities = _probabilities(logits, labels, temperature)
    quality: Float = probabilities[np.arange(len(labels)), labels]
    return quality


def vote_entropy(votes: npt.NDArray[np.floating]) -> Float:
    """Entropy of the shares of votes in nats, float64 [N]; -1 for an image without votes.

    Args:
        votes: float [N, K], 0 or more.
    """
    total = votes.sum(1)
    disagreement = np.full(len(votes), -1.0)
    disagreement[total > 0] = entropy(votes[total > 0].astype(np.float64), axis=1)
    # Equal votes of other classes must tie, whatever the order in which their terms were added.
    rounded: Float = disagreement.round(9)
    return rounded


def _probabilities(
    logits: npt.NDArray[np.floating], labels: npt.NDArray[np.integer], temperature: float
) -> Float:
    check_predictions(logits, labels)
    check_temperature(temperature)
    probabilities: Float = softmax(logits.astype(np.float64) / temperature, axis=1)
    return probabilities
