"""What SAM's relatives have in common, on one device and two; momentum-SAM by hand."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests.train.sam_relatives import (
    METHODS,
    Pass,
    adamw,
    are_same,
    quadratic,
    quadratic_closure,
    random_batches,
    sgd,
    small_network,
    train_all,
)
from torch import Tensor, nn

from mien.train.checkpoint import Position, load_state, save_state
from mien.train.sam import SAM
from mien.train.sam_relatives import MomentumSAM


@pytest.mark.parametrize("base", [sgd, adamw])
@pytest.mark.parametrize("method", METHODS)
def test_at_rho_zero_each_is_the_base_optimizer(method: str, base: Any) -> None:
    plain, wrapped = small_network(), small_network()
    assert train_all(plain, SAM(base(plain), plain, rho=0.0), random_batches(6)) == [1] * 6
    assert train_all(wrapped, METHODS[method](base(wrapped), wrapped, 0.0), random_batches(6)) == [1] * 6
    assert are_same(plain, wrapped)


@pytest.mark.parametrize("fails_at", [1, 2, 3])
@pytest.mark.parametrize("method", METHODS)
def test_weights_and_switches_are_as_before_whatever_is_raised(method: str, fails_at: int) -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))
    model[2].bias.requires_grad_(False)
    sam = METHODS[method](sgd(model), model, 0.5)
    train_all(model, sam, random_batches(3))
    before = copy.deepcopy(list(model.parameters()))
    closure = Pass(model, sam, *next(random_batches(1))[1:])
    closure.fails_at = min(fails_at, {"msam": 1, "esam": 3}.get(method, 2))
    with pytest.raises(KeyboardInterrupt):
        sam.step(closure)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert [p.requires_grad for p in model.parameters()] == [True] * 5 + [False]
    assert model[1].track_running_stats


@pytest.mark.parametrize("base", [sgd, adamw])
@pytest.mark.parametrize("stopped", [1, 2, 3, 4])
@pytest.mark.parametrize("method", METHODS)
def test_a_resumed_run_is_bit_equal(method: str, stopped: int, base: Any, tmp_path: Path) -> None:
    whole = small_network()
    train_all(whole, METHODS[method](base(whole), whole, 0.1), random_batches(8))
    batches = list(random_batches(8))
    first = small_network()
    sam = METHODS[method](base(first), first, 0.1)
    train_all(first, sam, batches[:stopped])
    save_state(tmp_path / "last.safetensors", Position(), first, None, sam)
    second = small_network()
    again = METHODS[method](base(second), second, 0.1)
    load_state(tmp_path / "last.safetensors", second, None, again)
    train_all(second, again, batches[stopped:])
    assert are_same(whole, second)


@pytest.mark.parametrize("method", METHODS)
def test_bf16_autocast_trains_swin(method: str) -> None:
    # timm takes seconds to import, and the processes of the last test import this file.
    from mien.config import ModelConfig
    from mien.models.build import build_model

    torch.manual_seed(3)
    model = build_model(ModelConfig(embed_dim=16, depths=(1,), num_heads=(2,)), 4)
    sam = METHODS[method](adamw(model), model, 0.05)
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


def test_momentum_sam_by_hand() -> None:
    module = quadratic([3.0, 1.0])
    sam = MomentumSAM(sgd(module, momentum=0.5), module, rho=0.5)
    closure = quadratic_closure(module, sam, [1.0, 4.0])
    sam.step(closure)
    # No momentum yet: v = g = (3, 4), w = (2.7, 0.6).
    torch.testing.assert_close(module.w.detach(), torch.tensor([2.7, 0.6]))
    loss = sam.step(closure)
    # At w - 0.5 v / 5 = (2.4, 0.2) the gradient is (2.4, 0.8); v = 0.5 (3, 4) + it = (3.9, 2.8).
    torch.testing.assert_close(module.w.detach(), torch.tensor([2.7 - 0.39, 0.6 - 0.28]))
    assert float(loss.detach()) == pytest.approx(0.5 * (2.4**2 + 4 * 0.2**2))


def test_momentum_sam_moves_along_adams_first_moment_and_decays_the_unmoved_weights() -> None:
    ours, theirs = small_network(), small_network()
    ours[1].p = theirs[1].p = 0.0
    sam = MomentumSAM(torch.optim.AdamW(ours.parameters(), lr=0.01, weight_decay=0.5), ours, rho=2.0)
    adamw = torch.optim.AdamW(theirs.parameters(), lr=0.01, weight_decay=0.5)
    passes = train_all(ours, sam, random_batches(5))
    for step, x, y in random_batches(5):
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
    model = small_network()
    with pytest.raises(ValueError, match="needs momentum"):
        MomentumSAM(sgd(model, momentum=0.0), model, rho=0.1)


def _still_network() -> nn.Module:
    model = small_network()
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
    sam = METHODS[method](sgd(model), model, 0.1)
    sam.average = exchange.average_of(rank)
    half = slice(4 * rank, 4 * rank + 4)
    train_all(model, sam, [(step, x[half], y[half]) for step, x, y in random_batches(5)])
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
    sam = METHODS[method](sgd(model), model, 0.1)
    for _, x, y in random_batches(5):
        sam.step([Pass(model, sam, x[:4], y[:4]), Pass(model, sam, x[4:], y[4:])])
    for name, value in model.state_dict().items():
        assert torch.equal(ranks[0][name], ranks[1][name])
        torch.testing.assert_close(ranks[0][name], value, rtol=1e-4, atol=1e-6)
