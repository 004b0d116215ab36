"""What an analysis is given: a model on one split of a prepared folder, and which images it takes of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import nn

from mien.config import ModelConfig
from mien.data.prepared import Prepared
from mien.data.targets import Targets
from mien.evaluate.landscape import LossSample, loss_sample
from mien.evaluate.models import EvaluatedModel, Faces, LabelMatch, LogProbabilities
from mien.evaluate.split import split_targets
from mien.progress import Reporter

Index = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Subject:
    """What is analysed: a model on one split, by the classes that both have."""

    model: EvaluatedModel
    prepared: Prepared
    targets: Targets
    """The split's rows; rows of classes that the model does not know are among them."""
    match: LabelMatch
    """The shared classes."""
    images: int
    """How many images robustness takes; 0 takes all."""
    reporter: Reporter

    @property
    def known(self) -> tuple[Index, Index]:
        """Rows of the pack whose class the model knows, and their labels, index into `match.names`; int64 [M]
        each."""
        rows, labels = self.match.labels(self.targets.labels)
        return self.targets.pack_rows[rows], labels

    def log_probabilities(self, faces: Faces) -> LogProbabilities:
        """The model's answers over the shared classes, uint8 [n,H,W,C] to float32 [n,L]."""
        return self.match.log_probabilities(self.model.log_probabilities(faces))

    def faces(self, rows: Index) -> Faces:
        """Faces of the pack, uint8 [n,H,W,C]."""
        return np.ascontiguousarray(self.prepared.pack[rows].transpose(0, 2, 3, 1))

    @property
    def network(self) -> nn.Module:
        """The network of a run; only where `model` is one."""
        assert self.model.network is not None
        return self.model.network

    @property
    def config(self) -> ModelConfig:
        """Its input."""
        assert self.model.config is not None
        return self.model.config

    @property
    def training(self) -> Targets:
        """The training rows under the same target.

        Raises:
            InputError: there is none.
        """
        return split_targets(self.prepared, self.targets.name, "train", ())

    def training_sample(self, count: int) -> LossSample:
        """Drawn training images with their soft labels."""
        return loss_sample(self.prepared.pack, self.training, self.config, count=count)


def drawn(count: int, wanted: int) -> Index:
    """Positions of `wanted` of `count` images, int64, rising; all of them for 0, or where there are fewer."""
    chosen = np.random.default_rng(0).permutation(count)[: wanted or count]
    return np.sort(chosen).astype(np.int64)


def drawn_evenly(labels: Index, wanted: int) -> Index:
    """Positions of about `wanted` images, int64, rising: as many of each class, where it has them.

    Args:
        labels: int64 [N].
        wanted: images of all classes together.
    """
    classes = np.unique(labels)
    order = np.random.default_rng(0).permutation(len(labels))
    each = [order[labels[order] == label][: max(1, wanted // len(classes))] for label in classes]
    return np.sort(np.concatenate(each)).astype(np.int64)
