"""A model under another expectation of how often each class occurs: what its user may choose, scored."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy.special import log_softmax  # type: ignore[import-untyped]

from mien.card import ModelCard
from mien.errors import InputError
from mien.evaluate.models import EvaluatedModel, Faces, LogProbabilities
from mien.runtime.probabilities import Prior, log_prior_ratio


def prior_shift(card: ModelCard, prior: Prior) -> npt.NDArray[np.float64]:
    """What a prior adds to the log-probabilities, float64 [K], finite.

    A class that training lacks gets so little that it is never answered: minus infinity has no place in a
    loss or a resample.

    Raises:
        InputError: as `mien.runtime.probabilities.log_prior_ratio`.
    """
    return np.maximum(log_prior_ratio(card, prior), -1e4)


def with_prior(model: EvaluatedModel, prior: Prior) -> EvaluatedModel:
    """A model whose answers are moved from its training prior to another, as `mien.runtime` moves them.

    Args:
        model: what `mien.evaluate.models.open_model` opened.
        prior: ``"training"`` gives the model back.

    Raises:
        InputError: the model has no card, its card no training prior, or the prior is unknown.
    """
    if isinstance(prior, str) and prior == "training":
        return model
    if model.card is None:
        raise InputError(
            f"{model.name} has no card that says how often each class was in its training data; leave out "
            "the prior."
        )
    shift = prior_shift(model.card, prior)

    def answer(faces: Faces) -> LogProbabilities:
        moved: LogProbabilities = log_softmax(model.log_probabilities(faces) + shift, axis=1)
        return moved.astype(np.float32)

    return replace(model, log_probabilities=answer)
