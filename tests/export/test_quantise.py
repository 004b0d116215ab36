"""Quantised files: what is in 8 bits, that answers stay close, and that nothing else changes."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper
from torch import nn

from mien.card import CARD_KEY, ModelCard
from mien.export.onnx import export_model
from mien.export.quantise import METHODS, put_card, quantise
from mien.runtime.classifier import Classifier

CARD = ModelCard(name="tiny", labels=("calm", "glad", "cross"), size=24, channels=3, mean=0.4, std=0.3)


class StemAndAttention(nn.Module):
    """A convolution, linear layers, and a product of two activations, as the Swin networks have them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU())
        self.keys = nn.Linear(16, 16)
        self.hidden = nn.Linear(16, 64)
        self.head = nn.Linear(64, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.stem(x).flatten(2).transpose(1, 2)
        keys = self.keys(tokens)
        attended = (keys @ keys.transpose(1, 2)).softmax(-1) @ tokens
        logits: torch.Tensor = self.head(self.hidden(attended.mean(1)).relu())
        return logits


def some_faces(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 24, 24, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """fp32 and every method."""
    folder = tmp_path_factory.mktemp("quantised")
    paths = {name: folder / f"{name}.onnx" for name in ("fp32", *METHODS)}
    export_model(StemAndAttention().eval(), CARD, paths["fp32"])
    for method in METHODS:
        quantise(paths["fp32"], paths[method], method, card=CARD, faces=some_faces(40))
    return paths


def operators(path: Path) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(path).graph.node)


def test_each_method_takes_its_operators(files: dict[str, Path]) -> None:
    found = {name: operators(path) for name, path in files.items()}
    assert not {"QuantizeLinear", "DynamicQuantizeLinear", "MatMulInteger"} & set(found["fp32"])
    assert found["dynamic"]["MatMulInteger"] >= 3
    assert "QuantizeLinear" not in found["dynamic"]
    assert found["static"]["QuantizeLinear"] >= 4
    assert "MatMulInteger" not in found["static"]
    assert found["mixed"]["QuantizeLinear"] >= 1
    assert found["mixed"]["MatMulInteger"] >= 3
    # Attention's two products have no weights.
    assert all(found[method]["MatMul"] >= 2 for method in METHODS)


def test_weights_are_int8_with_a_scale_a_channel(files: dict[str, Path]) -> None:
    for method in METHODS:
        weights = [w for w in onnx.load(files[method]).graph.initializer if w.data_type == TensorProto.INT8]
        matrices = [numpy_helper.to_array(w) for w in weights if len(w.dims) > 1]
        assert len(matrices) >= 3
        # In 7 bits: on processors without VNNI two products of 8 bits would not fit into 16.
        assert all(np.abs(matrix.astype(int)).max() <= 64 for matrix in matrices)


def test_answers_stay_close_for_any_batch(files: dict[str, Path]) -> None:
    faces = some_faces(33, seed=5)
    expected = Classifier(files["fp32"]).logits(faces)
    for method in METHODS:
        for batch in (1, 33):
            logits = Classifier(files[method]).logits(faces, batch=batch)
            error = np.linalg.norm(logits - expected) / np.linalg.norm(expected)
            assert 0 < error < 0.05


def test_a_static_file_answers_a_face_the_same_in_any_batch(files: dict[str, Path]) -> None:
    model, faces = Classifier(files["static"]), some_faces(9, seed=2)
    np.testing.assert_allclose(model.logits(faces, batch=1), model.logits(faces), atol=1e-6)


def test_the_file_holds_its_card_and_the_standard_operators_alone(files: dict[str, Path]) -> None:
    for method in METHODS:
        model = onnx.load(files[method])
        assert [entry.key for entry in model.metadata_props] == [CARD_KEY]
        assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 20)]
        assert Classifier(files[method]).card == CARD
        assert b"/tmp" not in files[method].read_bytes()


def test_the_card_can_be_exchanged(files: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "own.onnx"
    path.write_bytes(files["static"].read_bytes())
    put_card(path, ModelCard(name="other", labels=CARD.labels, size=24, channels=3))
    assert Classifier(path).card.name == "other"
    assert onnx.load(path).graph == onnx.load(files["static"]).graph


def test_once_more_gives_the_same_bytes_and_says_nothing(
    files: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    handlers = logging.getLogger().handlers[:]
    for method in METHODS:
        path = tmp_path / f"{method}.onnx"
        quantise(files["fp32"], path, method, card=CARD, faces=some_faces(40))
        assert path.read_bytes() == files[method].read_bytes()
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger().handlers == handlers
    assert logging.root.manager.disable == logging.NOTSET
