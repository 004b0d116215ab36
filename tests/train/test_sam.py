import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mien.config import ModelConfig
from mien.models.build import build_model
from mien.train.sam import SAM


def _swin() -> nn.Module:
    torch.manual_seed(3)
    return build_model(
        ModelConfig(embed_dim=16, depths=(1, 1), num_heads=(2, 2), drop_path=0.0, stem="patch"), 4
    )


def _batches(count: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [
        (torch.randn(4, 1, 48, 48, generator=generator), torch.randint(0, 4, (4,), generator=generator))
        for _ in range(count)
    ]


def _closure(model: nn.Module, optimizer: torch.optim.Optimizer, x: torch.Tensor, y: torch.Tensor):
    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        return loss

    return closure


def _quadratic(
    curvature: list[float], start: list[float], **options: object
) -> tuple[nn.Module, SAM, object]:
    """f(w) = 1/2 sum a w^2, its gradient a w."""
    module = nn.Module()
    module.w = nn.Parameter(torch.tensor(start))
    a = torch.tensor(curvature)
    sam = SAM(torch.optim.SGD(module.parameters(), lr=0.1), module, **options)

    def closure() -> torch.Tensor:
        sam.zero_grad()
        loss = 0.5 * (a * module.w**2).sum()
        loss.backward()
        return loss

    return module, sam, closure


def test_a_quadratic_by_hand() -> None:
    module, sam, closure = _quadratic([1.0, 4.0], [3.0, 1.0], rho=0.5)
    loss = sam.step(closure)
    # g = (3, 4), ||g|| = 5, e = 0.5 g / 5 = (0.3, 0.4); gradient there (3.3, 5.6); w - 0.1 of it.
    torch.testing.assert_close(module.w.detach(), torch.tensor([2.67, 0.44]))
    assert float(loss.detach()) == pytest.approx(0.5 * (9 + 4))


def test_an_adaptive_quadratic_by_hand() -> None:
    module, sam, closure = _quadratic([1.0, 4.0], [3.0, 1.0], rho=0.5, adaptive=True)
    sam.step(closure)
    # |w| g = (9, 4), norm sqrt(97); e = 0.5 w^2 g / sqrt(97) = 0.5 (27, 4) / sqrt(97).
    e = 0.5 * torch.tensor([27.0, 4.0]) / 97**0.5
    expected = torch.tensor([3.0, 1.0]) - 0.1 * torch.tensor([1.0, 4.0]) * (torch.tensor([3.0, 1.0]) + e)
    torch.testing.assert_close(module.w.detach(), expected)


@pytest.mark.parametrize("rho", [0.0, 1e-12])
@pytest.mark.parametrize("base", [torch.optim.SGD, torch.optim.AdamW])
def test_rho_to_zero_is_the_base_optimizer(rho: float, base: type[torch.optim.Optimizer]) -> None:
    plain, wrapped = _swin(), _swin()
    reference = base(plain.parameters(), lr=1e-2)
    sam = SAM(base(wrapped.parameters(), lr=1e-2), wrapped, rho=rho)
    for x, y in _batches(5):
        _closure(plain, reference, x, y)()
        reference.step()
        sam.step(_closure(wrapped, sam, x, y))
    for a, b in zip(plain.parameters(), wrapped.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("adaptive", [False, True])
def test_twenty_steps_on_swin_agree_with_an_independent_sam(adaptive: bool) -> None:
    from pytorch_optimizer import SAM as Reference

    ours, theirs = _swin(), _swin()
    sam = SAM(torch.optim.SGD(ours.parameters(), lr=1e-2, momentum=0.9), ours, rho=0.05, adaptive=adaptive)
    reference = Reference(
        theirs.parameters(), torch.optim.SGD, rho=0.05, adaptive=adaptive, lr=1e-2, momentum=0.9
    )
    for x, y in _batches(20):
        sam.step(_closure(ours, sam, x, y))
        closure = _closure(theirs, reference, x, y)
        closure()
        reference.step(closure)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_state_is_the_base_optimizers_and_survives_a_round_trip() -> None:
    model = _swin()
    sam = SAM(torch.optim.AdamW(model.parameters(), lr=1e-2), model, rho=0.05)
    first, second = _batches(2)
    sam.step(_closure(model, sam, *first))
    stored, weights = copy.deepcopy(sam.state_dict()), copy.deepcopy(model.state_dict())
    sam.step(_closure(model, sam, *second))

    resumed = _swin()
    resumed.load_state_dict(weights)
    again = SAM(torch.optim.AdamW(resumed.parameters(), lr=1e-2), resumed, rho=0.05)
    again.load_state_dict(stored)
    assert again.param_groups is again.base.param_groups
    assert again.state is again.base.state
    again.step(_closure(resumed, again, *second))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), resumed.parameters(), strict=True))


def test_a_scheduler_bound_to_sam_moves_the_base() -> None:
    model = nn.Linear(2, 2)
    sam = SAM(torch.optim.SGD(model.parameters(), lr=1.0), model, rho=0.05)
    scheduler = torch.optim.lr_scheduler.StepLR(sam, 1, gamma=0.1)
    x, y = torch.randn(3, 2), torch.tensor([0, 1, 0])
    sam.step(_closure(model, sam, x, y))
    scheduler.step()
    assert sam.base.param_groups[0]["lr"] == pytest.approx(0.1)


def test_both_passes_draw_the_same_masks_and_the_generator_ends_as_after_one() -> None:
    model = nn.Sequential(nn.Dropout(0.5), nn.Linear(50, 2))
    sam = SAM(torch.optim.SGD(model.parameters(), lr=0.0), model, rho=0.05)
    drawn: list[torch.Tensor] = []
    model[0].register_forward_hook(lambda _m, _i, out: drawn.append(out.detach() != 0))
    x, y = torch.randn(4, 50), torch.tensor([0, 1, 0, 1])
    torch.manual_seed(5)
    sam.step(_closure(model, sam, x, y))
    after = torch.get_rng_state()
    assert len(drawn) == 2
    assert torch.equal(drawn[0], drawn[1])
    torch.manual_seed(5)
    model(x)
    assert torch.equal(after, torch.get_rng_state())


def test_batchnorm_statistics_are_those_of_one_pass() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
    once = copy.deepcopy(model)
    sam = SAM(torch.optim.SGD(model.parameters(), lr=0.1), model, rho=0.5)
    x, y = torch.randn(8, 3), torch.randint(0, 2, (8,))
    sam.step(_closure(model, sam, x, y))
    once(x)
    torch.testing.assert_close(model[1].running_mean, once[1].running_mean, rtol=0, atol=0)
    torch.testing.assert_close(model[1].running_var, once[1].running_var, rtol=0, atol=0)
    assert int(model[1].num_batches_tracked) == 1
    assert model[1].track_running_stats


@pytest.mark.parametrize("fails_at", [1, 2])
def test_weights_are_never_left_perturbed(fails_at: int) -> None:
    model = _swin()
    sam = SAM(torch.optim.SGD(model.parameters(), lr=0.1), model, rho=0.5)
    before = copy.deepcopy(model.state_dict())
    ((x, y),) = _batches(1)
    calls = 0
    inner = _closure(model, sam, x, y)

    def closure() -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == fails_at:
            raise KeyboardInterrupt
        return inner()

    with pytest.raises(KeyboardInterrupt):
        sam.step(closure)
    assert calls == fails_at
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in before.items())


def test_a_zero_gradient_takes_the_base_step_and_one_pass() -> None:
    module, sam, closure = _quadratic([1.0, 4.0], [0.0, 0.0], rho=0.5)
    calls = 0

    def counted() -> torch.Tensor:
        nonlocal calls
        calls += 1
        return closure()  # type: ignore[operator]

    sam.step(counted)
    assert calls == 1
    assert torch.equal(module.w.detach(), torch.zeros(2))


def test_a_gradient_that_is_not_finite_is_refused_and_changes_nothing() -> None:
    module, sam, closure = _quadratic([1.0, float("inf")], [1.0, 1.0], rho=0.5)
    with pytest.raises(FloatingPointError):
        sam.step(closure)  # type: ignore[arg-type]
    assert torch.equal(module.w.detach(), torch.ones(2))


def test_the_first_pass_is_entered_once_and_clipping_comes_before_the_step_only() -> None:
    events: list[str] = []

    class Entered:
        def __enter__(self) -> None:
            events.append("first")

        def __exit__(self, *_: object) -> None:
            events.append("left")

    _, sam, closure = _quadratic([1.0, 4.0], [3.0, 1.0], rho=0.5)
    sam.first_pass = Entered
    sam.before_step = lambda: events.append("clip")

    def counted() -> torch.Tensor:
        events.append("pass")
        return closure()  # type: ignore[operator]

    sam.step(counted)
    assert events == ["first", "pass", "left", "pass", "clip"]


def test_a_negative_rho_is_refused() -> None:
    model = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="must not be negative"):
        SAM(torch.optim.SGD(model.parameters(), lr=0.1), model, rho=-0.1)
