"""Finished models that teach another one by their soft answers (Hinton et al., 2015).

A teacher answers for the very batch that the student sees, augmented and mixed, since it teaches best when
both look at the same view (Beyer et al., "Knowledge distillation: A good teacher is patient and consistent",
CVPR 2022, section 3.1).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mien.config import DistillConfig, ModelConfig
from mien.data.augment import to_grey
from mien.errors import InputError
from mien.files import sha256_of
from mien.models.saved import read_run
from mien.models.weights import BEST
from mien.runtime.model_file import (
    INPUT_NAME,
    MAX_BYTES,
    OUTPUT_NAME,
    card_of,
    check_network,
    open_session,
)


def load_teacher(
    config: DistillConfig,
    student: ModelConfig,
    labels: Sequence[str],
    *,
    prior: npt.NDArray[np.float64] | None = None,
) -> Teacher | None:
    """The teacher of a run; None where the config names none. No random generator is moved.

    Args:
        config: folders of finished runs or .onnx files that `mien export` wrote, and the temperature.
        student: size, channels, mean and std of the batches to come.
        labels: the student's class names, in the order of its logits.
        prior: float64 [K], shares of the student's classes in what an epoch draws; None leaves the teachers'
            answers under their own.

    Raises:
        InputError: a teacher is no finished run, cannot be read, or lacks one of the student's classes.
    """
    if not config.teachers:
        return None
    # Building a network draws its initial weights; they are overwritten, and the student's must not depend
    # on whether it has a teacher.
    with torch.random.fork_rng(devices=[]):
        finished = [_finished(Path(name)) for name in config.teachers]
    shares = dict(zip(labels, prior.tolist(), strict=True)) if prior is not None else {}
    views = [_StudentView(model, student, labels, shares) for model in finished]
    return Teacher(views, config.temperature, [model.record() for model in finished])


class Teacher:
    """One model, or the mean of several models' probabilities; made by `load_teacher`.

    Args:
        views: networks that take the student's batches and answer by its classes.
        temperature: T.
        records: of each model its `source` (a name), `sha256` and the `sets` that it has seen, for run.json.
    """

    def __init__(self, views: Sequence[nn.Module], temperature: float, records: list[dict[str, Any]]) -> None:
        self.temperature = temperature
        self.records = records
        self._views = nn.ModuleList(views)
        self._device = torch.device("cpu")

    # Not inference_mode: its tensors cannot be kept for the student's backward.
    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        """Soft targets of a batch, under the caller's autocast.

        Args:
            x: float32 [B, C, S, S], the student's batch, augmented, mixed and normalised; the teacher
                follows it to its device.

        Returns:
            float32 [B, K], probabilities at the temperature, in the order of the student's classes.
        """
        if x.device != self._device:
            self._views.to(x.device)
            self._device = x.device
        answers = [F.softmax(view(x) / self.temperature, dim=1) for view in self._views]
        return torch.stack(answers).mean(dim=0)


@dataclass(frozen=True)
class _Finished:
    """A finished model, from wherever it was read."""

    network: nn.Module
    path: Path
    weights: Path
    labels: tuple[str, ...]
    input: ModelConfig
    """Size, channels, mean and std are meant."""
    prior: Mapping[str, float]
    sets: tuple[str, ...]

    def record(self) -> dict[str, Any]:
        return {"source": self.path.name, "sha256": sha256_of(self.weights), "sets": list(self.sets)}


def _finished(path: Path) -> _Finished:
    return _exported(path) if path.suffix == ".onnx" else _run(path)


def weights_of(teacher: Path) -> Path:
    """The file that holds a teacher's weights, whose hash says which teacher it was."""
    return teacher if teacher.suffix == ".onnx" else teacher / BEST


def _run(folder: Path) -> _Finished:
    saved = read_run(folder)
    if not saved.finished:
        raise InputError(
            f"train.distill.teachers: {folder} is not trained to its end; run mien train --resume {folder}, "
            "or name another teacher."
        )
    prior, sets = saved.record.get("prior", {}), tuple(saved.record.get("sets", ()))
    return _Finished(saved.model(), folder, weights_of(folder), saved.labels, saved.config.model, prior, sets)


def _exported(path: Path) -> _Finished:
    session = open_session(path, torch.get_num_threads(), MAX_BYTES)
    card = card_of(session, path)
    check_network(session, card, path)
    expected = ModelConfig(size=card.size, channels=card.channels, mean=card.mean, std=card.std)
    entries = () if isinstance(card.training_data, str) else card.training_data
    sets = tuple(sorted({name for entry in entries for name in entry.get("sets", ())}))
    return _Finished(_OnnxNetwork(session), path, path, card.labels, expected, card.prior, sets)


class _OnnxNetwork(nn.Module):
    """An onnxruntime session among torch's networks; it stays on the processor."""

    def __init__(self, session: Any) -> None:
        super().__init__()
        self._session = session

    def forward(self, x: Tensor) -> Tensor:
        (logits,) = self._session.run([OUTPUT_NAME], {INPUT_NAME: x.cpu().numpy()})
        return torch.from_numpy(logits).to(x.device)


class _StudentView(nn.Module):
    """A teacher as its student sees it: the student's batch in, logits of the student's classes out."""

    columns: Tensor
    shift: Tensor

    def __init__(
        self,
        teacher: _Finished,
        student: ModelConfig,
        labels: Sequence[str],
        prior: Mapping[str, float],
    ) -> None:
        super().__init__()
        missing = [name for name in labels if name not in teacher.labels]
        if missing:
            raise InputError(
                f"train.distill.teachers: {teacher.path} does not know {', '.join(missing)}; its classes are "
                f"{', '.join(teacher.labels)}; name a teacher that knows all classes of the run."
            )
        self.network, self.size, self.channels = teacher.network, teacher.input.size, teacher.input.channels
        self.gain = student.std / teacher.input.std
        self.offset = (student.mean - teacher.input.mean) / teacher.input.std
        self.register_buffer("columns", torch.tensor([teacher.labels.index(name) for name in labels]))
        shift = [_log_ratio(prior.get(name, 0), teacher.prior.get(name, 0)) for name in labels]
        self.register_buffer("shift", torch.tensor(shift))

    def forward(self, x: Tensor) -> Tensor:
        """float32 [B, C, S, S], normalised for the student -> float32 [B, K].

        Logits of classes that the student lacks are left out, so the others share their probability.
        """
        if x.shape[1] == 3 and self.channels == 1:
            x = to_grey(x)
        if x.shape[-1] != self.size:
            x = F.interpolate(x, size=(self.size, self.size), mode="bilinear", antialias=True)
        if (self.gain, self.offset) != (1, 0):
            x = x * self.gain + self.offset
        if x.shape[1] < self.channels:
            x = x.expand(-1, self.channels, -1, -1).contiguous()
        logits: Tensor = self.network(x).float()
        return logits.index_select(1, self.columns) + self.shift


def _log_ratio(wanted: float, own: float) -> float:
    """What moves a class's logit from the teacher's prior to the student's (Saerens et al., Neural
    Computation 14(1), 2002).

    The labels follow the student's prior, so a teacher that was trained on others, or by logit adjustment,
    would contradict them. Where either is not known, or the class was not seen, the logit stays.
    """
    return math.log(wanted / own) if wanted > 0 and own > 0 else 0.0
