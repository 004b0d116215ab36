"""The arithmetic of training: fp32, or autocast to bf16 or fp16 over fp32 weights.

fp16 needs its loss scaled, or small gradients vanish (Micikevicius et al., ICLR 2018, section 3.2). torch's
GradScaler fits no optimizer that takes a closure, so `LossScale` scales and unscales within the closure: SAM,
clipping and the check for non-finite gradients all see true gradients.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from lightning_fabric.plugins.precision import MixedPrecision, Precision
from torch import Tensor

from mien.config import LoopConfig
from mien.errors import InputError
from mien.train.sam import gradients_of

FIRST_SCALE = 2.0**16
"""Where the scale begins, as in torch's GradScaler; too high costs a repeated step for each halving."""
GROWTH_INTERVAL = 2000
"""Steps without an overflow after which the scale is doubled, as in torch's GradScaler."""


def autocast_precision(config: LoopConfig) -> str:
    """Fabric's name of the arithmetic that `precision` means here: `32-true`, `bf16-mixed` or `16-mixed`.

    Raises:
        InputError: fp16 is asked for where there is no GPU.
    """
    device = _device_type()
    if config.precision == "fp16" and device == "cpu":
        raise InputError(
            "train.precision fp16 needs a GPU, and this machine has none; take bf16, or fp32 where the "
            "processor has no bf16."
        )
    if config.precision == "auto":
        if device == "cuda":
            # Emulated bf16, as on a T4, is slower than fp32.
            has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        else:
            capabilities = torch.cpu.get_capabilities()
            has_bf16 = bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
        return "bf16-mixed" if has_bf16 else "32-true"
    return {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}[config.precision]


def precision_plugin(config: LoopConfig) -> Precision:
    """What `Fabric(accelerator="auto", plugins=[...])` takes for the config's arithmetic.

    Raises:
        InputError: fp16 is asked for where there is no GPU.
    """
    return autocast_plugin(autocast_precision(config), _device_type())


def autocast_plugin(precision: str, device: str) -> Precision:
    """Fabric's plugin that autocasts, and leaves the scaling of the loss to `LossScale`.

    Args:
        precision: `32-true`, `bf16-mixed` or `16-mixed`.
        device: `cpu` or `cuda`.
    """
    if precision == "32-true":
        return Precision()
    if precision == "bf16-mixed":
        return MixedPrecision("bf16-mixed", device)
    # Given none, Fabric would make a GradScaler of its own.
    return MixedPrecision("16-mixed", device, torch.amp.GradScaler(device, enabled=False))


def _device_type() -> str:
    """What the run's processes train on, see `Devices`."""
    return "cuda" if torch.cuda.is_available() else "cpu"


class LossScale:
    """The factor of fp16's loss; of other precisions it is 1 and does nothing.

    A loop calls `backward` in its closure, and for each step either `good`, or, when the optimizer raised
    FloatingPointError, `overflowed`, and then repeats the step with the same draws where that says so. The
    optimizer's own look at the gradient is the only one: it costs no synchronisation beyond that.

    The scale is a power of two, so that scaling and unscaling round nothing.

    Args:
        config: the precision.
    """

    def __init__(self, config: LoopConfig) -> None:
        self.active = config.precision == "fp16"
        self.scale = FIRST_SCALE if self.active else 1.0
        self.growth_interval = GROWTH_INTERVAL
        self.good_steps = 0

    def backward(self, loss: Tensor, parameters: Iterable[Tensor]) -> None:
        """Run backward, and leave true gradients in `grad`.

        Args:
            loss: a scalar, float32.
            parameters: all that the loss may reach; their gradients must have been cleared, or what was there
                before is divided by the scale.
        """
        if not self.active:
            loss.backward()
            return
        (loss * self.scale).backward()
        gradients = gradients_of(list(parameters))
        if gradients:
            # An infinity stays one, and the optimizer refuses it.
            torch._foreach_mul_(gradients, 1 / self.scale)

    def overflowed(self) -> bool:
        """Halve the scale after a gradient that was not finite; returns whether to repeat the step.

        False where no smaller scale would help: the gradient itself is not finite.
        """
        if self.scale <= 1:
            return False
        self.scale /= 2
        self.good_steps = 0
        return True

    def good(self) -> None:
        """Count a step that was taken; double the scale after `growth_interval` of them in a row."""
        if not self.active:
            return
        self.good_steps += 1
        if self.good_steps == self.growth_interval:
            self.scale *= 2
            self.good_steps = 0

    def state(self) -> dict[str, float]:
        """What a checkpoint keeps; nothing where the scale does nothing."""
        return {"scale": self.scale, "good_steps": self.good_steps} if self.active else {}

    def load(self, state: Mapping[str, float]) -> None:
        """Restore what `state` gave; of nothing, go on from here."""
        if state:
            self.scale = float(state["scale"])
            self.good_steps = int(state["good_steps"])
