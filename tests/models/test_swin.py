import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from mien.card import ModelCard
from mien.config import ModelConfig, SEConfig
from mien.errors import InputError
from mien.export.onnx import check_export, export_model
from mien.models.build import build_model, parameter_count
from mien.models.swin import ConvStem, ExpressionSwin

TINY = ModelConfig(embed_dim=16, depths=(1, 2), num_heads=(2, 4), drop_path=0.0)


@pytest.mark.parametrize("position", ["none", "pooled", "feature_map", "stem"])
@pytest.mark.parametrize("channels", [1, 3])
def test_logits_and_gradients_at_every_se_position(position: str, channels: int) -> None:
    config = dataclasses.replace(TINY, channels=channels, se=SEConfig(position, 4))
    model = build_model(config, 8)
    logits = model(torch.randn(2, channels, 48, 48))
    assert logits.shape == (2, 8)
    logits.sum().backward()
    assert all(p.grad is not None for p in model.parameters())
    assert (sum("se." in name for name, _ in model.named_parameters()) > 0) == (position != "none")


@pytest.mark.parametrize(
    ("position", "width"), [("none", 32), ("pooled", 32), ("feature_map", 32), ("stem", 16)]
)
def test_features_before_and_after_se(position: str, width: int) -> None:
    model = build_model(dataclasses.replace(TINY, se=SEConfig(position, 4)), 8).eval()
    before, after = model.features(torch.randn(3, 1, 48, 48))
    assert before.shape == after.shape == (3, width)
    assert torch.equal(before, after) == (position == "none")


@pytest.mark.parametrize("position", ["pooled", "feature_map", "none"])
def test_the_head_reads_the_features_after_se(position: str) -> None:
    model = build_model(dataclasses.replace(TINY, se=SEConfig(position, 4)), 8).eval()
    x = torch.randn(3, 1, 48, 48)
    torch.testing.assert_close(model.head(model.features(x).after_se), model(x))


def test_without_se_and_stem_it_is_timms_swin() -> None:
    from timm.models.swin_transformer import SwinTransformer

    reference = SwinTransformer(
        img_size=48,
        patch_size=4,
        in_chans=3,
        num_classes=5,
        embed_dim=16,
        depths=(1, 1),
        num_heads=(2, 4),
        window_size=6,
    ).eval()
    config = ModelConfig(
        channels=3, stem="patch", embed_dim=16, depths=(1, 1), num_heads=(2, 4), se=SEConfig("none")
    )
    model = build_model(config, 5).eval()
    state = {k: v for k, v in reference.state_dict().items() if not k.startswith("head.")}
    model.encoder.load_state_dict(state)
    model.head.load_state_dict(reference.head.fc.state_dict())
    x = torch.randn(2, 3, 48, 48)
    torch.testing.assert_close(model(x), reference(x))


@pytest.mark.parametrize("count", [3, 4, 5, 8])
def test_a_stem_of_any_depth_gives_one_token_for_four_by_four_pixels(count: int) -> None:
    stem = ConvStem(48, in_chans=1, embed_dim=16, convolutions=count)
    assert sum(isinstance(layer, torch.nn.Conv2d) for layer in stem.modules()) == count
    assert stem(torch.randn(2, 1, 48, 48)).shape == (2, 12, 12, 16)
    assert stem.grid_size == (12, 12)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_stem_stays_channels_last_and_is_the_convolutions(channels: int) -> None:
    stem = ConvStem(48, in_chans=channels, embed_dim=16).eval()
    x = torch.randn(2, channels, 48, 48)
    layouts = []
    for layer in stem.layers:
        layer.register_forward_hook(lambda _, __, y: layouts.append(y.permute(0, 2, 3, 1).is_contiguous()))
    tokens = stem(x)
    assert all(layouts)
    assert len(layouts) == len(stem.layers)
    torch.testing.assert_close(tokens, stem.norm(stem.layers(x).permute(0, 2, 3, 1)))


def test_the_compact_default_holds_at_most_five_million_parameters() -> None:
    assert parameter_count(build_model(ModelConfig(), 8)) <= 5_000_000


def test_a_timm_name_at_another_size() -> None:
    model = build_model(ModelConfig(name="swin_tiny_patch4_window7_224", size=64, channels=1), 8)
    assert isinstance(model, ExpressionSwin)
    assert model.channels == 768
    assert model.eval()(torch.randn(1, 1, 64, 64)).shape == (1, 8)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"name": "swine_tiny"}, "swine_tiny"),
        ({"size": 50}, "50 px"),
        ({"stem_convolutions": 2}, "at least 3"),
        ({"num_heads": (3, 6)}, "3 heads"),
        ({"depths": (1,)}, "model.depths"),
        ({"pretrained": "hub"}, "compact_swin"),
        ({"pretrained": "nowhere.safetensors"}, "nowhere.safetensors"),
    ],
)
def test_what_cannot_be_built_is_said_in_one_sentence(change: dict[str, object], word: str) -> None:
    with pytest.raises(InputError, match=word) as caught:
        build_model(dataclasses.replace(TINY, **change), 8)
    assert "\n" not in str(caught.value)


def test_no_network_is_said_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    import timm

    def unreachable(*_args: object, **_kwargs: object) -> None:
        raise OSError("we couldn't connect to the hub")

    monkeypatch.setattr(timm, "create_model", unreachable)
    with pytest.raises(InputError, match=r"could not be had .*\.safetensors"):
        build_model(ModelConfig(name="swin_tiny_patch4_window7_224", size=224, pretrained="hub"), 8)


def test_local_convolutions_begin_as_nothing_and_learn() -> None:
    torch.manual_seed(0)
    plain = build_model(TINY, 8).eval()
    local = build_model(dataclasses.replace(TINY, local="depthwise"), 8).eval()
    missing, unexpected = local.load_state_dict(plain.state_dict(), strict=False)
    assert len(missing) == 2 * sum(TINY.depths)
    assert not unexpected
    x = torch.randn(3, 1, 48, 48)
    torch.testing.assert_close(local(x), plain(x))
    local(x).square().sum().backward()
    kernels = [p for name, p in local.named_parameters() if name.endswith("local.weight")]
    assert [tuple(kernel.shape) for kernel in kernels] == [(16, 1, 3, 3), (32, 1, 3, 3), (32, 1, 3, 3)]
    assert all(kernel.grad is not None and kernel.grad.any() for kernel in kernels)


def test_a_local_convolution_shifts_the_map_by_one_token() -> None:
    block = build_model(dataclasses.replace(TINY, local="depthwise"), 8).eval().encoder.layers[0].blocks[0]
    x = torch.randn(2, 12, 12, 16)
    with torch.no_grad():
        block.local.weight[:, 0, 1, 0] = 1.0
        shifted = torch.zeros_like(x)
        shifted[:, :, 1:] = x[:, :, :-1]
        expected = x + shifted
        result = block(x)
        block.local.weight.zero_()
        torch.testing.assert_close(result, block(expected))


def test_local_convolutions_are_exported(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = build_model(dataclasses.replace(TINY, local="depthwise"), 3).eval()
    for name, parameter in model.named_parameters():
        if ".local." in name:
            torch.nn.init.normal_(parameter, std=0.3)
    export_model(model, ModelCard("m", ("calm", "glad", "cross"), 48, 1, 0.5, 0.5), tmp_path / "m.onnx")
    faces = np.random.default_rng(0).integers(0, 256, (5, 48, 48, 1), dtype=np.uint8)
    assert check_export(model, tmp_path / "m.onnx", faces) <= 1e-4
