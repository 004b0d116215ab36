from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mien.errors import InputError
from mien.evaluate.hessian import hessian_top, hessian_trace
from mien.evaluate.landscape import LossSample


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


def test_two_opposite_weights_by_hand() -> None:
    # Two classes and one weight each: the entries are 4p(1-p) and less that, so z'Hz is 0 or twice the trace.
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


def test_what_cannot_be_measured_is_said() -> None:
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
