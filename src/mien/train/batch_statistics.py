"""BatchNorm's running statistics of a step that has several micro-batches."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class BatchStatistics:
    """Running statistics after a step: the mean of what each micro-batch alone would have left.

    So they do not hang on the order of the micro-batches, nor on which process took which.

    Args:
        model: its BatchNorm layers in training mode are looked after from now on.
        average: averages tensors in place over the processes of a run.
    """

    def __init__(self, model: nn.Module, average: Callable[[list[Tensor]], None]) -> None:
        # A frozen encoder is in evaluation mode, and its statistics stay.
        layers = [
            m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats and m.training
        ]
        running = [buffer for layer in layers for buffer in (layer.running_mean, layer.running_var)]
        self._running = [buffer for buffer in running if buffer is not None]
        # A step counts once, however many micro-batches it has.
        counters = [layer.num_batches_tracked for layer in layers]
        self._counters = [counter for counter in counters if counter is not None]
        self._counters_after = [counter + 1 for counter in self._counters]
        self._average = average
        self._before = [buffer.clone() for buffer in self._running]
        self._sum = [torch.zeros_like(buffer) for buffer in self._running]
        self._taken = 0

    def take(self) -> None:
        """Remember what the micro-batch that was just run has left, and put back what was there before."""
        self._taken += 1
        if self._running:
            torch._foreach_add_(self._sum, self._running)
            self.put_back()

    def put_back(self) -> None:
        """Set the statistics to what they were before the step."""
        if self._running:
            torch._foreach_copy_(self._running, self._before)
            torch._foreach_copy_(self._counters, [count - 1 for count in self._counters_after])

    def finish(self) -> None:
        """Set the statistics to the mean over the micro-batches of all processes."""
        if self._running:
            torch._foreach_div_(self._sum, self._taken)
            self._average(self._sum)
            torch._foreach_copy_(self._running, self._sum)
            torch._foreach_copy_(self._counters, self._counters_after)
