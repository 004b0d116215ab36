"""The model that comes with mien: quick, small, honest about itself, and right about a smile."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import mien
from mien.card import RESEARCH_USE_LICENCE
from mien.labels import EMOTIONS

WEIGHTS = Path(mien.__file__).parent / "weights"


@pytest.fixture(scope="module")
def model() -> mien.Model:
    return mien.load()


def test_its_card_says_what_it_is_and_what_it_is_worth(model: mien.Model) -> None:
    card = model.card
    assert card.labels == EMOTIONS
    assert card.licence == RESEARCH_USE_LICENCE
    assert card.template is not None
    test = next(entry for entry in card.metrics if entry["split"] == "test" and entry["labels"] == "all")
    assert test["count"] == 3152
    assert 0.85 < test["values"]["accuracy"] < 0.87
    assert test["values"]["macro_recall"] > 0.65
    assert "0.00 points of the validation accuracy" in card.notes
    told = (WEIGHTS / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert card.manifest_hash in told
    assert card.notes in told


def test_it_is_small(model: mien.Model) -> None:
    assert model.path.stat().st_size < 4e6


def test_a_smile_is_happiness(model: mien.Model) -> None:
    data = pytest.importorskip("skimage.data")
    (face, *_) = model.read(data.astronaut())
    assert face.emotion == "happiness"
    assert face.confidence > 0.9
    assert not face.abstained


def test_alone_and_among_others_a_face_is_answered_alike(model: mien.Model) -> None:
    faces = np.random.default_rng(0).integers(0, 256, (5, 48, 48, 1), dtype=np.uint8)
    together = model.classify(faces)
    alone = np.concatenate([model.classify(face[None]) for face in faces])
    np.testing.assert_allclose(together, alone, atol=1e-5)
