"""Temperature, priors and views against formulas written out."""

import numpy as np
import pytest

from mien.card import ModelCard
from mien.errors import InputError
from mien.labels import EMOTIONS, SEVEN
from mien.runtime.probabilities import probabilities

PRIOR = dict(zip(EMOTIONS, (0.3, 0.0, 0.02, 0.08, 0.25, 0.2, 0.1, 0.05), strict=True))


def card(**changes):
    return ModelCard(**{"name": "", "labels": EMOTIONS, "size": 8, "channels": 1, "prior": PRIOR, **changes})


@pytest.fixture
def logits():
    return np.random.default_rng(0).normal(size=(5, 8)).astype(np.float32) * 3


def softmax(scores):
    e = np.exp(scores - scores.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_plain_softmax_over_the_temperature(logits, temperature):
    shares = probabilities(logits, card(temperature=temperature))
    assert shares.dtype == np.float32
    np.testing.assert_allclose(shares, softmax(logits / temperature), rtol=1e-5)


def test_a_view_masks_and_sums_to_one(logits):
    shares = probabilities(logits, card(), view="7")
    assert (shares[:, EMOTIONS.index("contempt")] == 0).all()
    kept = [EMOTIONS.index(name) for name in SEVEN]
    np.testing.assert_allclose(shares[:, kept], softmax(logits[:, kept]), rtol=1e-5)


def test_uniform_prior_divides_by_the_training_prior(logits):
    shares = probabilities(logits, card(), prior="uniform")
    assert (shares[:, EMOTIONS.index("contempt")] == 0).all()
    seen = np.array([PRIOR[name] for name in EMOTIONS]) > 0
    expected = softmax(logits)[:, seen] / np.array([PRIOR[name] for name in EMOTIONS])[seen]
    np.testing.assert_allclose(shares[:, seen], expected / expected.sum(axis=1, keepdims=True), rtol=1e-4)


def test_the_moderate_prior_lies_half_the_way_from_the_training_prior_to_the_uniform_one(logits):
    shares = probabilities(logits, card(), prior="moderate")
    roots = {name: share**0.5 for name, share in PRIOR.items()}
    np.testing.assert_allclose(shares, probabilities(logits, card(), prior=roots), rtol=1e-4, atol=1e-9)
    training, uniform = (probabilities(logits, card(), prior=name) for name in ("training", "uniform"))
    middle = np.sqrt(training * uniform)
    np.testing.assert_allclose(shares, middle / middle.sum(axis=1, keepdims=True), rtol=1e-4)


def test_the_training_prior_written_out_changes_nothing_but_unseen_classes(logits):
    given = probabilities(logits, card(), prior=PRIOR, view="7")
    np.testing.assert_allclose(given, probabilities(logits, card(), view="7"), rtol=1e-5)


def test_shares_need_not_sum_to_one(logits):
    doubled = {name: 2 * share for name, share in PRIOR.items()}
    np.testing.assert_allclose(
        probabilities(logits, card(), prior=doubled), probabilities(logits, card(), prior=PRIOR), rtol=1e-6
    )


def test_huge_logits_stay_finite():
    logits = np.array([[1e30, -1e30, 0, 0, 0, 0, 0, 0]], dtype=np.float32)
    np.testing.assert_allclose(probabilities(logits, card())[0], [1, 0, 0, 0, 0, 0, 0, 0])


def test_no_rows():
    assert probabilities(np.zeros((0, 8), np.float32), card(), prior="uniform").shape == (0, 8)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"prior": "flat"}, "prior must be"),
        ({"prior": {"anger": 1.0}}, "names anger"),
        ({"prior": dict.fromkeys(EMOTIONS, 0.0)}, "not all 0"),
        ({"prior": {**PRIOR, "fear": -1.0}}, "0 or more"),
        ({"view": "boredom"}, "boredom"),
        ({"prior": "uniform", "view": ["contempt"]}, "no class is left"),
    ],
)
def test_unusable_options_are_refused(logits, options, words):
    with pytest.raises(InputError, match=words):
        probabilities(logits, card(), **options)


def test_other_refusals(logits):
    with pytest.raises(InputError, match="does not say"):
        probabilities(logits, card(prior={}), prior="uniform")
    with pytest.raises(InputError, match="N,8"):
        probabilities(logits[:, :7], card())
    with pytest.raises(InputError, match="finite"):
        probabilities(np.full((1, 8), np.nan, np.float32), card())
