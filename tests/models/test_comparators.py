"""Every module of `mien.models.comparators` is a network that training, export and analyses can take."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
import torch

from mien.config import ModelConfig, SEConfig, SEPosition
from mien.errors import InputError
from mien.models.build import build_model
from mien.models.comparators import comparator, names


def test_a_module_is_a_comparator_by_being_there() -> None:
    folder = Path(str(__import__("mien.models.comparators", fromlist=["names"]).__file__)).parent
    assert names() == tuple(sorted(path.stem for path in folder.glob("*.py") if path.stem != "__init__"))
    assert {"dan", "efficientnet_b2", "resnet50", "vit_se"} <= set(names())


@pytest.mark.parametrize("name", names())
def test_a_comparator_offers_what_is_asked_of_it(name: str) -> None:
    own = comparator(name).SE_POSITION
    assert own in get_args(SEPosition)
    # Shapes only: a network of this size takes a second to fill.
    with torch.device("meta"):
        model = build_model(ModelConfig(name=name, se=SEConfig(own)), 5)
        faces = torch.zeros(2, 1, 48, 48)
        assert isinstance(model.has_own_loss, bool)
        assert model.training
        assert model.eval()(faces).shape == (2, 5)
        features = model.features(faces)
    assert features.before_se.shape == features.after_se.shape == (2, model.channels)


def test_an_unknown_name_lists_them() -> None:
    with pytest.raises(
        InputError, match=r"no Swin called 'resnet51'.* or a comparator: dan, efficientnet_b2"
    ):
        build_model(ModelConfig(name="resnet51", se=SEConfig("none")), 5)
