"""A model file of a few kilobytes, written without torch: one matrix over the pixels."""

from math import prod
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mien.card import CARD_KEY, CropTemplate, ModelCard
from mien.labels import EMOTIONS

TEMPLATE = CropTemplate(left_eye=(0.36, 0.38), right_eye=(0.64, 0.38), detected=1.0, spread=0.05, count=24)


def make_card(**changes) -> ModelCard:
    values = {
        "name": "linear",
        "labels": EMOTIONS,
        "size": 12,
        "channels": 1,
        "template": TEMPLATE,
        "licence": "none",
    }
    return ModelCard(**{**values, **changes})


def weights_of(card: ModelCard, seed: int = 0) -> np.ndarray:
    pixels = card.channels * card.size**2
    draws = np.random.default_rng(seed).normal(size=(pixels, len(card.labels))) / np.sqrt(pixels)
    return (3 * draws).astype(np.float32)


def write_model(
    path: Path, card: ModelCard | None, *, shape=None, classes=None, names=("faces", "logits"), text=None
) -> Path:
    """Write the linear model; the keyword arguments make files that contradict their card."""
    told = card if card is not None else make_card()
    size, channels = told.size, told.channels
    shape = shape or ["batch", channels, size, size]
    # np.resize repeats the weights where a test asks for another shape than the card's.
    weights = np.resize(weights_of(told), (prod(shape[1:]), classes or len(told.labels)))
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", [names[0]], ["flat"]),
            helper.make_node("MatMul", ["flat", "weights"], [names[1]]),
        ],
        "linear",
        [helper.make_tensor_value_info(names[0], TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(names[1], TensorProto.FLOAT, [shape[0], weights.shape[1]])],
        [numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    if card is not None or text is not None:
        helper.set_model_props(model, {CARD_KEY: text if text is not None else told.to_json()})
    onnx.save(model, path)
    return path


@pytest.fixture
def card():
    return make_card()


@pytest.fixture
def model_path(tmp_path, card):
    return write_model(tmp_path / "model.onnx", card)


@pytest.fixture
def writer():
    return write_model


@pytest.fixture
def card_maker():
    return make_card


@pytest.fixture
def weights():
    return weights_of
