from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mien.config import RunConfig
from mien.errors import InputError
from mien.evaluate.landscape import (
    Landscape,
    LossSample,
    filter_normalised,
    image_losses,
    loss_landscape,
    loss_sample,
    undisturbed,
)
from mien.models.build import build_model


def _sample(count: int = 12, size: int = 5, classes: int = 3) -> LossSample:
    random = np.random.default_rng(0)
    x = torch.from_numpy(random.normal(size=(count, 1, size, size)).astype(np.float32))
    return LossSample(x, torch.from_numpy(random.dirichlet(np.ones(classes), count).astype(np.float32)))


def _net() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5), nn.Linear(36, 3)
    )


def test_a_quadratic_bowl_by_hand() -> None:
    # Two classes whose logits are (w.x, 0): with x = 0 but for one pixel the loss is log(1 + exp(-w)).
    net = nn.Sequential(nn.Flatten(), nn.Linear(1, 2, bias=False))
    with torch.no_grad():
        net[1].weight.copy_(torch.tensor([[1.5], [-0.5]]))
    sample = LossSample(torch.ones(1, 1, 1, 1), torch.tensor([[1.0, 0.0]]))
    first, second = filter_normalised(net, 0)["1.weight"], filter_normalised(net, 1)["1.weight"]
    # With one weight a filter, normalising leaves the sign alone.
    assert first.abs().flatten().tolist() == second.abs().flatten().tolist() == [1.5, 0.5]
    surface = loss_landscape(net, sample, steps=5, extent=0.8)
    for i, alpha in enumerate(surface.coordinates):
        for j, beta in enumerate(surface.coordinates):
            w = np.array([1.5, -0.5]) + alpha * first.numpy()[:, 0] + beta * second.numpy()[:, 0]
            assert surface.loss[i, j] == pytest.approx(np.log1p(np.exp(w[1] - w[0])), rel=1e-5)
            assert surface.accuracy[i, j] == float(w[0] >= w[1])
    assert surface.coordinates.tolist() == pytest.approx([-0.8, -0.4, 0, 0.4, 0.8])


def test_each_filter_keeps_its_norm_and_nothing_else_moves() -> None:
    net = _net()
    direction = filter_normalised(net, 3)
    assert set(direction) == {"0.weight", "5.weight"}
    for name, moved in direction.items():
        weight = net.get_parameter(name).detach()
        for drawn, own in zip(moved, weight, strict=True):
            assert float(drawn.norm()) == pytest.approx(float(own.norm()), rel=1e-5)
        assert abs(F.cosine_similarity(moved.flatten(), weight.flatten(), dim=0)) < 0.6


def test_a_zero_filter_does_not_move() -> None:
    net = _net()
    nn.init.zeros_(net[5].weight[1])
    assert filter_normalised(net, 0)["5.weight"][1].tolist() == [0.0] * 36


def test_the_draw_is_shared_where_the_layers_are(tiny: RunConfig) -> None:
    from dataclasses import replace

    from mien.config import SEConfig

    with_se = build_model(tiny.model, 8)
    without = build_model(replace(tiny.model, se=SEConfig("none")), 8)
    ours, theirs = filter_normalised(with_se, 1), filter_normalised(without, 1)
    assert set(theirs) < set(ours)
    assert not any("bias" in name or "norm" in name for name in ours)
    for name, direction in theirs.items():
        cosine = F.cosine_similarity(
            ours[name].flatten(1) / ours[name].flatten(1).norm(dim=1, keepdim=True),
            direction.flatten(1) / direction.flatten(1).norm(dim=1, keepdim=True),
        )
        assert torch.allclose(cosine, torch.ones_like(cosine), atol=1e-5)
    other = filter_normalised(with_se, 2)
    assert not torch.equal(ours["head.weight"], other["head.weight"])


def test_scaling_layers_against_each_other_changes_nothing() -> None:
    # ReLU(c x) / c = ReLU(x): the caveat of Dinh et al., which filter normalisation takes away.
    net = nn.Sequential(nn.Flatten(), nn.Linear(25, 7, bias=False), nn.ReLU(), nn.Linear(7, 3, bias=False))
    plain = loss_landscape(net, _sample(), steps=3)
    with torch.no_grad():
        net[1].weight.mul_(8)
        net[3].weight.div_(8)
    np.testing.assert_allclose(loss_landscape(net, _sample(), steps=3).loss, plain.loss, rtol=1e-5)


def test_the_centre_is_the_trained_network_and_modes_are_evaluation(tiny: RunConfig) -> None:
    net = build_model(tiny.model, 8).train()
    sample = _sample(9, 48, 8)
    told: list[int] = []
    surface = loss_landscape(net, sample, steps=3, advance=told.append)
    assert net.training
    net.eval()
    with torch.no_grad():
        losses = F.cross_entropy(net(sample.inputs), sample.targets, reduction="none").double()
        right = (net(sample.inputs).argmax(1) == sample.targets.argmax(1)).double().mean()
    assert surface.loss[1, 1] == pytest.approx(float(losses.mean()), rel=1e-6)
    assert surface.accuracy[1, 1] == pytest.approx(float(right))
    assert surface.standard_error == pytest.approx(float(losses.std()) / 3, rel=1e-6)
    assert sum(told) == 9
    assert 0.8 < surface.moving < 1


def test_everything_comes_back_bit_by_bit_whatever_is_raised() -> None:
    class Fails(nn.Module):
        calls = 0

        def forward(self, x: Tensor) -> Tensor:
            Fails.calls += 1
            if Fails.calls == 3:
                raise RuntimeError("planted")
            return x

    net = nn.Sequential(_net(), Fails()).train()
    net[0][1].eval()
    net[0][0].weight.grad = gradient = torch.ones_like(net[0][0].weight)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(RuntimeError, match="planted"):
        loss_landscape(net, _sample(), steps=3)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert net.training
    assert net[0][4].training
    assert not net[0][1].training
    assert net[0][0].weight.grad is gradient


def test_undisturbed_puts_buffers_and_gradients_back() -> None:
    net = _net()
    mean = net[1].running_mean.clone()
    with undisturbed(net):
        assert not net.training
        net[1].running_mean.add_(1)
        net[5].weight.grad = torch.ones_like(net[5].weight)
    assert torch.equal(net[1].running_mean, mean)
    assert net[5].weight.grad is None


def test_it_is_float32_under_a_callers_autocast() -> None:
    net, sample = _net().eval(), _sample()
    plain = image_losses(net, sample)[0]
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(image_losses(net, sample)[0], plain)
        inside = loss_landscape(net, sample, steps=3)
    np.testing.assert_array_equal(inside.loss, loss_landscape(net, sample, steps=3).loss)


def _surface(loss: np.ndarray) -> Landscape:
    side = np.linspace(-1, 1, len(loss))
    return Landscape(side, loss, np.zeros_like(loss), 1, 0, 0.0, 1.0)


def test_rises_and_minima_of_drawn_surfaces() -> None:
    a, b = np.meshgrid(np.linspace(-1, 1, 41), np.linspace(-1, 1, 41), indexing="ij")
    bowl = _surface(3 + a**2 + b**2)
    assert bowl.local_minima() == 1
    for radius, rise in bowl.rises().items():
        assert rise == pytest.approx(float(radius) ** 2, abs=0.01)
    wells = _surface(-np.exp(-20 * ((a - 0.5) ** 2 + b**2)) - np.exp(-20 * ((a + 0.5) ** 2 + b**2)))
    assert wells.local_minima() == 2
    assert _surface(a + b).local_minima() == 0


def test_a_ring_without_points_has_no_rise() -> None:
    # The centre lies within half a step of 0.25 where the grid is coarse: it has not risen.
    assert math.isnan(_surface(np.ones((3, 3))).rises()["0.25"])
    side = np.linspace(-0.3, 0.3, 5)
    near = Landscape(side, np.add.outer(side**2, side**2), np.zeros((5, 5)), 1, 0, 0.0, 1.0)
    assert near.rises()["0.25"] > 0
    assert near.to_dict()["rises"] == {"0.25": near.rises()["0.25"], "0.5": None, "1": None}


def test_a_network_that_has_diverged_is_right_about_nothing() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(25, 3))
    nn.init.constant_(net[1].weight, math.nan)
    sample = _sample()
    losses, correct = image_losses(net, LossSample(sample.inputs, torch.eye(3)[[0] * 12]))
    assert losses.isnan().all()
    assert not correct.any()


def test_json_has_no_infinity() -> None:
    loss = np.ones((5, 5))
    loss[0, 0], loss[4, 4] = np.inf, np.nan
    written = json.loads(json.dumps(_surface(loss).to_dict(), allow_nan=False))
    assert written["loss"][0][0] is None
    assert written["loss"][4][4] is None
    assert len(written["alphas"]) == len(written["betas"]) == 5
    assert written["rises"]["0.25"] == 0.0


def test_the_sample_is_the_split_through_the_one_evaluation_path(drawn_folder, tiny: RunConfig) -> None:  # type: ignore[no-untyped-def]
    from mien.data.prepared import load_prepared
    from mien.preprocess import to_input

    prepared = load_prepared(drawn_folder)
    targets = prepared.manifest.target(None).only("train")
    sample = loss_sample(prepared.pack, targets, tiny.model, count=20, seed=4)
    assert len(sample) == 20
    again = loss_sample(prepared.pack, targets, tiny.model, count=20, seed=4)
    assert torch.equal(sample.inputs, again.inputs)
    assert not torch.equal(sample.inputs, loss_sample(prepared.pack, targets, tiny.model, count=20).inputs)
    faces = np.asarray(prepared.pack[targets.pack_rows]).transpose(0, 2, 3, 1)
    all_inputs = to_input(faces, size=48, channels=1, mean=0.5, std=0.5)
    matches = [np.flatnonzero((all_inputs == x.numpy()).all((1, 2, 3))) for x in sample.inputs]
    assert len({int(m[0]) for m in matches}) == 20
    for found, target in zip(matches, sample.targets, strict=True):
        assert targets.soft[found[0]].tolist() == target.tolist()


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(InputError, match="odd number"):
        loss_landscape(_net(), _sample(), steps=4)
    with pytest.raises(InputError, match="extent"):
        loss_landscape(_net(), _sample(), steps=3, extent=0)
    with pytest.raises(InputError, match="no linear or convolutional"):
        loss_landscape(nn.BatchNorm2d(1), _sample(), steps=3)
    with pytest.raises(InputError, match="as many targets"):
        LossSample(torch.zeros(2, 1, 1, 1), torch.zeros(1, 3))
