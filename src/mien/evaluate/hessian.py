"""The Hessian of a trained network's loss: its largest eigenvalue and its trace.

What they are worth is said in `mien.evaluate.sharpness`. The Hessian is autograd's, which is blind to the
kinks of ReLUs. Networks are in evaluation mode; all is float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh  # type: ignore[import-untyped]
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from mien.errors import InputError
from mien.evaluate.landscape import LossSample, undisturbed
from mien.evaluate.sharpness import Estimate, estimate, learned, mean_loss
from mien.models.window_attention import WindowAttention

HESSIAN_BATCH = 50
"""Images a Hessian-vector product takes at once; it keeps the graph of a gradient."""


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

    def to_dict(self) -> dict[str, Any]:
        """The fields."""
        return asdict(self)


def hessian_top(
    model: nn.Module, sample: LossSample, *, tolerance: float = 0.01, products: int = 60
) -> TopEigenvalue:
    """The largest eigenvalue of the Hessian of the mean loss over all parameters, by Lanczos (ARPACK).

    Args:
        model: normalised faces -> logits; comes back bit by bit as it was.
        sample: the images; the Hessian is theirs, and that of few images is sharper than that of many.
        tolerance: of the eigenvalue, relative.
        products: about the most Hessian-vector products to take; each costs some eight forward passes.

    Raises:
        InputError: `products` were too few, or the network's backward pass cannot be differentiated.
    """
    hessian = _Hessian(model, sample)
    size = hessian.size
    kept = min(size, 8)
    start = np.random.default_rng(0).standard_normal(size).astype(np.float32)
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
    return TopEigenvalue(value, residual, estimate(shares).standard_error, hessian.products)


def hessian_trace(
    model: nn.Module,
    sample: LossSample,
    *,
    draws: int = 20,
    advance: Callable[[int], object] | None = None,
) -> Estimate:
    """The trace of the Hessian of the mean loss over all parameters (Hutchinson 1990): the mean of z'Hz over
    vectors z of random signs.

    Args:
        model: normalised faces -> logits; comes back bit by bit as it was.
        sample: the images.
        draws: how many z; networks of one shape get the same.
        advance: told of each finished draw by a 1.

    Raises:
        InputError: the network's backward pass cannot be differentiated.
    """
    hessian = _Hessian(model, sample)
    random = np.random.default_rng(0)
    products = []
    with undisturbed(model), _twice_differentiable(model):
        for _ in range(draws):
            signs = random.choice(np.array([-1, 1], np.float32), hessian.size)
            products.append(float(signs.astype(np.float64) @ hessian(signs)))
            if advance is not None:
                advance(1)
    return estimate(products)


class _Hessian:
    """v -> Hv for the mean loss of a sample, batch by batch; float32 [P] -> float64 [P]."""

    def __init__(self, model: nn.Module, sample: LossSample) -> None:
        self.model = model
        self.sample = sample
        self.parameters = learned(model)
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
        loss = mean_loss(self.model, x, targets)
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


@contextmanager
def _twice_differentiable(model: nn.Module) -> Iterator[None]:
    """Attention in a plain form: torch's fused kernels and Swin's written-out gradient have no second
    derivative."""
    windows = [m for m in model.modules() if isinstance(m, WindowAttention)]
    for module in windows:
        module.plain = True
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        for module in windows:
            module.plain = False
