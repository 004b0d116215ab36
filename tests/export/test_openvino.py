"""OpenVINO IR answers as torch does and carries its card; skipped where openvino is not installed."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from mien.card import ModelCard
from mien.errors import InputError, MienError, MissingExtra
from mien.export.openvino import check_openvino, export_openvino
from mien.export.run import export_run
from mien.models.saved import read_run
from mien.runtime.classifier import Classifier


@pytest.fixture(scope="module")
def source(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("openvino") / "model.onnx"
    export_run(trained, path)
    return path


def test_the_network_answers_as_torch_does_and_carries_its_card(
    trained: Path, source: Path, tmp_path: Path
) -> None:
    openvino = pytest.importorskip("openvino")
    path = tmp_path / "model.xml"
    assert export_openvino(trained, source, path) <= 1e-4
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["model.bin", "model.xml"]
    network = openvino.Core().read_model(path)
    card = ModelCard.from_json(network.get_rt_info(["mien", "card"]).astype(str))
    assert card == Classifier(source).card
    inputs = torch.randn(3, card.channels, card.size, card.size)
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    answers = openvino.compile_model(network, "CPU", settings)({"faces": inputs.numpy()})["logits"]
    with torch.inference_mode():
        np.testing.assert_allclose(answers, read_run(trained).model()(inputs).numpy(), atol=1e-4)
    module = read_run(trained).model()
    with torch.no_grad():
        next(module.parameters()).add_(0.5)
    with pytest.raises(MienError, match="from torch's"):
        check_openvino(module, path, card)


def test_without_openvino_the_install_line_is_said(
    trained: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtra, match=r'pip install "mien\[openvino\]"'):
        export_openvino(trained, source, tmp_path / "model.xml")
    with pytest.raises(InputError, match=r"must end in \.xml"):
        export_openvino(trained, source, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []
