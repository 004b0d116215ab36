"""ESAM against figures worked out by hand and SAM."""

from __future__ import annotations

import pytest
import torch
from tests.train.sam_relatives import (
    METHODS,
    Pass,
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
from mien.train.sam_relatives import ESAM


def test_esam_of_all_weights_and_images_is_sam() -> None:
    ours, theirs = small_network(), small_network()
    sam = ESAM(sgd(ours), ours, rho=0.1, beta=1.0, gamma=1.0)
    reference = SAM(sgd(theirs), theirs, rho=0.1)
    for _, x, y in random_batches(4):
        # ESAM draws first, so what is dropped is switched off to compare.
        ours[1].p = theirs[1].p = 0.0
        sam.step(Pass(ours, sam, x, y))
        reference.step(Pass(theirs, reference, x, y))
    assert are_same(ours, theirs)


def test_esam_takes_the_images_whose_loss_rises_most() -> None:
    module = quadratic([3.0, 1.0])
    sam = ESAM(sgd(module, momentum=0.0), module, rho=0.5, beta=1.0, gamma=0.5)
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
    sam = ESAM(sgd(module, lr=0.0, momentum=0.0), module, rho=0.5, beta=0.25, gamma=1.0)
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
    first, second = small_network(), small_network()
    for model in (first, second):
        train_all(model, METHODS["esam"](sgd(model), model, 0.5), random_batches(5))
        torch.rand(3)
    assert are_same(first, second)
    third = small_network()
    train_all(
        third, METHODS["esam"](sgd(third), third, 0.5), [(s + 1, x, y) for s, x, y in random_batches(5)]
    )
    assert not are_same(first, third)


def test_esam_compares_losses_under_the_same_masks() -> None:
    model = nn.Sequential(nn.Dropout(0.5), nn.Linear(50, 3))
    sam = ESAM(sgd(model, lr=0.0), model, rho=0.05, beta=1.0, gamma=0.5)
    drawn: list[Tensor] = []
    model[0].register_forward_hook(lambda _m, _i, out: drawn.append(out.detach() != 0))
    sam.step(Pass(model, sam, torch.ones(8, 50), torch.arange(8) % 3))
    assert [len(mask) for mask in drawn] == [8, 8, 4]
    assert torch.equal(drawn[0], drawn[1])


def test_esam_needs_a_loss_an_image_to_choose() -> None:
    module = quadratic([3.0, 1.0])
    sam = ESAM(sgd(module), module, rho=0.5, beta=1.0, gamma=0.5)
    with pytest.raises(TypeError, match="one loss an image"):
        sam.step(quadratic_closure(module, sam, [1.0, 4.0]))
    assert torch.equal(module.w.detach(), torch.tensor([3.0, 1.0]))


@pytest.mark.parametrize(("beta", "gamma"), [(0.0, 0.5), (0.5, 0.0), (1.1, 0.5), (0.5, 1.1)])
def test_esam_shares_are_checked(beta: float, gamma: float) -> None:
    model = small_network()
    with pytest.raises(ValueError, match="above 0 and at most 1"):
        ESAM(sgd(model), model, rho=0.1, beta=beta, gamma=gamma)
