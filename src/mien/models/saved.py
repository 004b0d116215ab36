"""Reading a run's folder back: its config, its class names, the weights that validation chose."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from mien.card import ModelCard
from mien.config import RunConfig, run_config_from
from mien.errors import InputError
from mien.models.build import build_model
from mien.models.weights import BEST, load_weights

CONFIG = "config.json"
"""The resolved config of a run."""
RUN = "run.json"
"""What else a run's result depends on: class names, target, manifest hash, versions, processor, git
commit."""
CARD = "card.json"
"""The model card, written when training ends."""
HISTORY = "history.jsonl"
"""One JSON object a finished epoch."""
EVALUATION = "evaluation"
"""The folder that holds what was scored of the kept checkpoint."""


@dataclass(frozen=True)
class SavedRun:
    """A run's folder, read."""

    folder: Path
    config: RunConfig
    record: dict[str, Any]
    """What run.json holds."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in the order of the logits."""
        return tuple(self.record["labels"])

    @property
    def data(self) -> Path:
        """The prepared folder that the run was trained on; stored relative to the run's folder."""
        return Path(os.path.normpath(self.folder / self.record["data"]))

    @property
    def card(self) -> ModelCard | None:
        """The model card; None before training has ended.

        Raises:
            InputError: this mien cannot read it.
        """
        path = self.folder / CARD
        if not path.is_file():
            return None
        try:
            return ModelCard.from_json(path.read_text(encoding="utf-8"))
        except InputError as error:
            raise InputError(f"{path}: {error}") from None

    @property
    def finished(self) -> bool:
        """Whether it was trained to the last epoch of the config, or to the end of its budget."""
        history = self.folder / HISTORY
        if not history.is_file():
            return False
        entries = history.read_text(encoding="utf-8").splitlines()
        # Runs of mien before the budget have no `last`.
        return len(entries) >= self.config.train.epochs or bool(
            entries and json.loads(entries[-1]).get("last")
        )

    def model(self) -> nn.Module:
        """The network with the weights that validation chose, on the CPU, in evaluation mode.

        Raises:
            InputError: the run has not kept any weights yet.
            CheckpointError: the weights do not fit the run's config.
        """
        path = self.folder / BEST
        if not path.is_file():
            raise InputError(
                f"{path}: the run has kept no weights yet; continue it: mien train --resume {self.folder}"
            )
        model = build_model(self.config.model, len(self.labels), starting_weights=False)
        load_weights(model, path)
        return model.eval()


def read_run(folder: Path) -> SavedRun:
    """Read config.json and run.json of a run's folder.

    Raises:
        InputError: the folder is missing or is no run.
    """
    values = {}
    for name in (CONFIG, RUN):
        path = folder / name
        if not path.is_file():
            raise InputError(
                f"{folder}: no run there (it has no {name}); give the folder that mien train wrote."
            )
        try:
            values[name] = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise InputError(f"{path}: not JSON ({error}).") from None
    if not isinstance(values[RUN], dict) or not values[RUN].get("labels"):
        raise InputError(f"{folder / RUN}: it names no labels; the file is damaged.")
    return SavedRun(folder, run_config_from(values[CONFIG], where=str(folder / CONFIG)), values[RUN])
