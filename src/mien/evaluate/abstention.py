"""Saying nothing where the model is unsure: what that buys, and the confidence from which it should speak.

Confidence is the largest probability at a temperature; an image is answered when its confidence is at least
the threshold, as `mien.runtime` does it. Risk is the share of wrong answers among those given.

Sources: El-Yaniv and Wiener, JMLR 11 (2010), for the risk-coverage curve; Geifman, Uziel and El-Yaniv,
"Bias-reduced uncertainty estimation for deep neural classifiers", ICLR 2019, for AURC and E-AURC; Geifman and
El-Yaniv, "Selective classification for deep neural networks", NeurIPS 2017, for the guarantee.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.special import softmax  # type: ignore[import-untyped]
from scipy.stats import beta, binomtest  # type: ignore[import-untyped]

from mien.errors import InputError
from mien.evaluate.calibration import check_temperature
from mien.evaluate.metrics import check_predictions

Float: TypeAlias = npt.NDArray[np.float64]

CANDIDATES: Final = 20
"""Thresholds that are tried: those that answer 5 %, 10 %, ... 100 % of the validation images."""
RISK_OF_ERROR: Final = 0.05
"""Chance that the wanted precision is missed although it was promised."""


@dataclass(frozen=True)
class RiskCoverage:
    """The risk-coverage curve, one point a distinct confidence, from the surest answers to all."""

    threshold: Float
    """float64 [J], falling."""
    coverage: Float
    """float64 [J], share of the images that are answered, rising to 1."""
    risk: Float
    """float64 [J], share of wrong answers among them."""
    aurc: float
    """Mean risk over answering the 1, 2, ... N surest images, 0..1; of ties an average over all orders."""
    excess_aurc: float
    """E-AURC: what of it a perfect order of the same answers would save."""

    def to_dict(self, points: int = 200) -> dict[str, Any]:
        """JSON-ready: aurc, excess_aurc, and lists threshold, coverage and risk thinned to so many points."""
        kept = np.unique(np.linspace(0, len(self.coverage) - 1, min(points, len(self.coverage))).round())
        rows = kept.astype(np.int64)
        curve = {name: getattr(self, name)[rows].tolist() for name in ("threshold", "coverage", "risk")}
        return {"aurc": self.aurc, "excess_aurc": self.excess_aurc, **curve}


@dataclass(frozen=True)
class AbstainThreshold:
    """The confidence from which a model keeps a promise, found on validation images."""

    value: float | None
    """Answer at this confidence or above; None where no candidate keeps the promise. None is not the same as
    answering everything."""
    wanted: float
    """Precision that was asked for: the share of right answers among those given."""
    bound: float | None
    """Lower bound of the precision, at `1 - risk_of_error` over all candidates together; None without one."""
    precision: float | None
    """Measured on the validation images."""
    coverage: float
    """Share of the validation images that are answered; 0 without a threshold."""
    count: int
    """Validation images."""
    risk_of_error: float
    """Most chance that the promise does not hold."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: the fields."""
        return asdict(self)


def risk_coverage(
    logits: npt.NDArray[np.floating], labels: npt.NDArray[np.integer], *, temperature: float = 1.0
) -> RiskCoverage:
    """The risk-coverage curve by confidence.

    Args:
        logits: float [N, K].
        labels: int [N].
        temperature: divides the logits; with more than two classes it may change the order of images.

    Raises:
        InputError: predictions that do not fit or are not finite, or a temperature that is not above 0.
    """
    confidence, correct = _confidence(logits, labels, temperature)
    order = np.argsort(-confidence, kind="stable")
    ordered, wrong = confidence[order], ~correct[order]
    count = len(order)
    last = np.flatnonzero(np.append(np.diff(ordered) != 0, True))
    errors = np.cumsum(wrong)
    # No threshold can tell tied images apart: within a tie the expected number of errors rises evenly.
    answered = np.arange(1, count + 1)
    expected = np.interp(answered, np.append(0, last + 1), np.append(0, errors[last]))
    perfect = np.maximum(0, answered - (count - int(errors[-1])))
    aurc = float((expected / answered).mean())
    return RiskCoverage(
        threshold=ordered[last],
        coverage=(last + 1) / count,
        risk=errors[last] / (last + 1),
        aurc=aurc,
        excess_aurc=max(0.0, aurc - float((perfect / answered).mean())),
    )


def fit_threshold(
    logits: npt.NDArray[np.floating],
    labels: npt.NDArray[np.integer],
    *,
    precision: float,
    temperature: float = 1.0,
    risk_of_error: float = RISK_OF_ERROR,
) -> AbstainThreshold:
    """The lowest threshold that promises a precision on new images of the same kind.

    Each candidate's precision is bounded from below by Clopper and Pearson's exact one-sided bound (Geifman
    and El-Yaniv, Lemma 3.1) at `risk_of_error` over the number of candidates (Bonferroni), and the one that
    answers most of those that hold is taken. Their binary search over thresholds is left out: its path
    depends on the labels, whereas the candidates here are fixed by coverage. The promise is for images drawn
    like the validation images, and for confidences that were not fitted to them; a temperature that was bends
    it by one parameter.

    Args:
        logits: float [N, K], of validation images.
        labels: int [N].
        precision: wanted share of right answers among those given, above 0 and below 1.
        temperature: divides the logits.
        risk_of_error: most chance that the promise does not hold, above 0 and below 1.

    Raises:
        InputError: predictions that do not fit or are not finite, or a number out of its range.
    """
    for name, value in (("precision", precision), ("risk_of_error", risk_of_error)):
        if not 0 < value < 1:
            raise InputError(f"{name} must lie above 0 and below 1, not {value!r}.")
    confidence, correct = _confidence(logits, labels, temperature)
    count = len(confidence)
    falling = np.sort(confidence)[::-1]
    # In whole numbers, since 0.15 * 20 is not 3 in floating point.
    places = (np.arange(1, CANDIDATES + 1) * count + CANDIDATES - 1) // CANDIDATES
    for threshold in np.unique(falling[places - 1]):
        answered = confidence >= threshold
        hits, given = int(correct[answered].sum()), int(answered.sum())
        bound = _lower_bound(hits, given, risk_of_error / CANDIDATES)
        if bound >= precision:
            return AbstainThreshold(
                value=float(threshold),
                wanted=precision,
                bound=bound,
                precision=hits / given,
                coverage=given / count,
                count=count,
                risk_of_error=risk_of_error,
            )
    return AbstainThreshold(None, precision, None, None, 0.0, count, risk_of_error)


def apply_threshold(
    logits: npt.NDArray[np.floating],
    labels: npt.NDArray[np.integer],
    names: Sequence[str],
    threshold: float | None,
    *,
    temperature: float = 1.0,
) -> dict[str, Any]:
    """How a threshold does on other images.

    Args:
        logits: float [N, K].
        labels: int [N].
        names: the K class names.
        threshold: answer at this confidence or above; None, as `fit_threshold` gives it where nothing can be
            promised, answers nothing.
        temperature: divides the logits.

    Returns:
        JSON-ready: threshold, count, answered, coverage, precision and precision_interval (95 %,
        Clopper-Pearson; both None where nothing is answered), and per_class: name to count of images of the
        class, coverage and accuracy of the answered ones (None where there are none), which shows who pays
        for the abstention.

    Raises:
        InputError: predictions that do not fit or are not finite, or a temperature that is not above 0.
    """
    confidence, correct = _confidence(logits, labels, temperature)
    if len(names) != logits.shape[1]:
        raise InputError(f"{len(names)} class names do not fit {logits.shape[1]} logits an image.")
    answered = confidence >= (np.inf if threshold is None else threshold)
    hits, given = int(correct[answered].sum()), int(answered.sum())
    interval = None
    if given:
        exact = binomtest(hits, given).proportion_ci(method="exact")
        interval = [float(exact.low), float(exact.high)]
    per_class = {}
    for k, name in enumerate(names):
        own = labels == k
        both = own & answered
        per_class[name] = {
            "count": int(own.sum()),
            "coverage": _share(int(both.sum()), int(own.sum())),
            "accuracy": _share(int(correct[both].sum()), int(both.sum())),
        }
    return {
        "threshold": threshold,
        "count": len(confidence),
        "answered": given,
        "coverage": given / len(confidence),
        "precision": _share(hits, given),
        "precision_interval": interval,
        "per_class": per_class,
    }


def _confidence(
    logits: npt.NDArray[np.floating], labels: npt.NDArray[np.integer], temperature: float
) -> tuple[Float, npt.NDArray[np.bool_]]:
    check_predictions(logits, labels)
    check_temperature(temperature)
    probabilities = softmax(logits.astype(np.float64) / temperature, axis=1)
    return probabilities.max(1), logits.argmax(1) == labels


def _lower_bound(hits: int, count: int, error: float) -> float:
    """Clopper-Pearson: the precision at which so many hits or more come with a chance of `error`."""
    return float(beta.ppf(error, hits, count - hits + 1)) if hits else 0.0


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
