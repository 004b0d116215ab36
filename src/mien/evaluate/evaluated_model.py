"""The folder that `mien evaluate MODEL --out FOLDER` writes, so that a report can set any model beside runs.

`model.json` says what was evaluated on which data; `evaluation/` is as in a run's folder (see
`mien.evaluate.split`). The network itself is not in it, and no path of the machine.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args

from mien.card import ModelCard
from mien.errors import InputError
from mien.files import write_json
from mien.models.saved import RUN

MODEL: Final = "model.json"
FORMAT: Final = 1
"""Version of model.json; a reader refuses any other."""

Kind = Literal["run", "onnx", "function"]


@dataclass(frozen=True)
class EvaluatedFolder:
    """A folder with what was evaluated of one model on one data set."""

    folder: Path
    """Where it is; not written."""
    name: str
    """What a report calls the model."""
    kind: Kind
    """What it was evaluated from."""
    spec: str
    """What was typed for it, a file by its name alone."""
    labels: tuple[str, ...]
    """The K class names that model and data share, in the order of the logits in `evaluation/`."""
    views: Mapping[str, tuple[str, ...]]
    """Label views that were scored beside all classes, such as `7`, and their class names."""
    target: str
    """Whose labels count, as in `TrainingSetConfig.target`."""
    rule: str
    """How the one class of an image was found: `majority` of its votes, or its `label`."""
    sets: tuple[str, ...]
    """The raw sets of the images, sorted."""
    data: str
    """The prepared folder, as seen from this one."""
    manifest_hash: str
    """Of the data."""
    weights_sha256: str
    """Of the file with the weights, in hexadecimal; empty for a function."""
    parameters: int | None
    """Trained numbers; None where that is not known."""
    card: Mapping[str, Any] | None
    """What `ModelCard.to_dict` gave; None where the model has no card."""

    @property
    def data_folder(self) -> Path:
        """The prepared folder."""
        return Path(os.path.normpath(self.folder / self.data))

    @property
    def model_card(self) -> ModelCard | None:
        """The card, read."""
        return None if self.card is None else ModelCard.from_json(json.dumps(self.card))

    def check(self) -> None:
        """See that what is there, if anything, is of the same model and data.

        Raises:
            InputError: it is a file, or holds a run, or what was evaluated of another model or on other data.
        """
        if self.folder.exists() and not self.folder.is_dir():
            raise InputError(f"{self.folder} is no folder; name another --out.")
        if (self.folder / RUN).exists():
            raise InputError(f"{self.folder} is a run's folder; name another --out.")
        if not is_evaluated(self.folder):
            return
        there = read_evaluated(self.folder)
        for name in ("name", "labels", "target", "manifest_hash", "weights_sha256"):
            if getattr(there, name) != getattr(self, name):
                raise InputError(
                    f"{self.folder} holds the evaluation of another model or data ({name} differs); name "
                    "another --out, or delete that folder."
                )

    def write(self) -> None:
        """Write model.json."""
        values = dataclasses.asdict(self)
        del values["folder"]
        write_json(self.folder / MODEL, {"format": FORMAT, **values})


def is_evaluated(folder: Path) -> bool:
    """Whether a folder is one that `EvaluatedFolder.write` wrote."""
    return (folder / MODEL).is_file()


def read_evaluated(folder: Path) -> EvaluatedFolder:
    """Read model.json.

    Raises:
        InputError: there is none, or it is damaged or of another format.
    """
    path = folder / MODEL
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{folder}: it has no {MODEL}; give what mien evaluate MODEL --out wrote.") from None
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error}); evaluate the model again.") from None
    known = {f.name for f in dataclasses.fields(EvaluatedFolder)} - {"folder"}
    if not isinstance(values, dict) or values.pop("format", None) != FORMAT or set(values) != known:
        raise InputError(f"{path}: not in the format of this mien; evaluate the model again.")
    wrong = _wrong(values)
    if wrong:
        raise InputError(f"{path}: {wrong} is not as mien writes it; evaluate the model again.")
    values["views"] = {name: tuple(names) for name, names in values["views"].items()}
    return EvaluatedFolder(
        folder, **{**values, "labels": tuple(values["labels"]), "sets": tuple(values["sets"])}
    )


def _wrong(values: Mapping[str, Any]) -> str | None:
    """The first value of model.json that is of another kind than `EvaluatedFolder` says, or None."""
    texts = ("name", "spec", "target", "rule", "data", "manifest_hash", "weights_sha256")
    views = values["views"]
    right = {
        **{name: isinstance(values[name], str) for name in texts},
        "kind": values["kind"] in get_args(Kind),
        "labels": _are_names(values["labels"]) and bool(values["labels"]),
        "views": isinstance(views, dict) and all(map(_are_names, views.values())),
        "sets": _are_names(values["sets"]),
        "parameters": values["parameters"] is None or isinstance(values["parameters"], int),
        "card": values["card"] is None or isinstance(values["card"], dict),
    }
    return next((name for name, is_right in right.items() if not is_right), None)


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)
