"""LookSAM, ESAM and momentum-SAM against figures worked out by hand, SAM, and an independent LookSAM."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mien.train.checkpoint import Position, load_state, save_state
from mien.train.sam import SAM
from mien.train.sam_relatives import ESAM, LookSAM, MomentumSAM

Build = Callable[[torch.optim.Optimizer, nn.Module, float], SAM]

METHODS: dict[str, Build] = {
    "sam": lambda base, model, rho: SAM(base, model, rho=rho),
    "looksam": lambda base, model, rho: LookSAM(base, model, rho=rho, every=3, alpha=0.7),
    "every": lambda base, model, rho: LookSAM(base, model, rho=rho, every=3, alpha=0.0),
    "esam": lambda base, model, rho: ESAM(base, model, rho=rho, beta=0.5, gamma=0.5),
    "msam": lambda base, model, rho: MomentumSAM(base, model, rho=rho),
}


def _sgd(model: nn.Module, lr: float = 0.1, momentum: float = 0.9) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=lr, momentum=momentum)


def _adamw(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=0.01)


def _network() -> nn.Module:
    torch.manual_seed(3)
    # More than ten tensors, which a checkpoint file does not keep in the order of the network.
    hidden = [layer for _ in range(5) for layer in (nn.Tanh(), nn.Linear(8, 8))]
    return nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.2), *hidden, nn.Linear(8, 3))


def _batches(count: int, size: int = 8) -> Iterator[tuple[int, Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    for step in range(count):
        yield (
            step,
            torch.randn(size, 6, generator=generator),
            torch.randint(0, 3, (size,), generator=generator),
        )


class Pass:
    """The closure of a training loop, which counts what it is asked for."""

    def __init__(self, model: nn.Module, sam: SAM, x: Tensor, y: Tensor) -> None:
        self.model, self.sam, self.x, self.y = model, sam, x, y
        self.calls: list[tuple[list[int] | None, bool]] = []
        self.fails_at = 0

    def __call__(self, rows: Tensor | None = None, *, backward: bool = True) -> Tensor:
        self.calls.append((None if rows is None else rows.tolist(), backward))
        if len(self.calls) == self.fails_at:
            raise KeyboardInterrupt
        assert torch.is_grad_enabled() is backward
        x, y = (self.x, self.y) if rows is None else (self.x[rows], self.y[rows])
        losses = F.cross_entropy(self.model(x), y, reduction="none")
        if backward:
            self.sam.zero_grad()
            losses.mean().backward()
        return losses.detach()


def _train(model: nn.Module, sam: SAM, batches: Any) -> list[int]:
    """As the loop does, which seeds torch before each step; the number of passes a step."""
    passes = []
    for step, x, y in batches:
        torch.manual_seed(step)
        closure = Pass(model, sam, x, y)
        sam.step(closure)
        passes.append(len(closure.calls))
    return passes


def _same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


def _quadratic(start: list[float]) -> nn.Module:
    module = nn.Module()
    module.w = nn.Parameter(torch.tensor(start))
    return module


def _quadratic_closure(module: nn.Module, sam: SAM, curvature: list[float]) -> Callable[[], Tensor]:
    """f(w) = 1/2 sum a w^2, its gradient a w."""
    a = torch.tensor(curvature)

    def closure() -> Tensor:
        sam.zero_grad()
        loss = 0.5 * (a * module.w**2).sum()
        loss.backward()
        return loss

    return closure


# ---------------------------------------------------------------- what all of them hold


@pytest.mark.parametrize("base", [_sgd, _adamw])
@pytest.mark.parametrize("method", METHODS)
def test_at_rho_zero_each_is_the_base_optimizer(method: str, base: Any) -> None:
    plain, wrapped = _network(), _network()
    assert _train(plain, SAM(base(plain), plain, rho=0.0), _batches(6)) == [1] * 6
    assert _train(wrapped, METHODS[method](base(wrapped), wrapped, 0.0), _batches(6)) == [1] * 6
    assert _same(plain, wrapped)


@pytest.mark.parametrize("fails_at", [1, 2, 3])
@pytest.mark.parametrize("method", METHODS)
def test_weights_and_switches_are_as_before_whatever_is_raised(method: str, fails_at: int) -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))
    model[2].bias.requires_grad_(False)
    sam = METHODS[method](_sgd(model), model, 0.5)
    _train(model, sam, _batches(3))
    before = copy.deepcopy(list(model.parameters()))
    closure = Pass(model, sam, *next(_batches(1))[1:])
    closure.fails_at = min(fails_at, {"msam": 1, "esam": 3}.get(method, 2))
    with pytest.raises(KeyboardInterrupt):
        sam.step(closure)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert [p.requires_grad for p in model.parameters()] == [True] * 5 + [False]
    assert model[1].track_running_stats


@pytest.mark.parametrize("base", [_sgd, _adamw])
@pytest.mark.parametrize("stopped", [1, 2, 3, 4])
@pytest.mark.parametrize("method", METHODS)
def test_a_resumed_run_is_bit_equal(method: str, stopped: int, base: Any, tmp_path: Path) -> None:
    whole = _network()
    _train(whole, METHODS[method](base(whole), whole, 0.1), _batches(8))
    batches = list(_batches(8))
    first = _network()
    sam = METHODS[method](base(first), first, 0.1)
    _train(first, sam, batches[:stopped])
    save_state(tmp_path / "last.safetensors", Position(), first, None, sam)
    second = _network()
    again = METHODS[method](base(second), second, 0.1)
    load_state(tmp_path / "last.safetensors", second, None, again)
    _train(second, again, batches[stopped:])
    assert _same(whole, second)


@pytest.mark.parametrize("method", METHODS)
def test_bf16_autocast_trains_swin(method: str) -> None:
    # timm takes seconds to import, and the processes of the last test import this file.
    from mien.config import ModelConfig
    from mien.models.build import build_model

    torch.manual_seed(3)
    model = build_model(ModelConfig(embed_dim=16, depths=(1,), num_heads=(2,)), 4)
    sam = METHODS[method](_adamw(model), model, 0.05)
    x, y = torch.randn(8, 1, 48, 48), torch.arange(8) % 4

    def closure(rows: Tensor | None = None, *, backward: bool = True) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(x if rows is None else x[rows])
        losses = F.cross_entropy(logits.float(), y if rows is None else y[rows], reduction="none")
        if backward:
            sam.zero_grad()
            losses.mean().backward()
        return losses.detach()

    losses = [float(sam.step(closure)) for _ in range(15)]
    assert losses[-1] < 0.8 * losses[0]
    assert {p.dtype for p in model.parameters()} == {torch.float32}


# ---------------------------------------------------------------- LookSAM


def test_looksam_by_hand() -> None:
    module = _quadratic([3.0, 1.0])
    sam = LookSAM(_sgd(module, momentum=0.0), module, rho=0.5, every=2, alpha=0.7)
    sam.step(_quadratic_closure(module, sam, [1.0, 4.0]))
    # SAM's step: g = (3, 4), g_s = (3.3, 5.6) at w + (0.3, 0.4).
    torch.testing.assert_close(module.w.detach(), torch.tensor([2.67, 0.44]))
    # g_v = g_s - (g_s g / 25) g = (3.3, 5.6) - 1.292 (3, 4) = (-0.576, 0.432), ||g_v|| = 0.72.
    sam.step(_quadratic_closure(module, sam, [1.0, 4.0]))
    g = torch.tensor([2.67, 1.76])
    expected = torch.tensor([2.67, 0.44]) - 0.1 * (g + 0.7 * g.norm() / 0.72 * torch.tensor([-0.576, 0.432]))
    torch.testing.assert_close(module.w.detach(), expected)


def test_looksam_norms_are_over_all_weights() -> None:
    module = nn.Module()
    module.a, module.b = nn.Parameter(torch.tensor([3.0])), nn.Parameter(torch.tensor([1.0]))
    sam = LookSAM(_sgd(module, momentum=0.0), module, rho=0.5, every=2, alpha=0.7)

    def closure() -> Tensor:
        sam.zero_grad()
        loss = 0.5 * (module.a**2 + 4 * module.b**2).sum()
        loss.backward()
        return loss

    together = _quadratic([3.0, 1.0])
    reference = LookSAM(_sgd(together, momentum=0.0), together, rho=0.5, every=2, alpha=0.7)
    for _ in range(4):
        sam.step(closure)
        reference.step(_quadratic_closure(together, reference, [1.0, 4.0]))
    torch.testing.assert_close(torch.cat([module.a, module.b]).detach(), together.w.detach())


def test_looksam_of_one_tensor_agrees_with_an_independent_one() -> None:
    from pytorch_optimizer import LookSAM as Reference

    ours, theirs = nn.Linear(6, 3, bias=False), nn.Linear(6, 3, bias=False)
    theirs.load_state_dict(ours.state_dict())
    sam = LookSAM(_sgd(ours), ours, rho=0.3, every=4, alpha=0.7)
    reference = Reference(theirs.parameters(), torch.optim.SGD, rho=0.3, k=4, alpha=0.7, lr=0.1, momentum=0.9)
    for _, x, y in _batches(12):
        sam.step(Pass(ours, sam, x, y))

        def closure(x: Tensor = x, y: Tensor = y) -> Tensor:
            reference.zero_grad()
            loss = F.cross_entropy(theirs(x), y)
            loss.backward()
            return loss

        closure()
        reference.step(closure)
    torch.testing.assert_close(ours.weight, theirs.weight, rtol=1e-4, atol=1e-5)


def test_looksam_each_step_is_sam() -> None:
    ours, theirs = _network(), _network()
    _train(ours, LookSAM(_sgd(ours), ours, rho=0.1, every=1, alpha=0.7), _batches(4))
    _train(theirs, SAM(_sgd(theirs), theirs, rho=0.1), _batches(4))
    assert _same(ours, theirs)


@pytest.mark.parametrize("base", [_sgd, _adamw])
def test_without_alpha_sam_is_every_third_step_and_the_base_steps_between(base: Any) -> None:
    ours, theirs = _network(), _network()
    sam = METHODS["every"](base(ours), ours, 0.5)
    assert _train(ours, sam, _batches(7)) == [2, 1, 1, 2, 1, 1, 2]
    assert not any("looksam_gradient" in state for state in sam.state.values())
    reference = SAM(base(theirs), theirs, rho=0.5)
    for step, x, y in _batches(7):
        reference.rho = 0.5 if step % 3 == 0 else 0.0
        _train(theirs, reference, [(step, x, y)])
    assert _same(ours, theirs)


def test_looksam_weights_that_thaw_between_two_climbs_step_by_their_own_gradient() -> None:
    model = _network()
    model[0].requires_grad_(False)
    sam = LookSAM(_adamw(model), model, rho=0.1, every=3, alpha=0.7)
    batches = list(_batches(4))
    _train(model, sam, batches[:1])
    assert model[0].weight not in sam.state
    model[0].requires_grad_(True)
    assert _train(model, sam, batches[1:]) == [1, 1, 2]
    assert "looksam_gradient" in sam.state[model[0].weight]


def test_looksam_settings_are_checked() -> None:
    model = _network()
    with pytest.raises(ValueError, match="every is 0"):
        LookSAM(_sgd(model), model, rho=0.1, every=0, alpha=0.7)
    with pytest.raises(ValueError, match="alpha -1"):
        LookSAM(_sgd(model), model, rho=0.1, every=2, alpha=-1)


# ---------------------------------------------------------------- ESAM


def test_esam_of_all_weights_and_images_is_sam() -> None:
    ours, theirs = _network(), _network()
    sam = ESAM(_sgd(ours), ours, rho=0.1, beta=1.0, gamma=1.0)
    reference = SAM(_sgd(theirs), theirs, rho=0.1)
    for _, x, y in _batches(4):
        # ESAM draws first, so what is dropped is switched off to compare.
        ours[1].p = theirs[1].p = 0.0
        sam.step(Pass(ours, sam, x, y))
        reference.step(Pass(theirs, reference, x, y))
    assert _same(ours, theirs)


def test_esam_takes_the_images_whose_loss_rises_most() -> None:
    module = _quadratic([3.0, 1.0])
    sam = ESAM(_sgd(module, momentum=0.0), module, rho=0.5, beta=1.0, gamma=0.5)
    a = torch.tensor([[0.0, 0.0], [2.0, 8.0], [0.0, 1.0], [2.0, 7.0]])
    calls: list[tuple[list[int] | None, bool]] = []

    def closure(rows: Tensor | None = None, *, backward: bool = True) -> Tensor:
        calls.append((None if rows is None else rows.tolist(), backward))
        losses = 0.5 * ((a if rows is None else a[rows]) * module.w**2).sum(1)
        if backward:
            sam.zero_grad()
            losses.mean().backward()
        return losses.detach()

    loss = sam.step(closure)
    # Mean curvature (1, 4): e = (0.3, 0.4); each loss rises by a (1.89, 0.96) / 2, images 1 and 3 most; their
    # mean curvature is (2, 7.5).
    assert calls == [(None, True), (None, False), ([1, 3], True)]
    torch.testing.assert_close(module.w.detach(), torch.tensor([3 - 0.1 * 2 * 3.3, 1 - 0.1 * 7.5 * 1.4]))
    assert float(loss) == pytest.approx(0.5 * (9 + 4))


def test_esam_moves_the_tensors_that_were_drawn_and_scales_by_their_share() -> None:
    module = nn.Module()
    module.w = nn.ParameterList([torch.tensor([float(k)]) for k in range(1, 9)])
    sam = ESAM(_sgd(module, lr=0.0, momentum=0.0), module, rho=0.5, beta=0.25, gamma=1.0)
    counts = []
    for seed in range(40):
        at: list[Tensor] = []
        trained: list[list[bool]] = []

        def closure(at: list[Tensor] = at, trained: list[list[bool]] = trained) -> Tensor:
            sam.zero_grad()
            weights = torch.cat(list(module.w))
            at.append(weights.detach().clone())
            trained.append([p.requires_grad for p in module.w])
            loss = 0.5 * weights.square().sum()
            loss.backward()
            return loss

        torch.manual_seed(seed)
        sam.step(closure)
        drawn = torch.tensor(trained[0])
        e = at[1] - at[0]
        assert torch.equal(e != 0, drawn)
        assert float(e.norm()) == pytest.approx(0.5 / 0.25, rel=1e-5)
        torch.testing.assert_close(e / e.norm(), at[0] * drawn / (at[0] * drawn).norm(), rtol=1e-4, atol=1e-5)
        assert trained[1] == [True] * 8
        counts.append(int(drawn.sum()))
    assert min(counts) == 1
    assert len(set(counts)) > 2
    # The mean of 40 draws of 8 tensors; one at least is drawn, which adds 0.75^8 to 2.
    assert sum(counts) / 40 == pytest.approx(2.1, abs=0.5)


def test_esam_is_drawn_from_the_loops_seed() -> None:
    first, second = _network(), _network()
    for model in (first, second):
        _train(model, METHODS["esam"](_sgd(model), model, 0.5), _batches(5))
        torch.rand(3)
    assert _same(first, second)
    third = _network()
    _train(third, METHODS["esam"](_sgd(third), third, 0.5), [(s + 1, x, y) for s, x, y in _batches(5)])
    assert not _same(first, third)


def test_esam_compares_losses_under_the_same_masks() -> None:
    model = nn.Sequential(nn.Dropout(0.5), nn.Linear(50, 3))
    sam = ESAM(_sgd(model, lr=0.0), model, rho=0.05, beta=1.0, gamma=0.5)
    drawn: list[Tensor] = []
    model[0].register_forward_hook(lambda _m, _i, out: drawn.append(out.detach() != 0))
    sam.step(Pass(model, sam, torch.ones(8, 50), torch.arange(8) % 3))
    assert [len(mask) for mask in drawn] == [8, 8, 4]
    assert torch.equal(drawn[0], drawn[1])


def test_esam_needs_a_loss_an_image_to_choose() -> None:
    module = _quadratic([3.0, 1.0])
    sam = ESAM(_sgd(module), module, rho=0.5, beta=1.0, gamma=0.5)
    with pytest.raises(TypeError, match="one loss an image"):
        sam.step(_quadratic_closure(module, sam, [1.0, 4.0]))
    assert torch.equal(module.w.detach(), torch.tensor([3.0, 1.0]))


@pytest.mark.parametrize(("beta", "gamma"), [(0.0, 0.5), (0.5, 0.0), (1.1, 0.5), (0.5, 1.1)])
def test_esam_shares_are_checked(beta: float, gamma: float) -> None:
    model = _network()
    with pytest.raises(ValueError, match="above 0 and at most 1"):
        ESAM(_sgd(model), model, rho=0.1, beta=beta, gamma=gamma)


# ---------------------------------------------------------------- momentum-SAM


def test_momentum_sam_by_hand() -> None:
    module = _quadratic([3.0, 1.0])
    sam = MomentumSAM(_sgd(module, momentum=0.5), module, rho=0.5)
    closure = _quadratic_closure(module, sam, [1.0, 4.0])
    sam.step(closure)
    # No momentum yet: v = g = (3, 4), w = (2.7, 0.6).
    torch.testing.assert_close(module.w.detach(), torch.tensor([2.7, 0.6]))
    loss = sam.step(closure)
    # At w - 0.5 v / 5 = (2.4, 0.2) the gradient is (2.4, 0.8); v = 0.5 (3, 4) + it = (3.9, 2.8).
    torch.testing.assert_close(module.w.detach(), torch.tensor([2.7 - 0.39, 0.6 - 0.28]))
    assert float(loss.detach()) == pytest.approx(0.5 * (2.4**2 + 4 * 0.2**2))


def test_momentum_sam_moves_along_adams_first_moment_and_decays_the_unmoved_weights() -> None:
    ours, theirs = _network(), _network()
    ours[1].p = theirs[1].p = 0.0
    sam = MomentumSAM(torch.optim.AdamW(ours.parameters(), lr=0.01, weight_decay=0.5), ours, rho=2.0)
    adamw = torch.optim.AdamW(theirs.parameters(), lr=0.01, weight_decay=0.5)
    passes = _train(ours, sam, _batches(5))
    for step, x, y in _batches(5):
        moved = copy.deepcopy(theirs)
        if step > 0:
            moments = [adamw.state[p]["exp_avg"] for p in theirs.parameters()]
            norm = torch.nn.utils.parameters_to_vector(moments).norm()
            with torch.no_grad():
                for p, m in zip(moved.parameters(), moments, strict=True):
                    p -= 2.0 * m / norm
        F.cross_entropy(moved(x), y).backward()
        for p, q in zip(theirs.parameters(), moved.parameters(), strict=True):
            p.grad = q.grad.clone()
        adamw.step()
        theirs.zero_grad()
    assert passes == [1] * 5
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-6)


def test_momentum_sam_needs_momentum() -> None:
    model = _network()
    with pytest.raises(ValueError, match="needs momentum"):
        MomentumSAM(_sgd(model, momentum=0.0), model, rho=0.1)


# ---------------------------------------------------------------- micro-batches and processes


def test_looksam_of_micro_batches_takes_the_part_orthogonal_to_the_mean_gradient() -> None:
    module = _quadratic([3.0, 1.0])
    sam = LookSAM(_sgd(module, momentum=0.0), module, rho=0.5, every=2, alpha=1.0)
    start = torch.tensor([3.0, 1.0])
    curvatures = [torch.tensor([1.0, 4.0]), torch.tensor([2.0, 5.0])]
    closures = [_quadratic_closure(module, sam, a.tolist()) for a in curvatures]
    g = sum(a * start for a in curvatures) / 2
    g_s = sum(a * (start + 0.5 * a * start / (a * start).norm()) for a in curvatures) / 2
    g_v = g_s - (g_s @ g) / (g @ g) * g
    sam.step(closures)
    w = start - 0.1 * g_s
    torch.testing.assert_close(module.w.detach(), w)
    sam.step(closures)
    g = sum(a * w for a in curvatures) / 2
    torch.testing.assert_close(module.w.detach(), w - 0.1 * (g + g.norm() / g_v.norm() * g_v))


def _still_network() -> nn.Module:
    model = _network()
    model[1].p = 0.0
    return model


class _Exchange:
    """Averages over two threads, as `Devices.average` does over processes (tests/train/test_devices.py runs
    those)."""

    def __init__(self) -> None:
        self._barrier = threading.Barrier(2, timeout=60)
        self._parts: list[list[torch.Tensor]] = [[], []]

    def average_of(self, rank: int) -> Callable[[Sequence[torch.Tensor]], None]:
        def average(tensors: Sequence[torch.Tensor]) -> None:
            self._parts[rank] = [tensor.clone() for tensor in tensors]
            self._barrier.wait()
            for tensor, one, other in zip(tensors, *self._parts, strict=True):
                tensor.copy_((one + other) / 2)
            self._barrier.wait()

        return average


def _train_half(model: nn.Module, method: str, rank: int, exchange: _Exchange) -> nn.Module:
    sam = METHODS[method](_sgd(model), model, 0.1)
    sam.average = exchange.average_of(rank)
    half = slice(4 * rank, 4 * rank + 4)
    _train(model, sam, [(step, x[half], y[half]) for step, x, y in _batches(5)])
    return model


@pytest.mark.parametrize("method", ["sam", "looksam", "msam"])
def test_two_ranks_are_two_micro_batches(method: str) -> None:
    exchange = _Exchange()
    # Made here: they are drawn from the global generator, which the two threads share.
    models = (_still_network(), _still_network())
    with ThreadPoolExecutor(2) as pool:
        trained = [pool.submit(_train_half, models[rank], method, rank, exchange) for rank in (0, 1)]
        ranks = [half.result().state_dict() for half in trained]
    model = _still_network()
    sam = METHODS[method](_sgd(model), model, 0.1)
    for _, x, y in _batches(5):
        sam.step([Pass(model, sam, x[:4], y[:4]), Pass(model, sam, x[4:], y[4:])])
    for name, value in model.state_dict().items():
        assert torch.equal(ranks[0][name], ranks[1][name])
        torch.testing.assert_close(ranks[0][name], value, rtol=1e-4, atol=1e-6)
