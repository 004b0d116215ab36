"""The losses against a float64 reference written out in numpy, and against their known gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from mien.config import DistillConfig, LoopConfig, RunConfig, TrainingSetConfig
from mien.train.criterion import Criterion

CLASSES = 5
PRIOR = np.array([0.4, 0.3, 0.2, 0.08, 0.02])


def _criterion(
    *, smoothing: float = 0.0, adjusted: bool = False, prior: np.ndarray = PRIOR, **distill: Any
) -> Criterion:
    config = RunConfig(
        training_set=TrainingSetConfig(balance="logit_adjustment" if adjusted else "none"),
        train=LoopConfig(label_smoothing=smoothing, distill=DistillConfig(("t",), **distill)),
    )
    return Criterion(config, prior, "cpu")


def _drawn(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits, soft labels and a teacher's probabilities of six images; one label and one answer are hard."""
    random = np.random.default_rng(seed)
    targets, teacher = random.dirichlet(np.ones(CLASSES), (2, 6)).astype(np.float32)
    targets[0], teacher[1] = np.eye(CLASSES, dtype=np.float32)[[2, 3]]
    logits = 3 * random.normal(size=(6, CLASSES))
    return torch.from_numpy(logits).float(), torch.from_numpy(targets), torch.from_numpy(teacher)


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    return logits - np.log(np.exp(logits).sum(1, keepdims=True))


def _reference(
    logits: torch.Tensor,
    targets: torch.Tensor,
    teacher: torch.Tensor | None,
    *,
    smoothing: float,
    adjusted: bool,
    weight: float,
    temperature: float,
) -> np.ndarray:
    z = logits.double().numpy() + (np.log(PRIOR) if adjusted else 0)
    smooth = (1 - smoothing) * targets.double().numpy() + smoothing / CLASSES
    losses = -(smooth * _log_softmax(z)).sum(1)
    if teacher is None:
        return losses
    p = teacher.double().numpy()
    entropy = -(p * np.log(np.where(p > 0, p, 1))).sum(1)
    divergence = -(p * _log_softmax(z / temperature)).sum(1) - entropy
    return (1 - weight) * losses + weight * temperature**2 * divergence


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("adjusted", [False, True])
@pytest.mark.parametrize("taught", [False, True])
def test_losses_are_those_of_the_reference(smoothing: float, adjusted: bool, taught: bool) -> None:
    logits, targets, teacher = _drawn()
    distill = {"weight": 0.3, "temperature": 2.5}
    criterion = _criterion(smoothing=smoothing, adjusted=adjusted, **distill)
    losses = criterion(logits, targets, teacher if taught else None)
    expected = _reference(
        logits, targets, teacher if taught else None, smoothing=smoothing, adjusted=adjusted, **distill
    )
    assert losses.dtype == torch.float32
    np.testing.assert_allclose(losses.numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_the_teachers_gradient_is_t_times_the_difference_of_the_two_answers(temperature: float) -> None:
    # Hinton et al. (2015), equation 2, times T^2.
    logits, targets, teacher = _drawn()
    logits.requires_grad_(True)
    _criterion(weight=1.0, temperature=temperature)(logits, targets, teacher).sum().backward()
    student = (logits.detach() / temperature).softmax(1)
    torch.testing.assert_close(logits.grad, temperature * (student - teacher), rtol=1e-5, atol=1e-6)


def test_a_student_that_answers_as_its_teacher_has_nothing_left_to_learn_from_it() -> None:
    logits, targets, _ = _drawn()
    losses = _criterion(weight=1.0, temperature=3.0)(logits, targets, (logits / 3).softmax(1))
    torch.testing.assert_close(losses, torch.zeros(6), rtol=0, atol=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_under_logit_adjustment_labels_and_teacher_want_the_same_student(temperature: float) -> None:
    # Labels and teacher both hold the posterior p of the training data; the balanced student is log p less
    # the log prior, and neither term moves it.
    _, posterior, _ = _drawn()
    posterior = 0.9 * posterior + 0.1 / CLASSES
    for weight in (0.0, 1.0):
        logits = (posterior.log() - torch.from_numpy(PRIOR).log().float()).requires_grad_(True)
        criterion = _criterion(adjusted=True, weight=weight, temperature=temperature)
        teacher = (posterior.log() / temperature).softmax(1)
        criterion(logits, posterior, teacher).sum().backward()
        torch.testing.assert_close(logits.grad, torch.zeros(6, CLASSES), rtol=0, atol=1e-5)


def test_a_class_without_training_images_leaves_the_loss_finite() -> None:
    logits, targets, _ = _drawn()
    prior = np.array([0.5, 0.3, 0.1, 0.1, 0.0])
    losses = _criterion(adjusted=True, prior=prior)(logits, targets)
    assert bool(losses.isfinite().all())
    plain = torch.nn.functional.cross_entropy(
        logits + torch.tensor(prior).clamp_min(1e-6).log().float(), targets, reduction="none"
    )
    torch.testing.assert_close(losses, plain)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_logits_are_taken_to_float32_first(dtype: torch.dtype) -> None:
    logits, targets, teacher = _drawn()
    criterion = _criterion(smoothing=0.1)
    short = logits.to(dtype)
    for enclosed in (False, True):
        with torch.autocast("cpu", dtype=dtype, enabled=enclosed):
            losses = criterion(short, targets, teacher)
        assert losses.dtype == torch.float32
        assert torch.equal(losses, criterion(short.float(), targets, teacher))


def test_an_images_loss_does_not_depend_on_the_rest_of_the_batch() -> None:
    logits, targets, teacher = _drawn()
    criterion = _criterion(smoothing=0.1, adjusted=True)
    rows = torch.tensor([4, 1])
    losses = criterion(logits, targets, teacher)
    torch.testing.assert_close(criterion(logits[rows], targets[rows], teacher[rows]), losses[rows])
