import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch

from mien.config import ModelConfig, OptimConfig, SAMConfig, SEConfig
from mien.errors import InputError
from mien.models.build import build_model
from mien.models.swin import ExpressionSwin
from mien.train.optim import (
    build_optimizer,
    freeze_encoder,
    is_encoder_frozen,
    layer_depths,
    learning_rate,
    parameter_groups,
    set_learning_rate,
)
from mien.train.sam import SAM
from mien.train.sam_relatives import ESAM, LookSAM, MomentumSAM

TINY = ModelConfig(embed_dim=16, depths=(1,), num_heads=(2,))


def test_the_papers_step_schedule() -> None:
    config = OptimConfig(name="sgd", lr=0.01, schedule="step", step_epochs=10, gamma=0.1)
    rates = [learning_rate(config, epoch * 7, 7, 25) for epoch in range(25)]
    assert rates[:10] == [0.01] * 10
    assert rates[10:20] == pytest.approx([0.001] * 10)
    assert rates[20:] == pytest.approx([0.0001] * 5)
    assert learning_rate(config, 69, 7, 25) == 0.01


def test_cosine_with_warm_up() -> None:
    config = OptimConfig(lr=1.0, warmup_epochs=1, final_lr=0.1)
    rates = [learning_rate(config, step, 10, 11) for step in range(110)]
    assert rates[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert rates[10] == pytest.approx(1.0)
    assert rates[60] == pytest.approx(0.55)
    assert rates[-1] == pytest.approx(0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * 0.99)))
    assert all(a >= b for a, b in pairwise(rates[9:]))


def test_a_short_run_is_not_all_warm_up() -> None:
    config = OptimConfig(lr=1.0, warmup_epochs=5)
    assert max(learning_rate(config, step, 10, 5) for step in range(50)) == pytest.approx(1.0)


def test_biases_norms_and_position_tables_are_not_decayed() -> None:
    model = build_model(TINY, 8)
    optimizer = build_optimizer(model, OptimConfig(weight_decay=0.5))
    names = {id(p): n for n, p in model.named_parameters()}
    decayed = {names[id(p)] for p in optimizer.param_groups[0]["params"]}
    kept = {names[id(p)] for p in optimizer.param_groups[1]["params"]}
    assert decayed | kept == set(names.values())
    assert optimizer.param_groups[0]["weight_decay"] == 0.5
    assert optimizer.param_groups[1]["weight_decay"] == 0.0
    assert any("relative_position_bias_table" in n for n in kept)
    assert "head.bias" in kept
    assert "head.weight" in decayed


def test_the_rate_reaches_the_base_optimizer() -> None:
    optimizer = build_optimizer(build_model(TINY, 8), OptimConfig(sam=SAMConfig(rho=0.1)))
    set_learning_rate(optimizer, 0.123)
    assert {group["lr"] for group in optimizer.base.param_groups} == {0.123}


def test_sgd_takes_the_momentum_and_decay_of_the_config() -> None:
    config = OptimConfig(name="sgd", lr=0.3, momentum=0.7, weight_decay=0.02)
    base = build_optimizer(build_model(TINY, 8), config).base
    assert isinstance(base, torch.optim.SGD)
    assert {group["momentum"] for group in base.param_groups} == {0.7}
    assert {group["lr"] for group in base.param_groups} == {0.3}
    assert [group["weight_decay"] for group in base.param_groups] == [0.02, 0.0]


def test_adamw_takes_the_betas_and_decay_of_the_config() -> None:
    config = OptimConfig(name="adamw", lr=0.3, betas=(0.8, 0.95), weight_decay=0.02)
    base = build_optimizer(build_model(TINY, 8), config).base
    assert isinstance(base, torch.optim.AdamW)
    assert {group["betas"] for group in base.param_groups} == {(0.8, 0.95)}
    assert {group["lr"] for group in base.param_groups} == {0.3}
    assert [group["weight_decay"] for group in base.param_groups] == [0.02, 0.0]


@pytest.mark.parametrize("adaptive", [False, True])
def test_sam_takes_its_radius_and_kind_from_the_config(adaptive: bool) -> None:
    config = OptimConfig(sam=SAMConfig(rho=0.3, adaptive=adaptive))
    optimizer = build_optimizer(build_model(TINY, 8), config)
    assert optimizer.rho == 0.3
    assert optimizer.adaptive is adaptive


@pytest.mark.parametrize("rho", [0.0, 0.05])
def test_clipping_bounds_the_step_not_the_perturbation(rho: float) -> None:
    model = build_model(TINY, 8)
    config = OptimConfig(
        name="sgd", lr=1.0, momentum=0.0, weight_decay=0.0, clip_norm=0.01, sam=SAMConfig(rho=rho)
    )
    optimizer = build_optimizer(model, config)
    before = torch.nn.utils.parameters_to_vector(model.parameters()).detach().clone()
    x = torch.randn(4, 1, 48, 48)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = model(x).square().sum() * 100
        loss.backward()
        return loss

    optimizer.step(closure)
    moved = torch.nn.utils.parameters_to_vector(model.parameters()).detach() - before
    assert float(moved.norm()) == pytest.approx(0.01, rel=1e-3)


def _closure(model: torch.nn.Module, optimizer: SAM, x: torch.Tensor) -> Callable[..., torch.Tensor]:
    def closure(rows: torch.Tensor | None = None, *, backward: bool = True) -> torch.Tensor:
        losses = model(x if rows is None else x[rows]).square().mean(1)
        if backward:
            optimizer.zero_grad()
            losses.mean().backward()
        return losses

    return closure


def test_each_method_of_the_config_becomes_its_class_with_its_settings() -> None:
    def built(**options: object) -> SAM:
        config = OptimConfig(sam=SAMConfig(rho=0.3, **options))  # type: ignore[arg-type]
        return build_optimizer(build_model(TINY, 8), config)

    assert type(built()) is SAM
    look = built(method="looksam", every=7, alpha=0.2, adaptive=True)
    assert isinstance(look, LookSAM)
    assert (look.rho, look.every, look.alpha, look.adaptive) == (0.3, 7, 0.2, True)
    esam = built(method="esam", beta=0.4, gamma=0.6, adaptive=True)
    assert isinstance(esam, ESAM)
    assert (esam.rho, esam.beta, esam.gamma, esam.adaptive) == (0.3, 0.4, 0.6, True)
    msam = built(method="msam")
    assert isinstance(msam, MomentumSAM)
    assert msam.rho == 0.3


def test_momentum_sam_without_momentum_is_refused_in_a_sentence() -> None:
    config = OptimConfig(name="sgd", momentum=0.0, sam=SAMConfig(method="msam", rho=1.0))
    with pytest.raises(InputError, match=r"optim\.momentum above 0"):
        build_optimizer(build_model(TINY, 8), config)


@pytest.mark.parametrize(
    "options",
    [{"every": 0}, {"alpha": -1.0}, {"beta": 0.0}, {"gamma": 1.5}, {"method": "msam", "adaptive": True}],
)
def test_settings_that_mean_nothing_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(InputError):
        SAMConfig(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [{"layer_decay": 0.0}, {"layer_decay": 1.1}, {"frozen_epochs": -1.0}])
def test_fine_tuning_settings_are_checked(options: dict[str, float]) -> None:
    with pytest.raises(InputError):
        OptimConfig(**options)  # type: ignore[arg-type]


def _three_stages() -> ExpressionSwin:
    return build_model(
        ModelConfig(embed_dim=16, depths=(1, 2, 1), num_heads=(2, 2, 2), se=SEConfig("pooled", 4)), 8
    )


def test_layers_are_counted_from_the_stem_to_the_head() -> None:
    depths = layer_depths(_three_stages())
    assert depths["encoder.patch_embed.layers.0.weight"] == 0
    assert depths["encoder.layers.0.blocks.0.attn.qkv.weight"] == 1
    assert depths["encoder.layers.1.downsample.reduction.weight"] == 2
    assert depths["encoder.layers.1.blocks.0.mlp.fc1.bias"] == 2
    assert depths["encoder.layers.1.blocks.1.attn.relative_position_bias_table"] == 3
    assert depths["encoder.layers.2.blocks.0.norm1.weight"] == 4
    assert depths["encoder.norm.weight"] == 4
    assert {depth for name, depth in depths.items() if not name.startswith("encoder.")} == {5}
    assert {"head.weight", "head.bias"} < depths.keys()


@pytest.mark.parametrize("name", ["swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256"])
def test_layers_of_timms_swin_are_counted_one_a_block(name: str) -> None:
    with torch.device("meta"):
        model = build_model(ModelConfig(name=name, size=64, channels=3), 8)
    depths = layer_depths(model)
    # Swin-T has 2 + 2 + 6 + 2 blocks.
    assert set(depths.values()) == set(range(14))
    assert depths["encoder.patch_embed.proj.weight"] == 0
    assert depths["encoder.layers.2.blocks.5.mlp.fc2.weight"] == 10
    assert depths["encoder.layers.3.blocks.1.mlp.fc2.weight"] == 12
    assert depths["head.weight"] == 13


def test_layer_decay_scales_every_rate_and_keeps_the_exemptions() -> None:
    model = _three_stages()
    config = OptimConfig(lr=1.0, weight_decay=0.5, layer_decay=0.5)
    optimizer = build_optimizer(model, config)
    names = {id(p): n for n, p in model.named_parameters()}
    depths = layer_depths(model)
    for rate in (1.0, 0.2):
        set_learning_rate(optimizer, rate)
        seen = []
        for group in optimizer.base.param_groups:
            for parameter in group["params"]:
                name = names[id(parameter)]
                seen.append(name)
                assert group["lr"] == pytest.approx(rate * 0.5 ** (5 - depths[name]))
                exempt = parameter.ndim <= 1 or "relative_position_bias_table" in name
                assert group["weight_decay"] == (0.0 if exempt else 0.5)
        assert sorted(seen) == sorted(names.values())


def test_rates_are_scaled_before_the_loop_sets_them_and_a_step_heeds_them() -> None:
    model = _three_stages()
    config = OptimConfig(name="sgd", lr=1.0, momentum=0.0, weight_decay=0.0, layer_decay=0.5)
    optimizer = build_optimizer(model, config)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer.step(_closure(model, optimizer, torch.randn(4, 1, 48, 48)))
    depths = layer_depths(model)
    for name, p in model.named_parameters():
        torch.testing.assert_close(
            p.detach(), before[name] - 0.5 ** (5 - depths[name]) * p.grad, rtol=1e-5, atol=1e-7
        )


def test_layer_decay_of_a_network_without_layers_is_refused() -> None:
    with pytest.raises(InputError, match=r"optim\.layer_decay: Linear has no layers"):
        parameter_groups(torch.nn.Linear(2, 2), OptimConfig(layer_decay=0.9))


def test_the_frozen_epochs_end_within_an_epoch() -> None:
    config = OptimConfig(frozen_epochs=1.5)
    assert [is_encoder_frozen(config, step, 4) for step in range(8)] == [True] * 6 + [False] * 2
    assert not is_encoder_frozen(OptimConfig(), 0, 4)


@pytest.mark.parametrize("method", ["sam", "looksam", "esam", "msam"])
def test_a_frozen_encoder_stays_and_learns_afterwards(method: str) -> None:
    torch.manual_seed(0)
    model = _three_stages()
    sam = SAMConfig(method=method, rho=0.1)  # type: ignore[arg-type]
    optimizer = build_optimizer(model, OptimConfig(lr=0.1, sam=sam))
    x = torch.randn(4, 1, 48, 48)
    freeze_encoder(model, True)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for _ in range(3):
        optimizer.step(_closure(model, optimizer, x))
    after = model.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved
    assert not any(name.startswith("encoder.") for name in moved)
    assert {"head.weight", "head.bias"} < moved
    freeze_encoder(model, False)
    assert model.encoder.training
    optimizer.step(_closure(model, optimizer, x))
    still = [n for n, p in model.encoder.named_parameters() if torch.equal(before[f"encoder.{n}"], p)]
    assert still == []


def test_freezing_needs_an_encoder() -> None:
    with pytest.raises(InputError, match="Linear has no encoder"):
        freeze_encoder(torch.nn.Linear(2, 2), True)
