"""A model under another expectation of how often each class occurs: what its user may choose, scored."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.special import log_softmax  # type: ignore[import-untyped]

from mien.errors import InputError
from mien.evaluate.models import EvaluatedModel, Faces, LogProbabilities
from mien.runtime.probabilities import Prior, log_prior_ratio


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
    ratio = log_prior_ratio(model.card, prior)
    # A class that training lacks would be minus infinity, which has no place in a loss.
    ratio = np.where(np.isfinite(ratio), ratio, -1e4)

    def answer(faces: Faces) -> LogProbabilities:
        moved: LogProbabilities = log_softmax(model.log_probabilities(faces) + ratio, axis=1)
        return moved.astype(np.float32)

    return replace(model, log_probabilities=answer)
