"""How sharp the minimum is that training found: the numbers beside a loss landscape (claim C9).

- `ascent_sharpness`: what SAM minimises, max over ||e|| <= rho of L(w + e) - L(w), with the maximum
  replaced by one ascent step (Foret et al., ICLR 2021, equation 2); `adaptive` takes the ball of ASAM (Kwon
  et al., ICML 2021, equation 8). m-sharpness is its mean over disjoint batches of m images, each with a step
  of its own (Foret et al., section 4.1); training measures it with m = the batch.
- `random_rise`: the mean rise of the loss in many filter-normalised random directions, of which a landscape
  shows two.
- `hessian_top` and `hessian_trace`: the largest eigenvalue of the loss's Hessian, and the sum of all.

What they are worth. Dinh et al. (ICML 2017, section 3): the weights of two layers with a ReLU between, or of
a layer before a norm, can be scaled against each other without changing the function, which makes the
Hessian and a ball of fixed radius as sharp as one likes. So `hessian_*` and plain `ascent_sharpness` compare
networks only where scales are alike: one architecture, one recipe; `adaptive` and `random_rise` scale with
the weights. And flatter is not better by itself: across networks, sharpness has been found to say little
about generalisation (Andriushchenko et al., ICML 2023).

The Hessian is autograd's, which is blind to the kinks of ReLUs: curvature that sits in them shows in
`ascent_sharpness` and `random_rise` alone. Networks are in evaluation mode; all is float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh  # type: ignore[import-untyped]
from scipy.special import stdtrit  # type: ignore[import-untyped]
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from mien.errors import InputError
from mien.evaluate.landscape import LossSample, filter_normalised, image_losses, move_to, undisturbed
from mien.models.window_attention import WindowAttention

HESSIAN_BATCH = 50
"""Images a Hessian-vector product takes at once; it keeps the graph of a gradient."""


@dataclass(frozen=True)
class Estimate:
    """A mean over repetitions, which are kept so that two networks can be compared pair by pair."""

    value: float
    """The mean."""
    standard_error: float | None
    """Of the mean; None of a single repetition."""
    values: tuple[float, ...]
    """One a repetition: a batch, a direction, a draw."""

    def to_json(self) -> dict[str, Any]:
        """The fields."""
        return asdict(self) | {"values": list(self.values)}


@dataclass(frozen=True)
class TopEigenvalue:
    """The largest eigenvalue of the Hessian."""

    value: float
    """v'Hv of the unit vector v that was found."""
    residual: float
    """||Hv - value v||: an eigenvalue lies no farther than this from the value."""
    standard_error: float | None
    """Of v'Hv over batches of `HESSIAN_BATCH` images; None where there is one batch."""
    products: int
    """Hessian-vector products that were taken."""

    def to_json(self) -> dict[str, Any]:
        """The fields."""
        return asdict(self)


def ascent_sharpness(
    model: nn.Module, sample: LossSample, *, rho: float, adaptive: bool = False, m: int | None = None
) -> Estimate:
    """The rise of the loss after one ascent step of length rho.

    The step is e = rho g / ||g||, or, `adaptive`, e = rho w^2 g / ||w g||, over all parameters, as in
    training. A single step gives a lower bound of the maximum.

    Args:
        model: normalised faces -> logits; comes back bit by bit as it was.
        sample: the images.
        rho: radius, above 0.
        adaptive: the ball of ASAM; its usual rho is ten times SAM's.
        m: images of a batch that climbs by itself; the images left over are not used. None climbs once, for
            all images together.

    Returns:
        In nats; one value a batch.

    Raises:
        InputError: rho is not above 0, or the sample has not `m` images.
    """
    m = len(sample) if m is None else m
    if not 0 < rho < math.inf or not 0 < m <= len(sample):
        raise InputError(f"sharpness needs rho above 0 and m from 1 to {len(sample)}, not {rho} and {m}.")
    parameters = _learned(model)
    rises = []
    with undisturbed(model):
        start = [p.detach().clone() for p in parameters]
        for first in range(0, len(sample) - m + 1, m):
            batch = LossSample(sample.inputs[first : first + m], sample.targets[first : first + m])
            before = float(image_losses(model, batch)[0].double().mean())
            _climb(parameters, _gradient(model, parameters, batch), rho, adaptive)
            rises.append(float(image_losses(model, batch)[0].double().mean()) - before)
            with torch.no_grad():
                torch._foreach_copy_(parameters, start)
    return _estimate(rises)


def random_rise(
    model: nn.Module,
    sample: LossSample,
    *,
    radius: float,
    directions: int = 20,
    seed: int = 0,
    advance: Callable[[int], object] | None = None,
) -> Estimate:
    """The rise of the loss in filter-normalised random directions (see `mien.evaluate.landscape`).

    Args:
        model: normalised faces -> logits; comes back bit by bit as it was.
        sample: the images.
        radius: how far, as a share of each filter's norm; both ways are taken, and their mean.
        directions: how many; networks that share layers get the same draws.
        seed: of the directions.
        advance: told of each finished direction by a 1.

    Returns:
        In nats; one value a direction.
    """
    parameters = dict(model.named_parameters())
    rises = []
    with undisturbed(model):
        start = {name: parameters[name].detach().clone() for name in parameters}
        centre = float(image_losses(model, sample)[0].double().mean())
        for draw in range(directions):
            move_to(parameters, start, iter(()))
            direction = filter_normalised(model, (seed << 20) + draw)
            moving = {name: start[name] for name in direction}
            both = []
            for way in (radius, -radius):
                move_to(parameters, moving, iter([(way, direction)]))
                both.append(float(image_losses(model, sample)[0].double().mean()))
            rises.append(sum(both) / 2 - centre)
            if advance is not None:
                advance(1)
    return _estimate(rises)


def hessian_top(
    model: nn.Module, sample: LossSample, *, tolerance: float = 0.01, products: int = 60, seed: int = 0
) -> TopEigenvalue:
    """The largest eigenvalue of the Hessian of the mean loss over all parameters, by Lanczos (ARPACK).

    Args:
        model: normalised faces -> logits; comes back bit by bit as it was.
        sample: the images; the Hessian is theirs, and that of few images is sharper than that of many.
        tolerance: of the eigenvalue, relative.
        products: about the most Hessian-vector products to take; each costs some eight forward passes.
        seed: of the first vector.

    Raises:
        InputError: `products` were too few, or the network's backward pass cannot be differentiated.
    """
    hessian = _Hessian(model, sample)
    size = hessian.size
    kept = min(size, 8)
    start = np.random.default_rng(seed).standard_normal(size).astype(np.float32)
    with undisturbed(model), _twice_differentiable(model):
        if size <= 2:
            vectors = np.linalg.eigh(np.stack([hessian(row) for row in np.eye(size, dtype=np.float32)]))[1]
        else:
            operator = LinearOperator((size, size), matvec=hessian, dtype=np.float32)
            try:
                # ARPACK restarts after `kept` vectors; a restart renews all but the wanted one.
                rounds = max(products // kept, 1)
                _, vectors = eigsh(
                    operator, k=1, which="LA", v0=start, ncv=kept, maxiter=rounds, tol=tolerance
                )
            except ArpackNoConvergence:
                raise InputError(
                    f"the largest eigenvalue was not found to {tolerance:g} within {products} products; "
                    "allow more."
                ) from None
        vector = vectors[:, -1].astype(np.float32)
        vector /= np.linalg.norm(vector)
        image, shares = hessian.with_shares(vector)
    value = float(vector.astype(np.float64) @ image)
    residual = float(np.linalg.norm(image - value * vector.astype(np.float64)))
    return TopEigenvalue(value, residual, _estimate(shares).standard_error, hessian.products)


def hessian_trace(
    model: nn.Module,
    sample: LossSample,
    *,
    draws: int = 20,
    seed: int = 0,
    advance: Callable[[int], object] | None = None,
) -> Estimate:
    """The trace of the Hessian of the mean loss over all parameters (Hutchinson 1990): the mean of z'Hz over
    vectors z of random signs.

    Args:
        model: normalised faces -> logits; comes back bit by bit as it was.
        sample: the images.
        draws: how many z; networks of one shape get the same.
        seed: of the draws.
        advance: told of each finished draw by a 1.

    Raises:
        InputError: the network's backward pass cannot be differentiated.
    """
    hessian = _Hessian(model, sample)
    random = np.random.default_rng(seed)
    products = []
    with undisturbed(model), _twice_differentiable(model):
        for _ in range(draws):
            signs = random.choice(np.array([-1, 1], np.float32), hessian.size)
            products.append(float(signs.astype(np.float64) @ hessian(signs)))
            if advance is not None:
                advance(1)
    return _estimate(products)


def difference(first: Estimate, second: Estimate) -> dict[str, Any]:
    """Second less first, pair by pair, with a 95 % t interval over the pairs.

    Only for estimates whose repetitions are the same draws or the same batches of the same sample.

    Raises:
        InputError: they have other numbers of repetitions, or fewer than two.
    """
    if len(first.values) != len(second.values) or len(first.values) < 2:
        raise InputError(
            f"a paired comparison needs two repetitions or more of each, and as many, not "
            f"{len(first.values)} and {len(second.values)}."
        )
    estimate = _estimate(list(np.subtract(second.values, first.values)))
    half = float(stdtrit(len(estimate.values) - 1, 0.975)) * (estimate.standard_error or 0.0)
    return {
        "difference": estimate.value,
        "interval": [estimate.value - half, estimate.value + half],
        "pairs": len(estimate.values),
    }


class _Hessian:
    """v -> Hv for the mean loss of a sample, batch by batch; float32 [P] -> float64 [P]."""

    def __init__(self, model: nn.Module, sample: LossSample) -> None:
        self.model = model
        self.sample = sample
        self.parameters = _learned(model)
        self.size = sum(p.numel() for p in self.parameters)
        self.products = 0

    def __call__(self, vector: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        return self.with_shares(vector)[0]

    def with_shares(self, vector: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float64], list[float]]:
        """Hv, and v'Hv of each full batch."""
        self.products += 1
        flat = torch.from_numpy(np.ascontiguousarray(vector, np.float32).reshape(-1))
        parts = flat.split([p.numel() for p in self.parameters])
        along = [part.view_as(p).to(p) for part, p in zip(parts, self.parameters, strict=True)]
        total = np.zeros(self.size)
        shares = []
        for x, targets in self.sample.batches(HESSIAN_BATCH):
            product = self._of_batch(x, targets, along)
            total += product * (len(x) / len(self.sample))
            if len(x) == HESSIAN_BATCH:
                shares.append(float(flat.double().numpy() @ product))
        return total, shares

    def _of_batch(self, x: Tensor, targets: Tensor, along: list[Tensor]) -> npt.NDArray[np.float64]:
        loss = _mean_loss(self.model, x, targets)
        gradients = torch.autograd.grad(loss, self.parameters, create_graph=True, materialize_grads=True)
        inner = sum((g * v).sum() for g, v in zip(gradients, along, strict=True))
        assert isinstance(inner, Tensor)
        for parameter in self.parameters:
            parameter.grad = None
        try:
            # Not torch.autograd.grad: it walks to the parameters alone, passes a function by that can be
            # differentiated only once, and leaves its share out without a word.
            inner.backward()
        except RuntimeError as error:
            if "once_differentiable" not in str(error):
                raise
            raise InputError(
                "the Hessian needs a network whose backward pass can be differentiated again; some layer of "
                "this one says that it cannot."
            ) from error
        products = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.parameters]
        return torch.cat([p.detach().reshape(-1) for p in products]).double().cpu().numpy()


def _learned(model: nn.Module) -> list[Tensor]:
    return [p for p in model.parameters() if p.requires_grad]


def _mean_loss(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
    device = next(model.parameters()).device
    with torch.autocast(device.type, enabled=False), torch.enable_grad():
        return F.cross_entropy(model(x.to(device)).float(), targets.to(device))


def _gradient(model: nn.Module, parameters: Sequence[Tensor], sample: LossSample) -> list[Tensor]:
    total = [torch.zeros_like(p) for p in parameters]
    for x, targets in sample.batches():
        loss = _mean_loss(model, x, targets)
        gradients = torch.autograd.grad(loss, parameters, materialize_grads=True)
        torch._foreach_add_(total, list(gradients), alpha=len(x) / len(sample))
    return total


@torch.no_grad()
def _climb(parameters: list[Tensor], gradient: list[Tensor], rho: float, adaptive: bool) -> None:
    # A scaled w * g has the norm that ASAM divides by, and w times that is its step.
    direction = torch._foreach_mul(gradient, parameters) if adaptive else gradient
    norm = float(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(direction))))
    if norm == 0:
        return
    if adaptive:
        direction = torch._foreach_mul(direction, parameters)
    torch._foreach_add_(parameters, direction, alpha=rho / norm)


@contextmanager
def _twice_differentiable(model: nn.Module) -> Iterator[None]:
    """Attention in a plain form: torch's fused kernels and Swin's written-out gradient have no second
    derivative."""
    windows = [m for m in model.modules() if isinstance(m, WindowAttention)]
    for module in windows:
        vars(module)["forward"] = partial(_attend_plainly, module)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        for module in windows:
            del vars(module)["forward"]


def _attend_plainly(module: WindowAttention, x: Tensor) -> Tensor:
    """What `WindowAttention.forward` computes, [B, T, C] -> [B, T, C], by operations that autograd knows."""
    batch, _, channels = x.shape
    if module.partitioned:
        # The row of zeros stands for padding.
        x = F.pad(x, (0, 0, 0, 1))[:, module.order]
    bias = module._bias()
    heads, kinds = bias.shape[:2]
    qkv = module.qkv(x.reshape(-1, module.window_area, channels))
    q, k, v = qkv.unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
    scores = (q * module.scale) @ k.transpose(-2, -1)
    scores = scores.unflatten(0, (-1, kinds)) + bias.permute(1, 0, 3, 2)
    x = (scores.flatten(0, 1).softmax(-1) @ v).transpose(1, 2).flatten(2)
    x = module.proj(x).reshape(batch, -1, channels)
    return x[:, module.back] if module.partitioned else x


def _estimate(values: Sequence[float]) -> Estimate:
    array = np.asarray(values, np.float64)
    if len(array) == 0:
        return Estimate(math.nan, None, ())
    error = float(array.std(ddof=1) / math.sqrt(len(array))) if len(array) > 1 else None
    return Estimate(float(array.mean()), error, tuple(array.tolist()))
