"""LookSAM against figures worked out by hand, SAM, and an independent LookSAM."""

from __future__ import annotations

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

from mien.train.sam import SAM
from mien.train.sam_relatives import LookSAM


def test_looksam_by_hand() -> None:
    module = quadratic([3.0, 1.0])
    sam = LookSAM(sgd(module, momentum=0.0), module, rho=0.5, every=2, alpha=0.7)
    sam.step(quadratic_closure(module, sam, [1.0, 4.0]))
    # SAM's step: g = (3, 4), g_s = (3.3, 5.6) at w + (0.3, 0.4).
    torch.testing.assert_close(module.w.detach(), torch.tensor([2.67, 0.44]))
    # g_v = g_s - (g_s g / 25) g = (3.3, 5.6) - 1.292 (3, 4) = (-0.576, 0.432), ||g_v|| = 0.72.
    sam.step(quadratic_closure(module, sam, [1.0, 4.0]))
    g = torch.tensor([2.67, 1.76])
    expected = torch.tensor([2.67, 0.44]) - 0.1 * (g + 0.7 * g.norm() / 0.72 * torch.tensor([-0.576, 0.432]))
    torch.testing.assert_close(module.w.detach(), expected)


def test_looksam_norms_are_over_all_weights() -> None:
    module = nn.Module()
    module.a, module.b = nn.Parameter(torch.tensor([3.0])), nn.Parameter(torch.tensor([1.0]))
    sam = LookSAM(sgd(module, momentum=0.0), module, rho=0.5, every=2, alpha=0.7)

    def closure() -> Tensor:
        sam.zero_grad()
        loss = 0.5 * (module.a**2 + 4 * module.b**2).sum()
        loss.backward()
        return loss

    together = quadratic([3.0, 1.0])
    reference = LookSAM(sgd(together, momentum=0.0), together, rho=0.5, every=2, alpha=0.7)
    for _ in range(4):
        sam.step(closure)
        reference.step(quadratic_closure(together, reference, [1.0, 4.0]))
    torch.testing.assert_close(torch.cat([module.a, module.b]).detach(), together.w.detach())


def test_looksam_of_one_tensor_agrees_with_an_independent_one() -> None:
    from pytorch_optimizer import LookSAM as Reference

    ours, theirs = nn.Linear(6, 3, bias=False), nn.Linear(6, 3, bias=False)
    theirs.load_state_dict(ours.state_dict())
    sam = LookSAM(sgd(ours), ours, rho=0.3, every=4, alpha=0.7)
    reference = Reference(theirs.parameters(), torch.optim.SGD, rho=0.3, k=4, alpha=0.7, lr=0.1, momentum=0.9)
    for _, x, y in random_batches(12):
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
    ours, theirs = small_network(), small_network()
    train_all(ours, LookSAM(sgd(ours), ours, rho=0.1, every=1, alpha=0.7), random_batches(4))
    train_all(theirs, SAM(sgd(theirs), theirs, rho=0.1), random_batches(4))
    assert are_same(ours, theirs)


@pytest.mark.parametrize("base", [sgd, adamw])
def test_without_alpha_sam_is_every_third_step_and_the_base_steps_between(base: Any) -> None:
    ours, theirs = small_network(), small_network()
    sam = METHODS["every"](base(ours), ours, 0.5)
    assert train_all(ours, sam, random_batches(7)) == [2, 1, 1, 2, 1, 1, 2]
    assert not any("looksam_gradient" in state for state in sam.state.values())
    reference = SAM(base(theirs), theirs, rho=0.5)
    for step, x, y in random_batches(7):
        reference.rho = 0.5 if step % 3 == 0 else 0.0
        train_all(theirs, reference, [(step, x, y)])
    assert are_same(ours, theirs)


def test_looksam_weights_that_thaw_between_two_climbs_step_by_their_own_gradient() -> None:
    model = small_network()
    model[0].requires_grad_(False)
    sam = LookSAM(adamw(model), model, rho=0.1, every=3, alpha=0.7)
    batches = list(random_batches(4))
    train_all(model, sam, batches[:1])
    assert model[0].weight not in sam.state
    model[0].requires_grad_(True)
    assert train_all(model, sam, batches[1:]) == [1, 1, 2]
    assert "looksam_gradient" in sam.state[model[0].weight]


def test_looksam_settings_are_checked() -> None:
    model = small_network()
    with pytest.raises(ValueError, match="every is 0"):
        LookSAM(sgd(model), model, rho=0.1, every=0, alpha=0.7)
    with pytest.raises(ValueError, match="alpha -1"):
        LookSAM(sgd(model), model, rho=0.1, every=2, alpha=-1)


def test_looksam_of_micro_batches_takes_the_part_orthogonal_to_the_mean_gradient() -> None:
    module = quadratic([3.0, 1.0])
    sam = LookSAM(sgd(module, momentum=0.0), module, rho=0.5, every=2, alpha=1.0)
    start = torch.tensor([3.0, 1.0])
    curvatures = [torch.tensor([1.0, 4.0]), torch.tensor([2.0, 5.0])]
    closures = [quadratic_closure(module, sam, a.tolist()) for a in curvatures]
    g = sum(a * start for a in curvatures) / 2
    g_s = sum(a * (start + 0.5 * a * start / (a * start).norm()) for a in curvatures) / 2
    g_v = g_s - (g_s @ g) / (g @ g) * g
    sam.step(closures)
    w = start - 0.1 * g_s
    torch.testing.assert_close(module.w.detach(), w)
    sam.step(closures)
    g = sum(a * w for a in curvatures) / 2
    torch.testing.assert_close(module.w.detach(), w - 0.1 * (g + g.norm() / g_v.norm() * g_v))
