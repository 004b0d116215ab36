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


def _softmax_hessian(net: nn.Sequential, sample: LossSample) -> np.ndarray:
    """Of a linear softmax classifier, written down: mean of (diag p - p p') kron (x x'), x with its 1."""
    x = np.concatenate([sample.inputs.flatten(1).numpy(), np.ones((len(sample), 1))], axis=1)
    p = net(sample.inputs).softmax(1).detach().double().numpy()
    return sum(
        np.kron(np.diag(a) - np.outer(a, a), np.outer(b, b)) for a, b in zip(p, x.astype(float), strict=True)
    ) / len(x)


def _loss(net: nn.Module, sample: LossSample) -> Tensor:
    return F.cross_entropy(net(sample.inputs), sample.targets)


def test_the_largest_eigenvalue_of_a_linear_softmax() -> None:
    net, sample = _linear(), _sample(130)
    top = hessian_top(net, sample, tolerance=1e-4)
    expected = np.linalg.eigvalsh(_softmax_hessian(net, sample))[-1]
    assert top.value == pytest.approx(expected, rel=1e-4)
    assert top.residual < 0.01 * expected
    assert top.standard_error is not None
    assert 0 < top.standard_error < expected
    assert top.products <= 60


def test_the_trace_of_a_linear_softmax() -> None:
    net, sample = _linear(), _sample(120)
    expected = np.trace(_softmax_hessian(net, sample))
    trace = hessian_trace(net, sample, draws=200)
    assert trace.standard_error is not None
    assert abs(trace.value - expected) < 3 * trace.standard_error
    assert trace.standard_error < 0.1 * expected
    assert len(trace.values) == 200


def test_a_diagonal_hessian_has_its_trace_in_one_draw() -> None:
    # Two classes and one weight each: the other entries are -p(1-p), so that z'Hz is 0 or twice the trace.
    net = nn.Sequential(nn.Flatten(), nn.Linear(1, 2, bias=False))
    sample = LossSample(torch.full((1, 1, 1, 1), 2.0), torch.tensor([[1.0, 0.0]]))
    p = float(net(sample.inputs).softmax(1)[0, 0].detach())
    trace = hessian_trace(net, sample, draws=8)
    assert {round(v, 4) for v in trace.values} == {0.0, round(16 * p * (1 - p), 4)}
    assert hessian_top(net, sample).value == pytest.approx(8 * p * (1 - p), rel=1e-4)


def test_a_small_swin_against_autograds_whole_hessian() -> None:
    from timm.models.swin_transformer import SwinTransformer

    net = SwinTransformer(
        img_size=8, patch_size=4, in_chans=1, num_classes=3, embed_dim=2, depths=(1,), num_heads=(1,),
        window_size=2, mlp_ratio=1,
    ).eval()  # fmt: skip
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.5)
    sample = _sample(7, 8)
    names, parameters = zip(*net.named_parameters(), strict=True)
    sizes = [p.numel() for p in parameters]

    def loss(flat: Tensor) -> Tensor:
        values = {n: part.view_as(p) for n, part, p in zip(names, flat.split(sizes), parameters, strict=True)}
        return F.cross_entropy(torch.func.functional_call(net, values, sample.inputs), sample.targets)

    from torch.nn.attention import SDPBackend, sdpa_kernel

    with sdpa_kernel(SDPBackend.MATH):
        whole = torch.autograd.functional.hessian(
            loss, torch.cat([p.detach().flatten() for p in parameters])
        ).double()
    expected = torch.linalg.eigvalsh((whole + whole.T) / 2)
    assert hessian_top(net, sample, tolerance=1e-4).value == pytest.approx(float(expected[-1]), rel=1e-3)
    trace = hessian_trace(net, sample, draws=40)
    assert trace.standard_error is not None
    assert abs(trace.value - float(expected.sum())) < 3 * trace.standard_error


def test_the_windows_of_a_built_swin_against_differences_of_gradients() -> None:
    # Shifted, padded and whole-map windows; smooth, since a kink has a difference and no derivative.
    from timm.models.swin_transformer import SwinTransformer

    from mien.models.window_attention import WindowAttention, replace_blocks

    encoder = SwinTransformer(
        img_size=20, patch_size=4, in_chans=1, num_classes=0, embed_dim=4, depths=(2, 1), num_heads=(2, 2),
        window_size=3, mlp_ratio=1, global_pool="",
    )  # fmt: skip
    replace_blocks(encoder)
    net = nn.Sequential(encoder, nn.Flatten(), nn.Linear(9 * 8, 3)).eval()
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.3)
    sample = _sample(6, 20)
    parameters = list(net.parameters())
    signs = np.random.default_rng(0).choice(np.array([-1, 1], np.float32), sum(p.numel() for p in parameters))
    along = [
        part.view_as(p)
        for part, p in zip(
            torch.from_numpy(signs).split([p.numel() for p in parameters]), parameters, strict=True
        )
    ]
    start = [p.detach().clone() for p in parameters]
    slopes = []
    step = 1e-3
    for way in (step, -step):
        with torch.no_grad():
            for p, w, v in zip(parameters, start, along, strict=True):
                p.copy_(w + way * v)
        gradients = torch.autograd.grad(_loss(net, sample), parameters)
        slopes.append(
            sum(float((g.double() * v.double()).sum()) for g, v in zip(gradients, along, strict=True))
        )
    with torch.no_grad():
        for p, w in zip(parameters, start, strict=True):
            p.copy_(w)
    expected = (slopes[0] - slopes[1]) / (2 * step)
    assert hessian_trace(net, sample, draws=1).value == pytest.approx(expected, rel=0.01)
    windows = [module for module in net.modules() if isinstance(module, WindowAttention)]
    assert len(windows) == 3
    assert not any(module.plain for module in windows)


def test_batches_of_the_hessian_add_up() -> None:
    net = _linear()
    sample = _sample(130)
    parts = [hessian_trace(net, LossSample(x, y), draws=3).value for x, y in sample.batches(50)]
    weighted = np.dot(parts, [50 / 130, 50 / 130, 30 / 130])
    assert hessian_trace(net, sample, draws=3).value == pytest.approx(weighted, rel=1e-4)


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
    with pytest.raises(InputError, match="allow more"):
        hessian_top(_linear(), _sample(60), tolerance=1e-9, products=1)
    with pytest.raises(InputError, match="differentiated again"):
        hessian_trace(nn.Sequential(_Once(), _linear()), _sample(), draws=1)


class _Once(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return _OnceFunction.apply(x * self.scale)


class _OnceFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x * 2

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        return gradient * 2
