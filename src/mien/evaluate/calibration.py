"""How far a model's confidence can be believed, and the one temperature that mends most of it.

Confidence is the largest probability of an image. Temperature scaling is that of Guo et al., "On calibration
of modern neural networks", ICML 2017, section 4.2: it divides the logits and changes no predicted class.
Nothing here moves probabilities to another prior; `mien.runtime.probabilities` does that, after the
temperature.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar  # type: ignore[import-untyped]
from scipy.special import log_softmax, softmax  # type: ignore[import-untyped]
from scipy.stats import binomtest  # type: ignore[import-untyped]

from mien.errors import InputError
from mien.evaluate.metrics import check_predictions, check_votes

Float: TypeAlias = npt.NDArray[np.float64]
Index: TypeAlias = npt.NDArray[np.int64]
Binning: TypeAlias = Literal["equal_mass", "equal_width"]

BINS: Final = 15
"""Bins of a calibration error, as in Guo et al., section 5."""
TEMPERATURES: Final = (0.05, 20.0)
"""Range in which a temperature is looked for."""
_CHANCE_DRAWS: Final = 1000


@dataclass(frozen=True)
class Temperature:
    """A fitted temperature."""

    value: float
    """Divides the logits."""
    nll_before: float
    """Mean negative log-likelihood at temperature 1, in nats; against votes their cross-entropy."""
    nll_after: float
    count: int
    """Images it was fitted on."""
    target: Literal["labels", "votes"]
    """What it makes most probable."""
    at_bound: bool
    """Whether it lies at an end of `TEMPERATURES`: the model cannot be calibrated by a temperature."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: the fields."""
        return asdict(self)


@dataclass(frozen=True)
class ReliabilityBin:
    """One bar of a reliability diagram: the images whose confidence lies in one range."""

    lower: float
    """Left end of the bin's range, not part of it; the lowest bin begins at 0."""
    upper: float
    """Right end, part of the bin."""
    count: int
    confidence: float
    """Mean."""
    accuracy: float
    low: float
    """Of the 95 % Wilson interval of the accuracy."""
    high: float


def fit_temperature(
    logits: npt.NDArray[np.floating],
    labels: npt.NDArray[np.integer],
    *,
    votes: npt.NDArray[np.floating] | None = None,
    offset: npt.NDArray[np.floating] | None = None,
) -> Temperature:
    """The temperature that makes the labels of validation images most probable.

    To the summed loss comes a term with the weight of about one image: with b = 1 / T, b - 1 - log b, the
    Gamma(2, 1) prior on b, whose mode leaves the logits as they are. Without it a handful of images, or a
    model that makes no error, sends T to an end of its range. Both terms are convex in b, so that the minimum
    is unique.

    Args:
        logits: float [N, K], of images that were not trained on.
        labels: int [N].
        votes: float [N, K]; fits to the shares of the votes instead, over the images that have any. This
            makes confidence the expected share of the votes, which is lower than the chance that the
            majority's label is met: for an accuracy or an abstain threshold against labels, fit to the
            labels.
        offset: float [K], added to the divided logits: the logarithm of a change of prior.

    Raises:
        InputError: predictions that do not fit or are not finite, no image, or no image with a vote.
    """
    check_predictions(logits, labels)
    scores = logits.astype(np.float64)
    shares = np.eye(scores.shape[1])[labels]
    if votes is not None:
        check_votes(votes, logits)
        voted = votes.sum(1) > 0
        if not voted.any():
            raise InputError("no image has a vote to fit a temperature to; fit it to the labels.")
        scores, shares = scores[voted], votes[voted].astype(np.float64)
        shares = shares / shares.sum(1, keepdims=True)
    count = len(scores)
    moved = 0.0 if offset is None else offset

    def nll(inverse: float) -> float:
        logarithms = log_softmax(scores * inverse + moved, axis=1)
        # A class that the offset rules out has no logarithm, and no share either.
        terms = np.multiply(shares, logarithms, where=shares > 0, out=np.zeros_like(logarithms))
        return -float(terms.sum(1).mean())

    def loss(inverse: float) -> float:
        return nll(inverse) + (inverse - 1 - float(np.log(inverse))) / count

    coldest, hottest = TEMPERATURES
    found = minimize_scalar(
        loss, bounds=(1 / hottest, 1 / coldest), method="bounded", options={"xatol": 1e-7}
    )
    value = 1 / float(found.x)
    at_bound = bool(np.isclose(value, TEMPERATURES, rtol=1e-3).any())
    target: Literal["labels", "votes"] = "labels" if votes is None else "votes"
    return Temperature(value, nll(1.0), nll(1 / value), count, target, at_bound)


def calibration_figures(
    logits: npt.NDArray[np.floating],
    labels: npt.NDArray[np.integer],
    names: Sequence[str],
    *,
    temperature: float = 1.0,
) -> dict[str, Any]:
    """How well confidence and accuracy agree.

    Args:
        logits: float [N, K].
        labels: int [N].
        names: the K class names.
        temperature: divides the logits first.

    Returns:
        JSON-ready: temperature, count, accuracy, mean confidence, nll (nats), brier (0..2, the sum over
        classes), and for each binning, `equal_mass` and `equal_width`, of `BINS` bins:

        - `ece`: mean absolute gap of confidence and accuracy over the bins, weighted by their images;
        - `by_chance`: `mean` and `high` (95 %) of the same for a model that is calibrated perfectly and gives
          these confidences to so many images (Broecker and Smith, Weather and Forecasting 22, 2007): an `ece`
          below `high` is no sign of miscalibration;
        - `classwise_ece`: the same gap for the probability of every class, their mean (Kull et al., NeurIPS
          2019, equation 3), and `classwise`, name to gap;
        - `bins`: the reliability diagram, fields of `ReliabilityBin`.

    Raises:
        InputError: predictions that do not fit or are not finite, or a temperature that is not above 0.
    """
    check_predictions(logits, labels)
    check_temperature(temperature)
    if len(names) != logits.shape[1]:
        raise InputError(f"{len(names)} class names do not fit {logits.shape[1]} logits an image.")
    scores = logits.astype(np.float64) / temperature
    probabilities = softmax(scores, axis=1)
    rows = np.arange(len(labels))
    predicted = scores.argmax(1)
    confidence = probabilities[rows, predicted]
    correct = predicted == labels
    figures: dict[str, Any] = {
        "temperature": float(temperature),
        "count": len(labels),
        "accuracy": float(correct.mean()),
        "confidence": float(confidence.mean()),
        "nll": float(-log_softmax(scores, axis=1)[rows, labels].mean()),
        "brier": float(brier_scores(probabilities, labels).mean()),
    }
    for binning in get_args(Binning):
        classwise = {
            name: calibration_error(probabilities[:, k], labels == k, binning) for k, name in enumerate(names)
        }
        figures[binning] = _binned(confidence, correct, classwise, binning)
    return figures


def _binned(
    confidence: Float,
    correct: npt.NDArray[np.bool_],
    classwise: dict[str, float],
    binning: Binning,
) -> dict[str, Any]:
    """What `calibration_figures` gives for one binning."""
    numbers = bin_numbers(confidence, binning)
    return {
        "ece": _gap(confidence, correct, numbers),
        "by_chance": _by_chance(confidence, numbers),
        "classwise_ece": float(np.mean(list(classwise.values()))),
        "classwise": classwise,
        "bins": [asdict(one) for one in reliability(confidence, correct, binning)],
    }


def before_and_after(
    logits: npt.NDArray[np.floating],
    labels: npt.NDArray[np.integer],
    names: Sequence[str],
    temperature: float,
) -> dict[str, dict[str, Any]]:
    """`calibration_figures` of held-out images at temperature 1, `before`, and at the fitted one, `after`."""
    return {
        "before": calibration_figures(logits, labels, names),
        "after": calibration_figures(logits, labels, names, temperature=temperature),
    }


def calibration_error(confidence: Float, correct: npt.NDArray[np.bool_], binning: Binning) -> float:
    """Expected calibration error: mean absolute gap over `BINS` bins, weighted by their images.

    Args:
        confidence: float64 [N], 0..1.
        correct: bool [N].
        binning: see `bin_numbers`.
    """
    return _gap(confidence, correct, bin_numbers(confidence, binning))


def reliability(
    confidence: Float, correct: npt.NDArray[np.bool_], binning: Binning
) -> tuple[ReliabilityBin, ...]:
    """The bins of a reliability diagram that hold an image, by rising confidence; arguments as of
    `calibration_error`."""
    edges = np.concatenate([[0.0], _inner_edges(confidence, binning), [1.0]])
    numbers = bin_numbers(confidence, binning)
    bins = []
    for number in np.unique(numbers):
        inside = numbers == number
        hits, count = int(correct[inside].sum()), int(inside.sum())
        interval = binomtest(hits, count).proportion_ci(method="wilson")
        bins.append(
            ReliabilityBin(
                lower=float(edges[number]),
                upper=float(edges[number + 1]),
                count=count,
                confidence=float(confidence[inside].mean()),
                accuracy=hits / count,
                low=float(interval.low),
                high=float(interval.high),
            )
        )
    return tuple(bins)


def bin_numbers(confidence: Float, binning: Binning) -> Index:
    """The bin of each image, int64 [N], 0 to `BINS` - 1; equal confidences always share one.

    Args:
        confidence: float64 [N], 0..1.
        binning: `equal_width` cuts 0..1 evenly (Guo et al., equation 3); `equal_mass` at quantiles of the
            confidences, as scikit-learn's `calibration_curve` does, so that ties may leave bins empty.
    """
    numbers: Index = np.searchsorted(_inner_edges(confidence, binning), confidence, side="left")
    return numbers


def brier_scores(probabilities: Float, labels: npt.NDArray[np.integer]) -> Float:
    """Squared distance from the one-hot label, 0..2 (Brier, Monthly Weather Review 78, 1950).

    Args:
        probabilities: float64 [N, K].
        labels: int [N].

    Returns:
        float64 [N].
    """
    scores: Float = ((probabilities - np.eye(probabilities.shape[1])[labels]) ** 2).sum(1)
    return scores


def check_temperature(temperature: float) -> None:
    """Refuse a temperature that divides nothing sensibly.

    Raises:
        InputError: it is not a finite number above 0.
    """
    if not (np.isfinite(temperature) and temperature > 0):
        raise InputError(f"the temperature must be a finite number above 0, not {temperature!r}.")


def _inner_edges(confidence: Float, binning: Binning) -> Float:
    if binning == "equal_width":
        return np.linspace(0, 1, BINS + 1)[1:-1]
    ordered = np.sort(confidence)
    below, share = quantile_places(len(ordered))
    low, high = ordered[below], ordered[np.minimum(below + 1, len(ordered) - 1)]
    edges: Float = low + (high - low) * share
    return edges


def quantile_places(count: int | Index) -> tuple[Index, Float]:
    """Where the inner edges of `equal_mass` lie among sorted values: the place below, and the share of the
    way to the next. In whole numbers, since a place that is 265.999... instead of 266 tears a tie apart.

    Args:
        count: how many values, or int64 [r, 1] of them.

    Returns:
        int64 and float64 [BINS - 1], or [r, BINS - 1].
    """
    steps = np.arange(1, BINS) * (count - 1)
    return steps // BINS, steps % BINS / BINS


def _gap(confidence: Float, correct: npt.NDArray[np.bool_], numbers: Index) -> float:
    sums = np.bincount(numbers, correct - confidence, minlength=BINS)
    return float(np.abs(sums).sum() / len(confidence))


def _by_chance(confidence: Float, numbers: Index) -> dict[str, float]:
    order = np.argsort(numbers, kind="stable")
    starts = np.unique(numbers[order], return_index=True)[1]
    sorted_confidence = confidence[order]
    random = np.random.default_rng(0)
    gaps = np.empty(_CHANCE_DRAWS)
    for i in range(_CHANCE_DRAWS):
        drawn = (random.random(len(order)) < sorted_confidence) - sorted_confidence
        gaps[i] = np.abs(np.add.reduceat(drawn, starts)).sum() / len(order)
    return {"mean": float(gaps.mean()), "high": float(np.quantile(gaps, 0.95))}
