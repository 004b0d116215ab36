"""SAM over several closures a step, and over several devices."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from tests.train.sam_problems import quadratic, random_batches, small_swin
from torch import nn

from mien.train.sam import SAM


def _micro_batch(sam: SAM, w: nn.Parameter, curvatures: list[list[float]]) -> Callable[[], torch.Tensor]:
    """One image a row: losses 1/2 sum a w^2."""
    a = torch.tensor(curvatures)

    def closure() -> torch.Tensor:
        sam.zero_grad()
        losses = 0.5 * (a * w**2).sum(1)
        losses.mean().backward()
        return losses

    return closure


def test_micro_batches_climb_by_their_own_gradients() -> None:
    module, sam, _ = quadratic([0.0, 0.0], [3.0, 1.0], rho=0.5)
    loss = sam.step(
        [
            _micro_batch(sam, module.w, [[1.0, 4.0]]),
            _micro_batch(sam, module.w, [[4.0, 5.0], [0.0, 5.0], [4.0, 5.0], [0.0, 5.0]]),
        ]
    )
    # First: g = (3, 4), e = (0.3, 0.4), gradient there (3.3, 5.6). Second, mean curvature (2, 5): g = (6, 5),
    # ||g|| = sqrt(61), e = 0.5 (6, 5) / sqrt(61), gradient there (2, 5) (w + e). Images 1 and 4.
    second = torch.tensor([2.0, 5.0]) * (torch.tensor([3.0, 1.0]) + 0.5 * torch.tensor([6.0, 5.0]) / 61**0.5)
    mean = (torch.tensor([3.3, 5.6]) + 4 * second) / 5
    torch.testing.assert_close(module.w.detach(), torch.tensor([3.0, 1.0]) - 0.1 * mean)
    assert float(loss) == pytest.approx((6.5 + 2 * (18 + 2.5) + 2 * 2.5) / 5)


def test_scalar_losses_weigh_the_same() -> None:
    module, sam, _ = quadratic([0.0, 0.0], [3.0, 1.0], rho=0.0)
    first = _micro_batch(sam, module.w, [[1.0, 4.0]])
    second = _micro_batch(sam, module.w, [[4.0, 5.0], [0.0, 5.0]])
    loss = sam.step([lambda: first().mean(), lambda: second().mean()])
    torch.testing.assert_close(
        module.w.detach(), torch.tensor([3 - 0.1 * (3 + 6) / 2, 1 - 0.1 * (4 + 5) / 2])
    )
    assert float(loss) == pytest.approx((6.5 + 11.5) / 2)


def test_accumulated_micro_batches_are_the_whole_batch_where_nothing_climbs() -> None:
    whole, parts = small_swin(), small_swin()
    one = SAM(torch.optim.SGD(whole.parameters(), lr=0.1, momentum=0.9), whole, rho=0.0)
    several = SAM(torch.optim.SGD(parts.parameters(), lr=0.1, momentum=0.9), parts, rho=0.0)

    def closure(model: nn.Module, sam: SAM, x: torch.Tensor, y: torch.Tensor) -> Callable[[], torch.Tensor]:
        def run() -> torch.Tensor:
            sam.zero_grad()
            losses = F.cross_entropy(model(x), y, reduction="none")
            losses.mean().backward()
            return losses

        return run

    for x, y in random_batches(3):
        a = one.step(closure(whole, one, x, y))
        b = several.step([closure(parts, several, x[:1], y[:1]), closure(parts, several, x[1:], y[1:])])
        assert float(a) == pytest.approx(float(b), rel=1e-5)
    for a, b in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_a_step_without_closures_is_refused() -> None:
    _, sam, _ = quadratic([1.0], [1.0], rho=0.5)
    with pytest.raises(ValueError, match="no closure"):
        sam.step([])


def test_gradients_are_averaged_once_after_both_passes_and_clipped_afterwards() -> None:
    events: list[str] = []
    module, sam, closure = quadratic([1.0, 4.0], [3.0, 1.0], rho=0.5)

    def average(gradients: list[torch.Tensor]) -> None:
        assert gradients[0] is next(module.parameters()).grad
        events.append("average")

    sam.average = average
    sam.before_step = lambda: events.append("clip")

    def counted() -> torch.Tensor:
        events.append("pass")
        return closure()  # type: ignore[operator]

    sam.step(counted)
    assert events == ["pass", "pass", "average", "clip"]
    sam.step([counted, counted])
    assert events[4:] == ["pass"] * 4 + ["average", "clip"]


def test_a_gradient_that_is_not_finite_is_averaged_before_it_is_refused() -> None:
    # Another process, whose gradient is finite, waits for this one's.
    module, sam, closure = quadratic([1.0, 4.0], [3.0, 1.0], rho=0.5)
    averaged: list[torch.Tensor] = []
    sam.average = averaged.extend

    def spoilt() -> torch.Tensor:
        loss = closure()  # type: ignore[operator]
        next(module.parameters()).grad.fill_(torch.inf)  # type: ignore[union-attr]
        return loss  # type: ignore[no-any-return]

    with pytest.raises(FloatingPointError):
        sam.step(spoilt)
    assert len(averaged) == 1
    torch.testing.assert_close(next(module.parameters()).detach(), torch.tensor([3.0, 1.0]))
