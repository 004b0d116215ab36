from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mien.config import ModelConfig, SEConfig
from mien.errors import CheckpointError, InputError
from mien.models.build import build_model
from mien.models.weights import load_weights, weights_path

TINY = ModelConfig(embed_dim=16, depths=(1,), num_heads=(2,), se=SEConfig("none"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    save_file(build_model(TINY, 8).state_dict(), tmp_path / "w.safetensors")
    return tmp_path / "w.safetensors"


def test_weights_come_back(file: Path) -> None:
    a, b = build_model(TINY, 8), build_model(TINY, 8)
    load_weights(a, file)
    load_weights(b, file)
    assert all(
        torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    )


def test_another_shape_names_the_tensor_and_both_shapes(file: Path) -> None:
    wider = build_model(ModelConfig(embed_dim=32, depths=(1,), num_heads=(2,), se=SEConfig("none")), 8)
    with pytest.raises(CheckpointError, match=r"has shape \[.*\], the model wants \["):
        load_weights(wider, file)


def test_missing_and_left_over_tensors_are_named(file: Path) -> None:
    with pytest.raises(CheckpointError, match=r"holds no se\.reduce"):
        load_weights(build_model(ModelConfig(embed_dim=16, depths=(1,), num_heads=(2,)), 8), file)
    deeper = build_model(ModelConfig(embed_dim=16, depths=(2,), num_heads=(2,), se=SEConfig("none")), 8)
    save_file(deeper.state_dict(), file)
    with pytest.raises(CheckpointError, match=r"layers\.0\.blocks\.1\..* has not"):
        load_weights(build_model(TINY, 8), file)


def test_starting_weights_with_other_classes_keep_a_new_head(file: Path) -> None:
    model = build_model(ModelConfig(**{**TINY.__dict__, "pretrained": str(file)}), 3)
    source = build_model(TINY, 8)
    load_weights(source, file)
    assert model.head.weight.shape == (3, 16)
    torch.testing.assert_close(model.encoder.norm.weight, source.encoder.norm.weight)


def test_starting_weights_of_timms_own_file_fit_the_encoder(tmp_path: Path) -> None:
    import timm

    name = "swin_tiny_patch4_window7_224"
    theirs = timm.create_model(name, img_size=64, num_classes=10)
    save_file(theirs.state_dict(), tmp_path / "timm.safetensors")
    config = ModelConfig(name=name, size=64, channels=3, pretrained=str(tmp_path / "timm.safetensors"))
    model = build_model(config, 8)
    assert torch.equal(
        model.encoder.layers[3].blocks[0].mlp.fc1.weight, theirs.layers[3].blocks[0].mlp.fc1.weight
    )
    assert model.head.out_features == 8


@pytest.mark.parametrize(("labels", "same"), [(["x", "y"], True), (["y", "z"], False)])
def test_a_runs_head_is_kept_only_for_its_own_classes(labels: list[str], same: bool, tmp_path: Path) -> None:
    source = build_model(TINY, 2)
    save_file(source.state_dict(), tmp_path / "best.safetensors")
    (tmp_path / "run.json").write_text('{"labels": ["x", "y"]}')
    model = build_model(ModelConfig(**{**TINY.__dict__, "pretrained": str(tmp_path)}), 2, labels=labels)
    assert torch.equal(model.head.weight, source.head.weight) == same
    assert torch.equal(model.encoder.norm.weight, source.encoder.norm.weight)


def test_a_damaged_file_and_a_pickle_are_refused(tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(b"not this")
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        load_weights(build_model(TINY, 8), tmp_path / "w.safetensors")
    torch.save({}, tmp_path / "w.pt")
    with pytest.raises(InputError, match="never from a pickle"):
        weights_path(tmp_path / "w.pt")
    with pytest.raises(InputError, match="no weights there"):
        weights_path(tmp_path)
