"""The loss of each image: cross-entropy to soft labels, and what a config may add to it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from mien.config import RunConfig

SMALLEST_SHARE = 1e-6
"""A class that no training image has is taken to be this rare, since its share has no logarithm."""


class Criterion:
    """Logits and soft labels to losses.

    Label smoothing spreads a share of the target evenly (Szegedy et al., CVPR 2016, section 7). Logit
    adjustment adds the log prior to the logits here, and nowhere else (Menon et al., ICLR 2021, the
    logit-adjusted loss with tau = 1). A teacher shares the loss with the labels (Hinton et al., 2015, section
    2): with weight w and temperature T

        (1 - w) * cross-entropy + w * T^2 * KL(teacher at T || student at T)

    where T^2 keeps the gradient of the second term from shrinking as T grows.

    Args:
        config: label smoothing, the balance of the training set, weight and temperature of the teacher.
        prior: float64 [K], shares of the classes in what an epoch draws.
        device: where the logits are.
    """

    def __init__(self, config: RunConfig, prior: npt.NDArray[np.float64], device: torch.device | str) -> None:
        self.label_smoothing = config.train.label_smoothing
        self.weight = config.train.distill.weight
        self.temperature = config.train.distill.temperature
        self.log_prior: Tensor | None = None
        if config.training_set.balance == "logit_adjustment":
            self.log_prior = torch.from_numpy(np.log(prior.clip(SMALLEST_SHARE))).float().to(device)

    def __call__(self, logits: Tensor, targets: Tensor, teacher: Tensor | None = None) -> Tensor:
        """The losses of a batch.

        Args:
            logits: [B, K], of any float type; everything is computed in float32.
            targets: float32 [B, K], soft labels that sum to 1.
            teacher: float32 [B, K], probabilities at the config's temperature, as `Teacher` gives them; None
                leaves the labels alone.

        Returns:
            float32 [B].
        """
        logits = logits.float()
        # The teacher's term takes the adjusted logits too: with the log prior they are the posterior under
        # the training prior, which the labels follow and which `Teacher` gives. Both terms then agree on one
        # student. Unadjusted, its logits would be drawn towards the very prior that the labels' term takes
        # out.
        if self.log_prior is not None:
            logits = logits + self.log_prior
        losses = F.cross_entropy(logits, targets, reduction="none", label_smoothing=self.label_smoothing)
        if teacher is None:
            return losses
        softened = F.log_softmax(logits / self.temperature, dim=1)
        divergence = F.kl_div(softened, teacher, reduction="none").sum(dim=1)
        return (1 - self.weight) * losses + self.weight * self.temperature**2 * divergence
