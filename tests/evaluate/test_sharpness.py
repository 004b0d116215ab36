from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mien.config import RunConfig
from mien.errors import InputError
from mien.evaluate.hessian import hessian_top, hessian_trace
from mien.evaluate.landscape import LossSample, filter_normalised
from mien.evaluate.sharpness import (
    Estimate,
    ascent_sharpness,
    difference,
    random_rise,
)
from mien.models.build import build_model


def _sample(count: int = 12, size: int = 3, classes: int = 3) -> LossSample:
    random = np.random.default_rng(0)
    x = torch.from_numpy(random.normal(size=(count, 1, size, size)).astype(np.float32))
    return LossSample(x, torch.from_numpy(random.dirichlet(np.ones(classes), count).astype(np.float32)))


def _linear() -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(9, 3))


def _loss(net: nn.Module, sample: LossSample) -> Tensor:
    return F.cross_entropy(net(sample.inputs), sample.targets)


@pytest.mark.parametrize("adaptive", [False, True])
def test_the_ascent_by_hand(adaptive: bool) -> None:
    # More images than a batch holds, so that the gradient is a weighted sum.
    net, sample, rho = _linear(), _sample(270), 0.3
    weights = [p.detach().clone() for p in net.parameters()]
    loss = _loss(net, sample)
    gradients = torch.autograd.grad(loss, list(net.parameters()))
    scale = [w.abs() if adaptive else torch.ones_like(w) for w in weights]
    norm = torch.sqrt(sum(((s * g) ** 2).sum() for s, g in zip(scale, gradients, strict=True)))
    with torch.no_grad():
        for p, s, g in zip(net.parameters(), scale, gradients, strict=True):
            p.add_(rho * s**2 * g / norm)
        expected = float(_loss(net, sample) - loss)
        for p, w in zip(net.parameters(), weights, strict=True):
            p.copy_(w)
    measured = ascent_sharpness(net, sample, rho=rho, adaptive=adaptive)
    assert measured.value == pytest.approx(expected, rel=1e-4)
    assert measured.standard_error is None


def test_it_is_the_step_that_training_takes() -> None:
    from mien.train.sam import SAM

    net, sample = _linear(), _sample()
    seen: list[float] = []
    optimizer = SAM(torch.optim.SGD(net.parameters(), lr=0.1), net, rho=0.7, adaptive=True)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = _loss(net, sample)
        loss.backward()
        seen.append(float(loss.detach()))
        return loss

    expected = ascent_sharpness(net, sample, rho=0.7, adaptive=True).value
    optimizer.step(closure)
    assert seen[1] - seen[0] == pytest.approx(expected, rel=1e-4)


def test_m_sharpness_is_the_mean_over_batches_of_their_own_steps() -> None:
    net, sample = _linear(), _sample(14)
    parts = [ascent_sharpness(net, LossSample(x, y), rho=0.2).value for x, y in sample.batches(4)]
    measured = ascent_sharpness(net, sample, rho=0.2, m=4)
    assert measured.values == pytest.approx(parts[:3], rel=1e-5)
    assert measured.value == pytest.approx(np.mean(parts[:3]))
    assert measured.standard_error == pytest.approx(np.std(parts[:3], ddof=1) / np.sqrt(3), rel=1e-4)
    # A batch climbs higher on its own loss than on everyone's.
    assert measured.value > ascent_sharpness(net, sample, rho=0.2).value


def test_a_zero_gradient_has_nowhere_to_climb() -> None:
    net = _linear()
    nn.init.zeros_(net[1].weight)
    nn.init.zeros_(net[1].bias)
    even = LossSample(torch.ones(3, 1, 3, 3), torch.full((3, 3), 1 / 3))
    assert ascent_sharpness(net, even, rho=0.1).value == pytest.approx(0.0, abs=1e-6)


def test_random_rise_by_hand() -> None:
    net, sample = _linear(), _sample()
    weight = net[1].weight.detach().clone()
    centre = float(_loss(net, sample).detach())
    expected = []
    for draw in range(3):
        direction = filter_normalised(net, (5 << 20) + draw)["1.weight"]
        both = []
        for way in (0.4, -0.4):
            with torch.no_grad():
                net[1].weight.copy_(weight + way * direction)
                both.append(float(_loss(net, sample)))
                net[1].weight.copy_(weight)
        expected.append(np.mean(both) - centre)
    told: list[int] = []
    measured = random_rise(net, sample, radius=0.4, directions=3, seed=5, advance=told.append)
    assert measured.values == pytest.approx(expected, rel=1e-3, abs=1e-6)
    assert told == [1, 1, 1]


def test_what_rescaling_does_to_each_number() -> None:
    # Dinh et al.: the function stays, the Hessian does not.
    net = nn.Sequential(nn.Flatten(), nn.Linear(9, 5, bias=False), nn.ReLU(), nn.Linear(5, 3, bias=False))
    sample = _sample(20)

    def numbers() -> tuple[float, float, float]:
        return (
            hessian_top(net, sample).value,
            random_rise(net, sample, radius=0.3, directions=4).value,
            ascent_sharpness(net, sample, rho=0.3, adaptive=True).value,
        )

    plain = numbers()
    with torch.no_grad():
        net[1].weight.mul_(10)
        net[3].weight.div_(10)
    scaled = numbers()
    assert scaled[0] > 5 * plain[0]
    assert scaled[1:] == pytest.approx(plain[1:], rel=1e-3)


@pytest.mark.parametrize(
    "measure",
    [
        lambda net, sample: ascent_sharpness(net, sample, rho=0.1, m=4),
        lambda net, sample: random_rise(net, sample, radius=0.1, directions=2),
        lambda net, sample: hessian_top(net, sample, tolerance=0.2),
        lambda net, sample: hessian_trace(net, sample, draws=2),
    ],
)
def test_a_built_network_is_measured_twice_alike_and_left_as_it_was(
    measure: Callable[[nn.Module, LossSample], Estimate], tiny: RunConfig
) -> None:
    net = build_model(tiny.model, 8).train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    sample = _sample(8, 48, 8)
    first = measure(net, sample)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert net.training
    assert all(p.grad is None for p in net.parameters())
    assert measure(net, sample) == first
    assert first.to_dict()["value"] == first.value


def test_paired_difference() -> None:
    from scipy.stats import ttest_rel

    random = np.random.default_rng(0)
    a = random.normal(size=12)
    b = a + 0.5 + 0.1 * random.normal(size=12)
    estimates = [Estimate(float(v.mean()), None, tuple(v)) for v in (a, b)]
    found = difference(*estimates)
    interval = ttest_rel(b, a).confidence_interval()
    assert found["difference"] == pytest.approx((b - a).mean())
    assert found["interval"] == pytest.approx([interval.low, interval.high])
    assert difference(estimates[0], estimates[0])["interval"] == [0.0, 0.0]
    with pytest.raises(InputError, match="as many"):
        difference(estimates[0], Estimate(0.0, None, (1.0,)))


def test_what_cannot_be_measured_is_said() -> None:
    with pytest.raises(InputError, match="rho above 0"):
        ascent_sharpness(_linear(), _sample(), rho=0.0)
    with pytest.raises(InputError, match="m from 1 to 12"):
        ascent_sharpness(_linear(), _sample(), rho=0.1, m=13)
