"""From logits to probabilities: temperature, the prior the user expects, and the view of the labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from mien.card import ModelCard
from mien.errors import InputError

NamedPrior = Literal["training", "moderate", "uniform"]
Prior = NamedPrior | Mapping[str, float]
"""How often each class is expected: as in the training data, all alike, half the way between the two (shares
that go with the square roots of the training data's), or a share for each class."""


_POWERS: Final = {"moderate": 0.5, "uniform": 0.0}
"""The power of the training shares that a named prior expects."""


def probabilities(
    logits: NDArray[np.float32],
    card: ModelCard,
    *,
    prior: Prior = "training",
    view: str | Sequence[str] = "all",
) -> NDArray[np.float32]:
    """Softmax of the logits over the temperature, moved to another prior, over the classes of a view.

    A posterior learned under one prior is moved to another by the ratio of the two (Saerens et al., Neural
    Computation 14(1), 2002). A class that the training data lacks stays at 0 then: nothing is known about it.

    Args:
        logits: float32 [N,K] in the order of the card's labels.
        card: gives labels, temperature, views and the training prior.
        prior: ``"training"`` leaves the posterior as it was learned.
        view: ``"all"``, ``"7"``, a view of the card, or names; masked classes get 0 and the others sum to 1.

    Returns:
        float32 [N,K]; every row sums to 1.

    Raises:
        InputError: an unknown prior or view, a prior that does not fit the labels, a card without a training
            prior where one is needed, or no class that both the view and the prior allow.
    """
    if logits.ndim != 2 or logits.shape[1] != len(card.labels):
        raise InputError(f"logits must be [N,{len(card.labels)}] for this card, not {list(logits.shape)}.")
    scores = logits.astype(np.float64) / card.temperature + log_prior_ratio(card, prior)
    kept = set(card.view(view))
    scores[:, [name not in kept for name in card.labels]] = -np.inf
    highest = scores.max(axis=1, keepdims=True, initial=-np.inf)
    if not np.isfinite(highest).all():
        raise InputError(
            "no class is left that both the view and the prior allow, or the logits are not finite."
        )
    weights = np.exp(scores - highest)
    shares: NDArray[np.float32] = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return shares


def check_prior_and_view(card: ModelCard, prior: Prior, view: str | Sequence[str]) -> None:
    """Refuse what `probabilities` would refuse, before any picture is looked at.

    Raises:
        InputError: as `probabilities`.
    """
    one_row = np.zeros((1, len(card.labels)), dtype=np.float32)
    probabilities(one_row, card, prior=prior, view=view)


def log_prior_ratio(card: ModelCard, prior: Prior) -> NDArray[np.float64]:
    """What a prior adds to the logits of each class.

    Args:
        card: gives labels and the training prior.
        prior: ``"training"`` adds nothing.

    Returns:
        float64 [K], log(wanted / training) in the order of the card's labels, up to a constant; -inf where
        either is 0.

    Raises:
        InputError: an unknown prior, one that does not fit the labels, or a card without a training prior
            where one is needed.
    """
    if isinstance(prior, str) and prior == "training":
        return np.zeros(len(card.labels))
    power = 0.0
    if not isinstance(prior, str):
        wanted = _wanted_shares(card, prior)
    elif prior in _POWERS:
        wanted, power = np.full(len(card.labels), 1 / len(card.labels)), _POWERS[prior]
    else:
        named = ", ".join(f'"{name}"' for name in get_args(NamedPrior))
        raise InputError(f"prior must be {named} or a share for each class, not {prior!r}.")
    if not card.prior:
        raise InputError(
            "this model's card does not say how often each class was in the training data; "
            "use prior='training'."
        )
    training = np.array([card.prior[name] for name in card.labels], dtype=np.float64)
    known = (training > 0) & (wanted > 0)
    ratio = np.full(len(card.labels), -np.inf)
    ratio[known] = np.log(wanted[known]) + (power - 1) * np.log(training[known])
    return ratio


def _wanted_shares(card: ModelCard, prior: Mapping[str, float]) -> NDArray[np.float64]:
    if set(prior) != set(card.labels):
        raise InputError(
            f"the prior names {', '.join(prior)}, but the model's classes are {', '.join(card.labels)}."
        )
    shares = np.array([prior[name] for name in card.labels], dtype=np.float64)
    if not (np.isfinite(shares).all() and (shares >= 0).all() and shares.sum() > 0):
        raise InputError(f"the prior must hold shares of 0 or more, not all 0; it is {dict(prior)!r}.")
    normalised: NDArray[np.float64] = shares / shares.sum()
    return normalised
