"""The exported file answers as torch does for any batch; it carries its card and nothing of this machine."""

import math
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from timm.models.swin_transformer import SwinTransformer
from torch import nn

import mien
from mien.card import CARD_KEY, ModelCard
from mien.errors import InputError, MienError
from mien.export.onnx import check_export, export_model

LABELS = ("calm", "glad", "cross")


def tiny_swin():
    torch.manual_seed(0)
    return SwinTransformer(
        img_size=48,
        patch_size=4,
        in_chans=1,
        embed_dim=16,
        depths=(1, 1),
        num_heads=(1, 2),
        window_size=6,
        num_classes=3,
    ).eval()


class StemNet(nn.Module):
    """A convolutional stem whose BatchNorm has seen data, so that folding it wrongly would show."""

    def __init__(self, channels=3):
        super().__init__()
        torch.manual_seed(1)
        self.stem = nn.Sequential(
            nn.Conv2d(channels, 8, 3, 2, 1, bias=False),
            nn.BatchNorm2d(8),
            nn.GELU(),
            nn.Conv2d(8, 8, 3, 2, 1),
        )
        self.head = nn.Linear(8, 3)
        norm = self.stem[1]
        with torch.no_grad():
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 3)
            norm.weight.normal_()
            norm.bias.normal_()

    def forward(self, x):
        return self.head(self.stem(x).mean(dim=(2, 3)))


def card(**changes):
    return ModelCard(**{"name": "tiny", "labels": LABELS, "size": 48, "channels": 1, "notes": "ü", **changes})


def some_faces(count=5, size=48, channels=1):
    return np.random.default_rng(0).integers(0, 256, (count, size, size, channels), dtype=np.uint8)


@pytest.fixture(scope="module")
def swin_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "swin.onnx"
    export_model(tiny_swin(), card(), path)
    return path


def test_a_swin_answers_as_torch_does(swin_file):
    for count in (1, 2, 5, 17):
        assert check_export(tiny_swin(), swin_file, some_faces(count)) <= 1e-4
    assert check_export(tiny_swin(), swin_file, some_faces(3, size=60, channels=3)) <= 1e-4


def test_the_file_carries_its_card(swin_file):
    assert mien.load(swin_file).card == card()


def test_names_opset_and_batch(swin_file):
    model = onnx.load(swin_file)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 20)]
    dimensions = model.graph.input[0].type.tensor_type.shape.dim
    assert model.graph.input[0].name == "faces"
    assert model.graph.output[0].name == "logits"
    assert dimensions[0].dim_param == "batch"
    assert [dimension.dim_value for dimension in dimensions[1:]] == [1, 48, 48]
    assert [entry.key for entry in model.metadata_props] == [CARD_KEY]


def test_nothing_of_this_machine_is_in_the_file(swin_file):
    content = swin_file.read_bytes()
    for trace in (str(Path(__file__).parents[2]), str(Path(torch.__file__).parents[2]), ".py"):
        assert trace.encode() not in content
    assert list(swin_file.parent.iterdir()) == [swin_file]


def test_a_stem_with_batch_norm(tmp_path, capfd):
    path = tmp_path / "stem.onnx"
    module = StemNet().eval()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        export_model(module, card(channels=3, size=32, mean=0.4, std=0.3), path)
    out, err = capfd.readouterr()
    assert out == err == ""
    assert check_export(module, path, some_faces(9, size=32, channels=3)) <= 1e-4
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert not module.training


def test_exporting_twice_gives_the_same_bytes(tmp_path):
    module = StemNet().eval()
    paths = tmp_path / "a.onnx", tmp_path / "b.onnx"
    for path in paths:
        export_model(module, card(channels=3), path)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_a_difference_is_an_error(swin_file):
    module = tiny_swin()
    with torch.no_grad():
        module.head.fc.bias[1] += 1e-3
    with pytest.raises(MienError, match=r"0\.001 from torch"):
        check_export(module, swin_file, some_faces())
    with torch.no_grad():
        module.head.fc.bias[1] = math.nan
    with pytest.raises(MienError, match="nan"):
        check_export(module, swin_file, some_faces())


def test_what_does_not_fit_its_card_is_refused_and_writes_nothing(tmp_path):
    path = tmp_path / "none.onnx"
    with pytest.raises(InputError, match="training mode"):
        export_model(tiny_swin().train(), card(), path)
    with pytest.raises(InputError, match="2 labels"):
        export_model(tiny_swin(), card(labels=("a", "b")), path)
    with pytest.raises(InputError, match="does not take"):
        export_model(tiny_swin(), card(channels=3), path)
    assert list(tmp_path.iterdir()) == []
