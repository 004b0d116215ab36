import math
from itertools import pairwise

import pytest
import torch

from mien.config import ModelConfig, OptimConfig, SAMConfig
from mien.models.build import build_model
from mien.train.optim import build_optimizer, learning_rate, set_learning_rate

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
