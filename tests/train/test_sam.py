"""SAM against figures worked out by hand and an independent SAM; what it leaves as it was."""

import copy
import gc
from contextlib import nullcontext

import pytest
import torch
from tests.train.sam_problems import closure_of, quadratic, random_batches, small_swin
from torch import nn

from mien.train.sam import SAM


def test_a_quadratic_by_hand() -> None:
    module, sam, closure = quadratic([1.0, 4.0], [3.0, 1.0], rho=0.5)
    loss = sam.step(closure)
    # g = (3, 4), ||g|| = 5, e = 0.5 g / 5 = (0.3, 0.4); gradient there (3.3, 5.6); w - 0.1 of it.
    torch.testing.assert_close(module.w.detach(), torch.tensor([2.67, 0.44]))
    assert float(loss.detach()) == pytest.approx(0.5 * (9 + 4))


def test_an_adaptive_quadratic_by_hand() -> None:
    module, sam, closure = quadratic([1.0, 4.0], [3.0, 1.0], rho=0.5, adaptive=True)
    sam.step(closure)
    # |w| g = (9, 4), norm sqrt(97); e = 0.5 w^2 g / sqrt(97) = 0.5 (27, 4) / sqrt(97).
    e = 0.5 * torch.tensor([27.0, 4.0]) / 97**0.5
    expected = torch.tensor([3.0, 1.0]) - 0.1 * torch.tensor([1.0, 4.0]) * (torch.tensor([3.0, 1.0]) + e)
    torch.testing.assert_close(module.w.detach(), expected)


@pytest.mark.parametrize("rho", [0.0, 1e-12])
@pytest.mark.parametrize("base", [torch.optim.SGD, torch.optim.AdamW])
def test_rho_to_zero_is_the_base_optimizer(rho: float, base: type[torch.optim.Optimizer]) -> None:
    plain, wrapped = small_swin(), small_swin()
    reference = base(plain.parameters(), lr=1e-2)
    sam = SAM(base(wrapped.parameters(), lr=1e-2), wrapped, rho=rho)
    for x, y in random_batches(5):
        closure_of(plain, reference, x, y)()
        reference.step()
        sam.step(closure_of(wrapped, sam, x, y))
    tolerance = {"rtol": 0.0, "atol": 0.0} if rho == 0 else {"rtol": 1e-5, "atol": 1e-6}
    for a, b in zip(plain.parameters(), wrapped.parameters(), strict=True):
        torch.testing.assert_close(a, b, **tolerance)


@pytest.mark.parametrize("adaptive", [False, True])
def test_twenty_steps_on_swin_agree_with_an_independent_sam(adaptive: bool) -> None:
    from pytorch_optimizer import SAM as Reference

    ours, theirs = small_swin(), small_swin()
    sam = SAM(torch.optim.SGD(ours.parameters(), lr=1e-2, momentum=0.9), ours, rho=0.05, adaptive=adaptive)
    reference = Reference(
        theirs.parameters(), torch.optim.SGD, rho=0.05, adaptive=adaptive, lr=1e-2, momentum=0.9
    )
    for x, y in random_batches(20):
        sam.step(closure_of(ours, sam, x, y))
        closure = closure_of(theirs, reference, x, y)
        closure()
        reference.step(closure)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_state_is_the_base_optimizers_and_survives_a_round_trip() -> None:
    model = small_swin()
    sam = SAM(torch.optim.AdamW(model.parameters(), lr=1e-2), model, rho=0.05)
    first, second = random_batches(2)
    sam.step(closure_of(model, sam, *first))
    stored, weights = copy.deepcopy(sam.state_dict()), copy.deepcopy(model.state_dict())
    sam.step(closure_of(model, sam, *second))

    resumed = small_swin()
    resumed.load_state_dict(weights)
    again = SAM(torch.optim.AdamW(resumed.parameters(), lr=1e-2), resumed, rho=0.05)
    again.load_state_dict(stored)
    assert again.param_groups is again.base.param_groups
    assert again.state is again.base.state
    again.step(closure_of(resumed, again, *second))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), resumed.parameters(), strict=True))


def test_a_scheduler_bound_to_sam_moves_the_base() -> None:
    model = nn.Linear(2, 2)
    sam = SAM(torch.optim.SGD(model.parameters(), lr=1.0), model, rho=0.05)
    scheduler = torch.optim.lr_scheduler.StepLR(sam, 1, gamma=0.1)
    x, y = torch.randn(3, 2), torch.tensor([0, 1, 0])
    sam.step(closure_of(model, sam, x, y))
    scheduler.step()
    assert sam.base.param_groups[0]["lr"] == pytest.approx(0.1)


def test_both_passes_draw_the_same_masks_and_the_generator_ends_as_after_one() -> None:
    model = nn.Sequential(nn.Dropout(0.5), nn.Linear(50, 2))
    sam = SAM(torch.optim.SGD(model.parameters(), lr=0.0), model, rho=0.05)
    drawn: list[torch.Tensor] = []
    model[0].register_forward_hook(lambda _m, _i, out: drawn.append(out.detach() != 0))
    x, y = torch.randn(4, 50), torch.tensor([0, 1, 0, 1])
    torch.manual_seed(5)
    sam.step(closure_of(model, sam, x, y))
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
    sam.step(closure_of(model, sam, x, y))
    once(x)
    torch.testing.assert_close(model[1].running_mean, once[1].running_mean, rtol=0, atol=0)
    torch.testing.assert_close(model[1].running_var, once[1].running_var, rtol=0, atol=0)
    assert int(model[1].num_batches_tracked) == 1
    assert model[1].track_running_stats


@pytest.mark.parametrize("fails_at", [1, 2])
def test_weights_are_never_left_perturbed(fails_at: int) -> None:
    model = small_swin()
    sam = SAM(torch.optim.SGD(model.parameters(), lr=0.1), model, rho=0.5)
    before = copy.deepcopy(model.state_dict())
    ((x, y),) = random_batches(1)
    calls = 0
    inner = closure_of(model, sam, x, y)

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
    module, sam, closure = quadratic([1.0, 4.0], [0.0, 0.0], rho=0.5)
    calls = 0

    def counted() -> torch.Tensor:
        nonlocal calls
        calls += 1
        return closure()  # type: ignore[operator]

    sam.step(counted)
    assert calls == 1
    assert torch.equal(module.w.detach(), torch.zeros(2))


def test_a_gradient_that_is_not_finite_is_refused_and_changes_nothing() -> None:
    module, sam, closure = quadratic([1.0, float("inf")], [1.0, 1.0], rho=0.5)
    with pytest.raises(FloatingPointError):
        sam.step(closure)  # type: ignore[arg-type]
    assert torch.equal(module.w.detach(), torch.ones(2))


def test_weights_at_zero_give_asam_no_direction_and_the_base_steps() -> None:
    module, sam, _ = quadratic([1.0, 1.0], [0.0, 0.0], rho=0.5, adaptive=True)

    def closure() -> torch.Tensor:
        sam.zero_grad()
        loss = module.w.sum()
        loss.backward()
        return loss

    sam.step(closure)
    torch.testing.assert_close(module.w.detach(), torch.tensor([-0.1, -0.1]))


def test_a_second_gradient_that_is_not_finite_changes_neither_weights_nor_state() -> None:
    module = nn.Linear(2, 1)
    sam = SAM(torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9), module, rho=0.5)
    passes = 0

    def closure() -> torch.Tensor:
        nonlocal passes
        passes += 1
        sam.zero_grad()
        loss = module(torch.ones(1, 2)).sum() * (float("nan") if passes == 4 else 1.0)
        loss.backward()
        return loss

    sam.step(closure)
    weights, state = copy.deepcopy(module.state_dict()), copy.deepcopy(sam.state_dict()["state"])
    with pytest.raises(FloatingPointError):
        sam.step(closure)
    assert passes == 4
    assert all(torch.equal(value, module.state_dict()[name]) for name, value in weights.items())
    for index, entry in state.items():
        assert torch.equal(entry["momentum_buffer"], sam.state_dict()["state"][index]["momentum_buffer"])


def test_a_sparse_gradient_is_refused() -> None:
    module = nn.Embedding(4, 2, sparse=True)
    sam = SAM(torch.optim.SGD(module.parameters(), lr=0.1), module, rho=0.5)
    before = module.weight.detach().clone()

    def closure() -> torch.Tensor:
        sam.zero_grad()
        loss = module(torch.tensor([1])).sum()
        loss.backward()
        return loss

    with pytest.raises(TypeError, match="sparse"):
        sam.step(closure)
    assert torch.equal(module.weight.detach(), before)


def test_groups_keep_their_rates_and_what_has_no_gradient_takes_no_part() -> None:
    module = nn.Module()
    module.a, module.b, module.idle = (nn.Parameter(torch.tensor([x])) for x in (3.0, 4.0, 5.0))
    groups = [{"params": [module.a], "lr": 0.1}, {"params": [module.idle, module.b], "lr": 0.01}]
    sam = SAM(torch.optim.SGD(groups, lr=1.0, momentum=0.9), module, rho=0.5)

    def closure() -> torch.Tensor:
        sam.zero_grad()
        loss = 0.5 * (module.a**2 + module.b**2).sum()
        loss.backward()
        return loss

    sam.step(closure)
    # g = (3, 4), e = (0.3, 0.4): one norm over both groups.
    torch.testing.assert_close(module.a.detach(), torch.tensor([3.0 - 0.1 * 3.3]))
    torch.testing.assert_close(module.b.detach(), torch.tensor([4.0 - 0.01 * 4.4]))
    assert module.idle.item() == 5.0
    assert module.idle not in sam.state


def test_hooks_run_once_a_step() -> None:
    module, sam, closure = quadratic([1.0, 4.0], [3.0, 1.0], rho=0.5)
    seen: list[str] = []
    sam.register_step_pre_hook(lambda *_: seen.append(f"before {module.w[1].item():.2f}"))
    sam.register_step_post_hook(lambda *_: seen.append(f"after {module.w[1].item():.2f}"))
    sam.step(closure)  # type: ignore[arg-type]
    assert seen == ["before 1.00", "after 0.44"]


def test_an_added_group_is_stepped_and_loading_into_the_base_reaches_the_wrapper() -> None:
    _, sam, closure = quadratic([1.0, 4.0], [3.0, 1.0], rho=0.0)
    extra = nn.Parameter(torch.ones(1))
    sam.add_param_group({"params": [extra], "lr": 0.5})

    def both() -> torch.Tensor:
        closure()  # type: ignore[operator]
        extra.grad = torch.ones(1)
        return extra.detach().sum()

    sam.step(both)
    assert extra.item() == pytest.approx(0.5)
    sam.base.load_state_dict(sam.state_dict())
    assert sam.param_groups is sam.base.param_groups
    assert sam.state is sam.base.state


def test_an_autocast_around_the_whole_step_sees_the_weights_move() -> None:
    def trained(outside: bool) -> torch.Tensor:
        torch.manual_seed(0)
        model = nn.Linear(8, 4)
        sam = SAM(torch.optim.SGD(model.parameters(), lr=0.1), model, rho=1.0)
        x = torch.randn(16, 8)

        def closure() -> torch.Tensor:
            sam.zero_grad()
            with nullcontext() if outside else torch.autocast("cpu", torch.bfloat16):
                loss = model(x).float().square().mean()
            loss.backward()
            return loss

        with torch.autocast("cpu", torch.bfloat16) if outside else nullcontext():
            sam.step([closure, closure])
        return model.weight.detach()

    torch.testing.assert_close(trained(outside=True), trained(outside=False), rtol=0, atol=0)


@pytest.mark.parametrize("adaptive", [False, True])
def test_the_second_pass_holds_one_copy_of_the_weights_more(adaptive: bool) -> None:
    size = 12_347
    module = nn.Module()
    module.w = nn.Parameter(torch.ones(size))
    sam = SAM(torch.optim.SGD(module.parameters(), lr=0.1), module, rho=0.5, adaptive=adaptive)
    held: list[int] = []

    def closure() -> torch.Tensor:
        sam.zero_grad()
        tensors = [t for t in gc.get_objects() if type(t) in (torch.Tensor, nn.Parameter)]
        held.append(len({t.data_ptr() for t in tensors if t.numel() == size}))
        loss = module.w.square().sum()
        loss.backward()
        return loss

    sam.step(closure)
    assert held == [1, 2]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_both_passes_draw_the_same_masks_on_a_gpu() -> None:
    model = nn.Sequential(nn.Dropout(0.5), nn.Linear(50, 2)).cuda()
    sam = SAM(torch.optim.SGD(model.parameters(), lr=0.0), model, rho=0.05)
    drawn: list[torch.Tensor] = []
    model[0].register_forward_hook(lambda _m, _i, out: drawn.append(out.detach() != 0))
    sam.step(closure_of(model, sam, torch.ones(4, 50).cuda(), torch.tensor([0, 1, 0, 1]).cuda()))
    assert len(drawn) == 2
    assert torch.equal(drawn[0], drawn[1])


def test_a_negative_rho_is_refused() -> None:
    model = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="must not be negative"):
        SAM(torch.optim.SGD(model.parameters(), lr=0.1), model, rho=-0.1)
