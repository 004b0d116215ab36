from __future__ import annotations

import torch
from torch import nn

from mien.train.batch_statistics import BatchStatistics


def _after(model: nn.Module, batches: list[torch.Tensor]) -> list[torch.Tensor]:
    statistics = BatchStatistics(model, lambda _: None)
    for batch in batches:
        model(batch)
        statistics.take()
    statistics.finish()
    return [b.clone() for b in model.buffers() if b.is_floating_point()]


def _model() -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    model(torch.randn(8, 4))
    return model


def test_statistics_are_the_mean_of_what_each_micro_batch_leaves() -> None:
    batches = list(torch.randn(3, 8, 4))
    alone = []
    for batch in batches:
        model = _model()
        model(batch)
        alone.append([b.clone() for b in model.buffers() if b.is_floating_point()])
    for ours, *each in zip(_after(_model(), batches), *alone, strict=True):
        torch.testing.assert_close(ours, torch.stack(each).mean(0))


def test_a_step_counts_as_one_batch() -> None:
    model = _model()
    _after(model, list(torch.randn(3, 8, 4)))
    assert int(model[1].num_batches_tracked) == 2


def test_the_order_of_the_micro_batches_does_not_matter() -> None:
    batches = list(torch.randn(3, 8, 4))
    for a, b in zip(_after(_model(), batches), _after(_model(), batches[::-1]), strict=True):
        torch.testing.assert_close(a, b)


def test_one_micro_batch_is_as_if_nothing_looked_after_it() -> None:
    batch = torch.randn(8, 4)
    model = _model()
    model(batch)
    plain = [b for b in model.buffers() if b.is_floating_point()]
    for a, b in zip(_after(_model(), [batch]), plain, strict=True):
        assert torch.equal(a, b)


def test_put_back_undoes_the_micro_batches() -> None:
    model = _model()
    before = [b.clone() for b in model.buffers() if b.is_floating_point()]
    statistics = BatchStatistics(model, lambda _: None)
    model(torch.randn(8, 4))
    statistics.put_back()
    for a, b in zip([b for b in model.buffers() if b.is_floating_point()], before, strict=True):
        assert torch.equal(a, b)
    assert int(model[1].num_batches_tracked) == 1


def test_processes_are_averaged() -> None:
    model = _model()

    def with_zeros(tensors: list[torch.Tensor]) -> None:
        torch._foreach_div_(tensors, 2)

    statistics = BatchStatistics(model, with_zeros)
    model(torch.randn(8, 4))
    left = [b.clone() for b in model.buffers() if b.is_floating_point()]
    statistics.take()
    statistics.finish()
    for a, b in zip([b for b in model.buffers() if b.is_floating_point()], left, strict=True):
        torch.testing.assert_close(a, b / 2)


def test_a_network_without_batch_norm_is_left_alone() -> None:
    statistics = BatchStatistics(nn.Linear(2, 2), lambda _: None)
    statistics.take()
    statistics.finish()


def test_layers_of_a_frozen_encoder_are_left_alone() -> None:
    model = _model()
    before = {name: b.clone() for name, b in model.named_buffers()}
    model.eval()
    _after(model, list(torch.randn(3, 8, 4)))
    assert all(torch.equal(b, before[name]) for name, b in model.named_buffers())
