"""fp16 with loss scaling: on the processor, whose fp16 is slow and rounds as a GPU's does."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from mien.config import LoopConfig, ModelConfig
from mien.errors import InputError
from mien.models.build import build_model
from mien.train.precision import LossScale, autocast_plugin, autocast_precision, precision_plugin
from mien.train.sam import SAM
from mien.train.sam_relatives import ESAM, LookSAM, MomentumSAM

FP16 = LoopConfig(precision="fp16")

Build = Callable[[torch.optim.Optimizer, nn.Module], SAM]

METHODS: dict[str, Build] = {
    "base": lambda base, model: SAM(base, model, rho=0.0),
    "sam": lambda base, model: SAM(base, model, rho=0.05),
    "looksam": lambda base, model: LookSAM(base, model, rho=0.05, every=2, alpha=0.7),
    "esam": lambda base, model: ESAM(base, model, rho=0.05, beta=0.5, gamma=0.5),
    "msam": lambda base, model: MomentumSAM(base, model, rho=0.05),
}


def _scale(start: float = 2.0**16) -> LossScale:
    scale = LossScale(FP16)
    scale.scale = start
    return scale


class Pass:
    """The closure of a training loop."""

    def __init__(self, model: nn.Module, sam: SAM, scale: LossScale, x: Tensor, y: Tensor) -> None:
        self.model, self.sam, self.scale, self.x, self.y = model, sam, scale, x, y

    def __call__(self, rows: Tensor | None = None, *, backward: bool = True) -> Tensor:
        x, y = (self.x, self.y) if rows is None else (self.x[rows], self.y[rows])
        with torch.autocast("cpu", torch.float16, enabled=self.scale.active):
            logits = self.model(x)
        losses = F.cross_entropy(logits.float(), y, reduction="none")
        if backward:
            self.sam.zero_grad()
            self.scale.backward(losses.mean(), self.model.parameters())
        return losses.detach()


def _train(
    model: nn.Module, sam: SAM, scale: LossScale, batches: Iterator[tuple[Tensor, Tensor]]
) -> tuple[list[float], list[int]]:
    """As the loop does: the losses, and how often each step was taken."""
    losses, attempts = [], []
    for step, (x, y) in enumerate(batches):
        attempts.append(0)
        while True:
            torch.manual_seed(step)
            attempts[-1] += 1
            before = copy.deepcopy([list(model.parameters()), sam.state_dict()])
            try:
                losses.append(float(sam.step(Pass(model, sam, scale, x, y))))
            except FloatingPointError:
                _assert_same([list(model.parameters()), sam.state_dict()], before)
                if not scale.overflowed():
                    raise
            else:
                scale.good()
                break
    return losses, attempts


def _assert_same(a: Any, b: Any) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=0)


def _swin() -> nn.Module:
    torch.manual_seed(3)
    return build_model(
        ModelConfig(size=24, embed_dim=16, depths=(1, 1), num_heads=(2, 4), window=3, drop_path=0.1), 4
    )


def _faces(count: int) -> Iterator[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    for _ in range(count):
        y = torch.randint(0, 4, (8,), generator=generator)
        yield torch.randn(8, 1, 24, 24, generator=generator) + y[:, None, None, None] - 1.5, y


def _network() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Dropout(0.2), nn.Linear(16, 3))


def _vectors(count: int) -> Iterator[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    for _ in range(count):
        yield torch.randn(8, 6, generator=generator), torch.randint(0, 3, (8,), generator=generator)


def _sgd(model: nn.Module, lr: float = 0.05) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)


def _adamw(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=0.01)


def _flat(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


# ---------------------------------------------------------------- training in fp16


@pytest.mark.parametrize("method", ["base", "sam"])
def test_twenty_steps_in_fp16_follow_those_in_fp32(method: str) -> None:
    models = [_swin(), _swin()]
    start = _flat(models[0])
    scales = [LossScale(LoopConfig(precision="fp32")), _scale()]
    losses = []
    for model, scale in zip(models, scales, strict=True):
        sam = METHODS[method](_sgd(model), model)
        losses.append(_train(model, sam, scale, _faces(20))[0])
    exact, short = (_flat(model) for model in models)
    assert not torch.equal(exact, short)
    assert losses[0][-1] < 0.7 * losses[0][0]
    assert losses[1] == pytest.approx(losses[0], abs=0.02)
    # The distance between the two, against the way that both have come.
    assert float((short - exact).norm() / (exact - start).norm()) < 0.02


def test_a_gradient_that_fp16_cannot_hold_arrives_when_the_loss_is_scaled() -> None:
    layer, x = nn.Linear(6, 3), torch.randn(8, 6)

    def gradient(scale: LossScale, *, short: bool = True) -> Tensor:
        layer.zero_grad()
        with torch.autocast("cpu", torch.float16, enabled=short):
            answer = layer(x)
        # Below the smallest fp16 number, 6e-8.
        scale.backward((1e-8 * answer.float().square()).sum(), layer.parameters())
        return layer.weight.grad.clone()

    exact = gradient(LossScale(LoopConfig(precision="fp32")), short=False)
    assert not gradient(_scale(1.0)).any()
    torch.testing.assert_close(gradient(_scale()), exact, rtol=5e-3, atol=1e-11)


@pytest.mark.parametrize("base", [_sgd, _adamw])
@pytest.mark.parametrize("method", METHODS)
def test_an_overflow_halves_the_scale_and_repeats_the_step_as_if_it_had_not_been(
    method: str, base: Callable[[nn.Module], torch.optim.Optimizer]
) -> None:
    high, low = _network(), _network()
    scale = _scale(2.0**24)
    # Each step then begins above what it can bear.
    scale.growth_interval = 1
    attempts = _train(high, METHODS[method](base(high), high), scale, _vectors(6))[1]
    assert sum(count > 1 for count in attempts) > 4
    other = _scale(scale.scale / 4)
    assert _train(low, METHODS[method](base(low), low), other, _vectors(6))[1] == [1] * 6
    _assert_same(_flat(high), _flat(low))


def test_a_gradient_that_is_not_finite_by_itself_ends_the_halving() -> None:
    model = _network()
    scale = _scale(4.0)
    x, y = next(_vectors(1))
    with pytest.raises(FloatingPointError):
        _train(model, SAM(_sgd(model), model, rho=0.05), scale, iter([(x * math.inf, y)]))
    assert scale.scale == 1


# ---------------------------------------------------------------- the scale


def test_the_scale_doubles_after_so_many_good_steps_in_a_row() -> None:
    scale = _scale(8.0)
    scale.growth_interval = 3
    seen = []
    for good in (True, True, False, True, True, True, True, True, True):
        if good:
            scale.good()
        else:
            assert scale.overflowed()
        seen.append(scale.scale)
    assert seen == [8, 8, 4, 4, 4, 8, 8, 8, 16]


def test_a_new_scale_is_that_of_torchs_own_scaler() -> None:
    scale, reference = LossScale(FP16), torch.amp.GradScaler("cpu")
    assert scale.scale == reference.get_scale()
    assert scale.growth_interval == reference.get_growth_interval()


def test_the_state_goes_on_where_it_was() -> None:
    one, two = _scale(), LossScale(FP16)
    for scale in (one, two):
        scale.growth_interval = 5
    assert one.overflowed()
    for _ in range(3):
        one.good()
    two.load(one.state())
    for _ in range(2):
        one.good()
        two.good()
    assert one.state() == two.state()
    assert two.scale == 2.0**16
    # A checkpoint of a run that had no scale.
    fresh = LossScale(FP16)
    fresh.load({})
    assert fresh.scale == 2.0**16


@pytest.mark.parametrize("precision", ["fp32", "bf16", "auto"])
def test_other_precisions_are_left_alone(precision: Any) -> None:
    scale = LossScale(LoopConfig(precision=precision))
    for _ in range(scale.growth_interval):
        scale.good()
    assert not scale.overflowed()
    assert (scale.scale, scale.state()) == (1, {})
    weight = nn.Parameter(torch.tensor([1.0, 3.0]))
    weight.grad = torch.ones(2)
    scale.backward(weight.square().sum(), [weight])
    _assert_same(weight.grad, torch.tensor([3.0, 7.0]))


def test_a_step_waits_for_the_device_no_more_often_than_without_scaling() -> None:
    class Waits(TorchDispatchMode):
        def __init__(self) -> None:
            super().__init__()
            self.count = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            self.count += func is torch.ops.aten._local_scalar_dense.default
            return func(*args, **(kwargs or {}))

    counts = []
    for config in (LoopConfig(precision="fp32"), FP16):
        model = _network()
        sam, scale = SAM(_sgd(model), model, rho=0.05), LossScale(config)
        x, y = next(_vectors(1))
        with Waits() as waits:
            sam.step(Pass(model, sam, scale, x, y))
            scale.good()
        counts.append(waits.count)
    assert counts[0] == counts[1] > 0


# ---------------------------------------------------------------- Fabric


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [("32-true", torch.float32), ("bf16-mixed", torch.bfloat16), ("16-mixed", torch.float16)],
)
def test_fabric_autocasts_and_scales_nothing(precision: str, dtype: torch.dtype) -> None:
    fabric = Fabric(accelerator="cpu", devices=1, plugins=[autocast_plugin(precision, "cpu")])
    weight = nn.Parameter(torch.ones(2, 2))
    with fabric.autocast():
        answer = torch.ones(2, 2) @ weight
    assert answer.dtype == dtype
    optimizer = fabric.setup_optimizers(torch.optim.SGD([weight], lr=1.0))

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = weight.sum()
        fabric.backward(loss)
        return loss

    optimizer.step(closure)
    _assert_same(weight.detach(), torch.zeros(2, 2))


def _pretend(monkeypatch: pytest.MonkeyPatch, *, cuda: bool, bf16: bool) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: bf16)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": bf16})


@pytest.mark.parametrize("cuda", [False, True])
@pytest.mark.parametrize("bf16", [False, True])
def test_auto_takes_bf16_where_the_hardware_has_it(
    cuda: bool, bf16: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    _pretend(monkeypatch, cuda=cuda, bf16=bf16)
    assert autocast_precision(LoopConfig(precision="auto")) == ("bf16-mixed" if bf16 else "32-true")
    assert autocast_precision(LoopConfig(precision="fp32")) == "32-true"
    assert autocast_precision(LoopConfig(precision="bf16")) == "bf16-mixed"


def test_fp16_is_for_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    _pretend(monkeypatch, cuda=True, bf16=True)
    assert autocast_precision(FP16) == "16-mixed"
    _pretend(monkeypatch, cuda=False, bf16=True)
    for ask in (autocast_precision, precision_plugin):
        with pytest.raises(InputError, match="fp16 needs a GPU, and this machine has none; take bf16, or"):
            ask(FP16)
