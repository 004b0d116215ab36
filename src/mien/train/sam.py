"""Sharpness-aware minimization as an ordinary closure optimizer.

Foret et al., ICLR 2021, algorithm 1 with the l2 norm (equations 2 and 3); `adaptive` is ASAM (Kwon et al.,
ICML 2021, equation 8). A step climbs to w + e(w), takes the gradient there, goes back to w and steps the base
optimizer:

    e(w) = rho * g / ||g||                     (SAM)
    e(w) = rho * |w|^2 * g / || |w| * g ||     (ASAM)

What public copies get wrong and is held here: state is the base optimizer's own, so a checkpoint holds all of
it; both passes draw the same stochastic-depth masks; BatchNorm statistics are taken in the first pass only;
weights come back bit by bit, whatever is raised in between. Do not put a GradScaler around it: it hands the
closure on without unscaling, and the step is taken with scaled gradients. bf16 needs no scaler.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

Closure = Callable[[], Tensor]


class SAM(Optimizer):
    """SAM around any optimizer.

    Args:
        base: the optimizer that steps; its parameter groups and state are shared, not copied.
        model: the network whose BatchNorm statistics are kept from the second pass.
        rho: radius of the perturbation, > 0 or 0 (then every step is the base's).
        adaptive: scale the perturbation by the weights (ASAM).
        first_pass: entered around the first forward and backward; under DDP `no_backward_sync`, so that each
            process perturbs by its own gradient (m-sharpness) and only the second pass is averaged.
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
        first_pass: Callable[[], AbstractContextManager[Any]] = nullcontext,
        before_step: Callable[[], None] | None = None,
    ) -> None:
        if rho < 0:
            raise ValueError(f"rho is {rho}; it must not be negative.")
        super().__init__(base.param_groups, {})
        self.base = base
        self.model = model
        self.rho = rho
        self.adaptive = adaptive
        self.first_pass = first_pass
        self.before_step = before_step
        self._share()

    def _share(self) -> None:
        self.param_groups = self.base.param_groups
        self.state = self.base.state
        self.defaults = self.base.defaults

    def state_dict(self) -> dict[str, Any]:
        """The base optimizer's state: SAM has none of its own."""
        return self.base.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the base optimizer's state."""
        self.base.load_state_dict(state_dict)
        self._share()

    @torch.no_grad()
    def step(self, closure: Closure) -> Tensor:  # type: ignore[override]
        """One step.

        Args:
            closure: clears the gradients, computes the loss of one batch, runs backward, returns the loss. It
                is called twice (once where rho or the gradient is zero) and must see the same batch
                both times.

        Returns:
            The loss at the unperturbed weights.

        Raises:
            FloatingPointError: the gradient is NaN or infinite; weights and optimizer state are as before.
        """
        closure = torch.enable_grad()(closure)
        if self.rho == 0:
            loss = closure()
            self._base_step()
            return loss
        generators = _RandomState(self.param_groups[0]["params"][0].device)
        with self.first_pass():
            loss = closure()
        parameters: list[Tensor] = [
            p for group in self.param_groups for p in group["params"] if p.grad is not None
        ]
        perturbations = self._perturbations(parameters)
        if perturbations is None:
            self._base_step()
            return loss
        with _perturbed(parameters, perturbations), _frozen_batch_statistics(self.model):
            generators.restore()
            closure()
        self._base_step()
        return loss

    def _base_step(self) -> None:
        gradients = [p.grad for group in self.param_groups for p in group["params"] if p.grad is not None]
        if not torch.isfinite(torch.stack(torch._foreach_norm(gradients)).sum()):
            raise FloatingPointError("the gradient is not finite")
        if self.before_step is not None:
            self.before_step()
        self.base.step()

    def _perturbations(self, parameters: list[Tensor]) -> tuple[Tensor, ...] | None:
        """e(w), one tensor a parameter; None where the gradient is zero and there is no direction to
        climb."""
        directions = tuple(p.grad for p in parameters if p.grad is not None)
        if self.adaptive:
            sizes = torch._foreach_abs(parameters)
            directions = torch._foreach_mul(directions, sizes)
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(directions)))
        if not torch.isfinite(norm):
            raise FloatingPointError("the gradient of the first pass is not finite")
        if norm == 0:
            return None
        if self.adaptive:
            directions = torch._foreach_mul(directions, sizes)
        return torch._foreach_mul(directions, self.rho / float(norm))


class _RandomState:
    """The random generators as they are now, so that the second pass draws the masks of the first."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.cpu = torch.get_rng_state()
        # torch.cuda, torch.mps and their like share these two functions.
        self.accelerator = getattr(torch, device.type).get_rng_state() if device.type != "cpu" else None

    def restore(self) -> None:
        torch.set_rng_state(self.cpu)
        if self.accelerator is not None:
            getattr(torch, self.device.type).set_rng_state(self.accelerator)


@contextmanager
def _perturbed(parameters: list[Tensor], perturbations: tuple[Tensor, ...]) -> Iterator[None]:
    # A copy, not a subtraction: (w + e) - e is not w in floating point, and the error would add up.
    kept = [p.detach().clone() for p in parameters]
    try:
        torch._foreach_add_(parameters, perturbations)
        yield
    finally:
        torch._foreach_copy_(parameters, kept)


@contextmanager
def _frozen_batch_statistics(model: nn.Module) -> Iterator[None]:
    # Without tracking, a BatchNorm layer in training mode still normalises by the batch but records nothing.
    layers = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    for layer in layers:
        layer.track_running_stats = False
    try:
        yield
    finally:
        for layer in layers:
            layer.track_running_stats = True
