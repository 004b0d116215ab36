"""The comparators against their published sizes, their formulae and the loop's and the exporter's demands."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from mien.card import ModelCard
from mien.config import ModelConfig, SEConfig, read_run_config
from mien.data.synthetic import draw_faces
from mien.errors import InputError
from mien.export.onnx import check_export, export_model
from mien.labels import EMOTIONS
from mien.models.baselines import build_baseline
from mien.models.build import parameter_count
from mien.models.dan import AffinityLoss, ChannelAttention, SpatialAttention, partition_loss
from mien.models.weights import load_starting_weights
from mien.preprocess import to_input

CONFIGS = Path(__file__).parents[2] / "configs"
NAMES = ("dan", "efficientnet_b2", "resnet50", "vit_se")


def config(name: str, **changes: Any) -> ModelConfig:
    se = SEConfig("pooled" if name == "vit_se" else "none")
    return ModelConfig(**{"name": name, "drop_path": 0.0, "se": se, **changes})


def outline(name: str, classes: int = 8, **changes: Any) -> nn.Module:
    """The network without memory for its weights: shapes only."""
    with torch.device("meta"):
        return build_baseline(config(name, **changes), classes)


def shallow(name: str, **changes: Any) -> nn.Module:
    """The network with one block a stage, so that a test may train it."""
    model = build_baseline(config(name, **changes), len(EMOTIONS))
    encoder = model.encoder
    if name == "vit_se":
        encoder.blocks = encoder.blocks[:1]
    elif name == "efficientnet_b2":
        for stage, blocks in enumerate(encoder.blocks):
            encoder.blocks[stage] = blocks[:1]
    else:
        for stage in range(1, 5):
            layer = f"layer{stage}"
            setattr(encoder, layer, getattr(encoder, layer)[:1])
    return model


def losses_of(model: nn.Module, x: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy and the network's own loss, 0 where it has none."""
    if not model.has_own_loss:
        return F.cross_entropy(model(x), targets), torch.zeros(())
    logits, own = model(x, targets)
    return F.cross_entropy(logits, targets), own


# Published sizes


@pytest.mark.parametrize(
    ("name", "classes", "size", "published"),
    [
        ("resnet50", 1000, 224, 25_557_032),
        ("vit_se", 1000, 224, 86_567_656),
        ("efficientnet_b2", 1000, 260, 9_109_994),
        # 19.72 M in the paper; the figure to the last unit is counted in the authors' code.
        ("dan", 7, 224, 19_723_733),
    ],
)
def test_parameters_are_as_many_as_published(name: str, classes: int, size: int, published: int) -> None:
    model = outline(name, classes, size=size, channels=3)
    # What the counts leave out: the block on top of ViT-B/16, and the centres, which belong to DAN's loss.
    extras = model.head.affinity if name == "dan" else model.se
    assert parameter_count(model) - parameter_count(extras) == published
    assert model(torch.zeros(2, 3, size, size, device="meta")).shape == (2, classes)


def test_vit_has_the_excitation_of_its_width() -> None:
    assert parameter_count(outline("vit_se").se) == 768 * 48 + 48 + 48 * 768 + 768


# Inputs of every size


@pytest.mark.parametrize(
    ("size", "name", "side"),
    [
        (48, "resnet50", 3),
        (48, "efficientnet_b2", 3),
        (48, "dan", 3),
        (95, "dan", 6),
        (96, "dan", 3),
        (96, "efficientnet_b2", 3),
        (224, "resnet50", 7),
        (224, "efficientnet_b2", 7),
    ],
)
def test_the_last_map_of_a_cnn(size: int, name: str, side: int) -> None:
    faces = torch.zeros(2, 1, size, size, device="meta")
    assert outline(name, size=size).encoder.forward_features(faces).shape[2:] == (side, side)


@pytest.mark.parametrize(("size", "grid"), [(48, 6), (64, 8), (96, 6), (224, 14)])
def test_the_grid_of_vit(size: int, grid: int) -> None:
    assert outline("vit_se", size=size).encoder.patch_embed.grid_size == (grid, grid)


@pytest.mark.parametrize("name", NAMES)
def test_a_small_face_in_rgb(name: str) -> None:
    assert outline(name, channels=3)(torch.zeros(2, 3, 48, 48, device="meta")).shape == (2, 8)


@pytest.mark.parametrize("name", NAMES)
def test_the_head_reads_the_feature_after_se(name: str) -> None:
    model = shallow(name).eval()
    x = torch.randn(2, 1, 48, 48)
    before, after = model.features(x)
    assert before.shape == after.shape == (2, model.channels)
    assert torch.equal(before, after) == (name != "vit_se")
    assert model(x).shape == (2, 8)
    torch.testing.assert_close(model(x), model.head(after))


def test_vits_feature_is_the_class_token() -> None:
    model = shallow("vit_se").eval()
    x = torch.randn(2, 1, 48, 48)
    token = model.encoder.forward_features(x)[:, 0]
    torch.testing.assert_close(model(x), model.head(token * model.se.gates(token)))


@pytest.mark.parametrize("name", NAMES)
def test_channels_drop_path_and_hub_weights_reach_timm(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []

    def create_model(timm_name: str, **options: Any) -> nn.Module:
        asked.append(dict(options))
        return create(timm_name, **{**options, "pretrained": False})

    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", create_model)
    with torch.device("meta"):
        for hub_weights in (False, True):
            build_baseline(config(name, drop_path=0.2, channels=3), 8, hub_weights=hub_weights)
    for options, pretrained in zip(asked, (False, True), strict=True):
        assert options["pretrained"] is pretrained
        assert (options["drop_path_rate"], options["in_chans"], options["num_classes"]) == (0.2, 3, 0)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "vit_se", "size": 50}, "patches of 8 px; 50 px"),
        ({"name": "vit_se", "size": 100}, "patches of 16 px; 100 px"),
        ({"name": "resnet50", "se": SEConfig("pooled")}, "position is pooled; resnet50 is defined with none"),
        ({"name": "dan", "se": SEConfig("stem")}, "position is stem; dan is defined with none"),
        ({"name": "vit_se", "se": SEConfig("none")}, "position is none; vit_se is defined with pooled"),
    ],
)
def test_what_cannot_be_built_is_said_in_one_sentence(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        build_baseline(config(**changes), 8)
    assert "\n" not in str(caught.value)


# DAN's parts


def _normalised(x: Tensor, norm: nn.Module) -> Tensor:
    shape = (1, -1, 1, 1) if x.ndim == 4 else (1, -1)
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    return (x - norm.running_mean.view(shape)) * scale.view(shape) + norm.bias.view(shape)


def _with_drawn_norms(module: nn.Module) -> nn.Module:
    """In evaluation mode, with norms that have seen data, so that leaving one out would show."""
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.normal_(norm.running_mean)
            nn.init.uniform_(norm.running_var, 0.5, 2)
            nn.init.normal_(norm.weight)
            nn.init.normal_(norm.bias)
    return module.eval()


@torch.no_grad()
def test_spatial_attention_equals_its_formula() -> None:
    unit = _with_drawn_norms(SpatialAttention(16))
    x = torch.randn(2, 16, 4, 5)
    convolution, norm = unit.squeeze
    squeezed = _normalised(F.conv2d(x, convolution.weight, convolution.bias), norm)
    local = torch.zeros(2, 16, 4, 5)
    # A row of three and a column of three are 3x3 kernels with zeros around them.
    for layers, zeros in ((unit.square, (0, 0, 0, 0)), (unit.row, (0, 0, 1, 1)), (unit.column, (1, 1, 0, 0))):
        kernel = F.pad(layers[0].weight, zeros)
        local += _normalised(F.conv2d(squeezed, kernel, layers[0].bias, padding=1), layers[1])
    torch.testing.assert_close(unit(x), x * local.clamp(min=0).sum(1, keepdim=True))


@torch.no_grad()
def test_channel_attention_equals_its_formula() -> None:
    unit = _with_drawn_norms(ChannelAttention(32))
    reduce, norm, _, expand, _ = unit.gates
    x = torch.randn(3, 32, 4, 4)
    pooled = x.mean((2, 3))
    hidden = _normalised(pooled @ reduce.weight.T + reduce.bias, norm).clamp(min=0)
    assert hidden.shape == (3, 2)
    gates = 1 / (1 + torch.exp(-(hidden @ expand.weight.T + expand.bias)))
    torch.testing.assert_close(unit(x), pooled * gates)


@torch.no_grad()
def test_the_heads_compete_and_their_sum_is_classified() -> None:
    model = _with_drawn_norms(shallow("dan"))
    x = torch.randn(2, 1, 48, 48)
    heads = torch.stack([head(model.encoder.forward_features(x)) for head in model.attention])
    fused = (heads - heads.logsumexp(0)).sum(0)
    linear = fused @ model.head.weight.T + model.head.bias
    assert len(heads) == 4
    torch.testing.assert_close(model(x), _normalised(linear, model.head.norm))


def test_the_affinity_loss_of_two_faces() -> None:
    loss = AffinityLoss(classes=2, channels=2)
    loss.centres.data = torch.tensor([[0.0, 0.0], [2.0, 2.0]])
    features = torch.tensor([[1.0, 2.0], [3.0, 1.0]])
    likeliest = torch.tensor([[0.6, 0.4], [0.3, 0.7]])
    # |(1, 2) - (0, 0)|^2 = 5 and |(3, 1) - (2, 2)|^2 = 2; the centres vary by 2 along either axis.
    assert loss(features, likeliest).item() == pytest.approx((5 + 2) / 2 / 4)


def test_the_affinity_loss_draws_features_to_centres_and_centres_apart() -> None:
    loss = AffinityLoss(classes=2, channels=1)
    loss.centres.data = torch.tensor([[0.0], [1.0]])
    feature = torch.tensor([[0.5]], requires_grad=True)
    loss(feature, torch.tensor([[1.0, 0.0]])).backward()
    assert feature.grad.item() > 0  # down to its centre, which lies at 0
    assert loss.centres.grad[1].item() < 0  # up, away from the other centre


def test_the_partition_loss_of_two_faces() -> None:
    heads = torch.tensor([[[0.0], [2.0]], [[1.0], [5.0]]])
    # The two heads vary by 2 for one face and by 8 for the other: 5 on average.
    assert partition_loss(heads).item() == pytest.approx(math.log(1 + 2 / 5))
    assert partition_loss(heads * 2) < partition_loss(heads)


def test_heads_that_agree_cost_much_but_not_infinitely_much() -> None:
    heads = torch.ones(2, 4, 3, requires_grad=True)
    loss = partition_loss(heads)
    loss.backward()
    assert 30 < loss.item() < 50
    assert heads.grad.isfinite().all()


def test_dan_returns_its_own_loss_in_training_with_targets_only() -> None:
    model = shallow("dan")
    x, targets = torch.randn(4, 1, 48, 48), torch.eye(8)[[0, 3, 5, 5]]
    feature_map = model.encoder.forward_features(x)
    heads = torch.stack([head(feature_map) for head in model.attention], 1).log_softmax(1)
    expected = model.head.affinity(feature_map.mean((2, 3)), targets) + partition_loss(heads)
    logits, own = model(x, targets)
    torch.testing.assert_close(own, expected)
    assert torch.equal(logits, model(x))
    assert isinstance(model.eval()(x, targets), Tensor)


def test_dans_loss_survives_bf16() -> None:
    model = shallow("dan")
    x, targets = torch.randn(8, 1, 48, 48), torch.eye(8)
    _, exact = model(x, targets)
    with torch.autocast("cpu", torch.bfloat16):
        _, rounded = model(x, targets)
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, exact, rtol=0.02, atol=0)


def test_starting_weights_of_other_classes_keep_dans_new_centres(tmp_path: Path) -> None:
    source = shallow("dan")
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    model = build_baseline(config("dan"), 3)
    for stage in range(1, 5):
        setattr(model.encoder, f"layer{stage}", getattr(model.encoder, f"layer{stage}")[:1])
    load_starting_weights(model, tmp_path / "w.safetensors", ())
    assert model.head.affinity.centres.shape == (3, 512)
    assert torch.equal(model.attention[3][0].row[0].weight, source.attention[3][0].row[0].weight)


# The loop and the exporter


@pytest.mark.parametrize("name", NAMES)
def test_a_comparator_learns_a_handful_of_drawn_faces(name: str) -> None:
    model, drawn = shallow(name), draw_faces(8, size=48, seed=3, frontal=True)
    x = torch.from_numpy(to_input(drawn.images, size=48, channels=1, mean=0.5, std=0.5))
    targets = torch.eye(8)[torch.from_numpy(drawn.labels)]
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4)
    entropy, own = [], []
    for _ in range(6):
        optimizer.zero_grad()
        losses = losses_of(model, x, targets)
        sum(losses).backward()
        assert all(p.grad is not None for p in model.parameters())
        optimizer.step()
        entropy.append(losses[0].item())
        own.append(losses[1].item())
    assert entropy[-1] < 0.75 * entropy[0]
    assert own[-1] < 0.9 * own[0] or not model.has_own_loss


@pytest.mark.soak
@pytest.mark.parametrize("name", NAMES)
def test_a_whole_comparator_exports(name: str, tmp_path: Path) -> None:
    model = build_baseline(config(name), len(EMOTIONS))
    drawn = draw_faces(16, size=48)
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
            # Gains start at 0 at the end of a residual branch, which would hide the branch.
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.normal_(norm.bias, std=0.1)
            norm.momentum = None  # the statistics of one pass, not a tenth of them
    with torch.no_grad():
        model(torch.from_numpy(to_input(drawn.images, size=48, channels=1, mean=0.5, std=0.5)))
    export_model(model.eval(), ModelCard("m", EMOTIONS, 48, 1, 0.5, 0.5), tmp_path / "m.onnx")
    check_export(model, tmp_path / "m.onnx", drawn.images)


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_config_is_the_compact_recipe_with_another_network(name: str) -> None:
    compact = read_run_config(CONFIGS / "compact" / "swin.toml")
    run = read_run_config(CONFIGS / "baselines" / f"{name}.toml")
    assert run.model == config(name, drop_path=compact.model.drop_path)
    assert dataclasses.replace(run, model=compact.model) == compact
