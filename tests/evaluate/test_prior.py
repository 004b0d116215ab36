from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import mien
from mien.errors import InputError
from mien.evaluate.models import open_model
from mien.evaluate.prior import with_prior

FACES = np.random.default_rng(0).integers(0, 256, size=(5, 48, 48, 1)).astype(np.uint8)


@pytest.mark.parametrize("prior", ["training", "moderate", "uniform"])
def test_a_prior_moves_the_answers_as_the_runtime_does(prior: str) -> None:
    model = with_prior(open_model("bundled"), prior)  # type: ignore[arg-type]
    wanted = mien.load().classify(FACES, prior=prior)  # type: ignore[arg-type]
    np.testing.assert_allclose(np.exp(model.log_probabilities(FACES)), wanted, rtol=2e-3, atol=1e-6)


def test_a_class_that_training_lacks_is_never_answered_but_finite() -> None:
    bundled = open_model("bundled")
    assert bundled.card is not None
    shares = dict.fromkeys(bundled.card.labels, 1 / (len(bundled.card.labels) - 1))
    shares["happiness"] = 0.0
    card = dataclasses.replace(bundled.card, prior=shares)
    answers = with_prior(dataclasses.replace(bundled, card=card), "uniform").log_probabilities(FACES)
    assert np.isfinite(answers).all()
    assert (answers.argmax(axis=1) != bundled.labels.index("happiness")).all()
    np.testing.assert_allclose(np.exp(answers.astype(np.float64)).sum(axis=1), 1, rtol=1e-5)


def test_without_a_card_there_is_no_other_prior() -> None:
    bare = dataclasses.replace(open_model("bundled"), card=None)
    assert with_prior(bare, "training") is bare
    with pytest.raises(InputError, match="no card"):
        with_prior(bare, "uniform")
