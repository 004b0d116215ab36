"""Sharpness-aware minimization as an ordinary closure optimizer.

Foret et al., ICLR 2021, algorithm 1 with the l2 norm (equations 2 and 3); `adaptive` is ASAM (Kwon et al.,
ICML 2021, equation 8). A step climbs to w + e(w), takes the gradient there, goes back to w and steps the base
optimizer:

    e(w) = rho * g / ||g||                     (SAM)
    e(w) = rho * |w|^2 * g / || |w| * g ||     (ASAM)

Several closures are the micro-batches of one step. Each climbs by its own gradient, and the gradients at the
climbed points are averaged for one base step: m-sharpness with m = the micro-batch (Foret et al., section
4.1). The processes of a distributed run have such micro-batches too: no pass is synchronised, forward
included, and `average` takes the mean over the processes once, before the base steps.

What public copies get wrong and is held here: state is the base optimizer's own, so a checkpoint holds all of
it; both passes draw the same stochastic-depth masks; BatchNorm statistics are taken in the first pass only;
weights come back bit by bit, whatever is raised in between; weights that an enclosing autocast has already
cast are cast anew after they moved. Do not put a GradScaler around it: it hands the closure on without
unscaling, and the step is taken with scaled gradients. `mien.train.precision.LossScale` scales within the
closure; bf16 needs no scaling.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

Closure = Callable[..., Tensor]
"""Clears the gradients, computes the loss of one batch, runs backward and returns the loss: a scalar, or [B],
one loss an image, if backward was run from their mean. It sees the same batch each time it is called."""

Tensors = list[Tensor] | tuple[Tensor, ...]


class SAM(Optimizer):
    """SAM around any optimizer.

    Args:
        base: the optimizer that steps; its parameter groups and state are shared, not copied.
        model: the network whose BatchNorm statistics are kept from the second pass.
        rho: radius of the perturbation, > 0 or 0 (then every step is the base's).
        adaptive: scale the perturbation by the weights (ASAM).
        average: averages tensors in place over the processes of a distributed run; called once a step for
            the gradients, whatever happened in the passes, so that no process waits for another in vain.
            The network must not be wrapped to average gradients by itself.
        before_step: called between the second pass and the base's step; gradients are clipped here, since
            clipping the first pass has no effect on a normalised perturbation.

    Raises:
        ValueError: rho is negative.
    """

    def __init__(
        self,
        base: Optimizer,
        model: nn.Module,
        *,
        rho: float,
        adaptive: bool = False,
        average: Callable[[Tensors], None] | None = None,
        before_step: Callable[[], None] | None = None,
    ) -> None:
        if rho < 0:
            raise ValueError(f"rho is {rho}; it must not be negative.")
        super().__init__(base.param_groups, {})
        self.base = base
        self.model = model
        self.rho = rho
        self.adaptive = adaptive
        self.average = average
        self.before_step = before_step
        self._share()
        # Loading puts new lists and dicts into the base, whichever of the two it was called on. A strong
        # reference would be a cycle, and the last run's memory would stay until it is collected.
        share = weakref.WeakMethod(self._share)

        def share_again(_: Optimizer) -> None:
            method = share()
            if method is not None:
                method()

        base.register_load_state_dict_post_hook(share_again)

    def _share(self) -> None:
        self.param_groups = self.base.param_groups
        self.state = self.base.state
        self.defaults = self.base.defaults

    def state_dict(self) -> dict[str, Any]:
        """The base optimizer's state, which holds all of it."""
        return self.base.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the base optimizer's state."""
        self.base.load_state_dict(state_dict)

    @torch.no_grad()
    def step(self, closure: Closure | Collection[Closure]) -> Tensor:  # type: ignore[override]
        """One step.

        Args:
            closure: see `Closure`; called twice (once where rho or the gradient is zero). Several are the
                micro-batches of this step, taken one after the other as they are iterated over, each weighted
                by the number of losses that it returns: images for [B], one for a scalar.

        Returns:
            The mean loss of the first passes, a scalar: at the unperturbed weights.

        Raises:
            FloatingPointError: the gradient is NaN or infinite; weights and optimizer state are as before.
            TypeError: a gradient is sparse.
            ValueError: there is no closure.
        """
        closures = [closure] if callable(closure) else closure
        if len(closures) == 0:
            raise ValueError("step was given no closure.")
        loss = self._set_gradient(closures)
        self._base_step()
        return loss

    def _set_gradient(self, closures: Collection[Closure]) -> Tensor:
        """Leave the gradient to step with in `grad`; return the mean loss."""
        return self._set_mean_gradient(closures, self._set_sharpness_gradient)

    def _set_mean_gradient(self, closures: Collection[Closure], one: Callable[[Closure], Tensor]) -> Tensor:
        losses = []
        if len(closures) == 1:
            losses = [one(closure).detach().reshape(-1) for closure in closures]
        else:
            total = GradientSum()
            for closure in closures:
                losses.append(one(closure).detach().reshape(-1))
                total.add(self._moving(), weight=len(losses[-1]))
            for parameter, gradient in total.take_mean().items():
                parameter.grad = gradient
        if self.average is not None:
            self.average(gradients_of(self._moving()))
        return torch.cat(losses).mean()

    def _set_sharpness_gradient(self, closure: Closure) -> Tensor:
        """Leave the gradient at the climbed weights in `grad`; return the loss of the first pass."""
        if self.rho == 0:
            return one_pass(closure)
        generators = RandomState(self._device())
        loss = one_pass(closure)
        moving = self._moving()
        with restored(moving), frozen_batch_statistics(self.model):
            if self._climb(moving, self.rho, loss.numel()):
                generators.restore()
                one_pass(closure)
        return loss

    def _climb(self, parameters: Tensors, radius: float, count: int) -> bool:
        """Add e(w) in place; False where the gradient is zero or not finite, which points nowhere.

        Args:
            parameters: those with a gradient.
            radius: rho.
            count: how many losses the gradient is the mean of.
        """
        directions: Tensors = gradients_of(parameters)
        if self.adaptive:
            directions = torch._foreach_mul(directions, parameters)
        norm = float(total_norm(directions))
        # The gradient stays in `grad`, and the step that would be taken with it refuses it: raising here
        # would leave the other processes waiting.
        if norm == 0 or not math.isfinite(norm):
            return False
        if self.adaptive:
            torch._foreach_mul_(directions, parameters)
        torch._foreach_add_(parameters, directions, alpha=radius / norm)
        return True

    def _device(self) -> torch.device:
        return next(p.device for group in self.param_groups for p in group["params"])

    def _moving(self) -> list[Tensor]:
        """The parameters that have a gradient now."""
        moving = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        if any(g.layout != torch.strided for g in gradients_of(moving)):
            raise TypeError("a gradient is sparse; SAM has no norm of it, build that layer with sparse=False")
        return moving

    def _base_step(self) -> None:
        if not torch.isfinite(total_norm(gradients_of(self._moving()))):
            raise FloatingPointError("the gradient is not finite")
        if self.before_step is not None:
            self.before_step()
        self.base.step()


def one_pass(closure: Closure, **keywords: Any) -> Tensor:
    """Call the closure with gradients on, which a step has off."""
    with torch.enable_grad():
        return closure(**keywords)


def gradients_of(parameters: Tensors) -> list[Tensor]:
    """The gradients of parameters that have one."""
    return [p.grad for p in parameters if p.grad is not None]


def total_norm(tensors: Tensors) -> Tensor:
    """The l2 norm of all tensors as one vector, a scalar; 0 of none."""
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(tensors))) if tensors else torch.zeros(())


class GradientSum:
    """Gradients summed over micro-batches, each by its weight."""

    def __init__(self) -> None:
        self._sums: dict[Tensor, Tensor] = {}
        self._weight = 0

    def add(self, parameters: Tensors, weight: int) -> None:
        """Add `weight` times the gradients that the parameters have now."""
        self._weight += weight
        for parameter in parameters:
            if parameter not in self._sums:
                self._sums[parameter] = torch.zeros_like(parameter)
        if parameters:
            sums = [self._sums[p] for p in parameters]
            torch._foreach_add_(sums, gradients_of(parameters), alpha=weight)

    def take_mean(self) -> dict[Tensor, Tensor]:
        """The weighted mean a parameter, and begin anew; one without a gradient in some micro-batch counts as
        zero there."""
        mean, weight = self._sums, self._weight
        self._sums, self._weight = {}, 0
        if mean:
            torch._foreach_div_(list(mean.values()), weight)
        return mean


class RandomState:
    """torch's random generators as they are now, so that the second pass draws the masks of the first."""

    def __init__(self, device: torch.device) -> None:
        self._cpu = torch.get_rng_state()
        self._accelerator = None if device.type == "cpu" else torch.get_device_module(device)
        # Of the accelerators only mps, which is always one device, takes none.
        self._device = () if device.type == "mps" else (device,)
        if self._accelerator is not None:
            self._state = self._accelerator.get_rng_state(*self._device)

    def restore(self) -> None:
        """Set the generators back."""
        torch.set_rng_state(self._cpu)
        if self._accelerator is not None:
            self._accelerator.set_rng_state(self._state, *self._device)


@contextmanager
def restored(parameters: Tensors) -> Iterator[None]:
    """Put the parameters back as they are now, whatever is raised."""
    if not parameters:
        yield
        return
    # A copy, not a subtraction: (w + e) - e is not w in floating point, and the error would add up.
    kept = [p.detach().clone() for p in parameters]
    # An autocast around the whole step keeps the weights that it has cast, and would not see them move.
    torch.clear_autocast_cache()
    try:
        yield
    finally:
        torch._foreach_copy_(parameters, kept)
        torch.clear_autocast_cache()


@contextmanager
def frozen_batch_statistics(model: nn.Module) -> Iterator[None]:
    """BatchNorm layers record nothing."""
    # Without tracking, a BatchNorm layer in training mode still normalises by the batch.
    layers = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    for layer in layers:
        layer.track_running_stats = False
    try:
        yield
    finally:
        for layer in layers:
            layer.track_running_stats = True
