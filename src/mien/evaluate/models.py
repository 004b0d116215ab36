"""What `mien evaluate` can evaluate: a run, an ONNX file, the bundled model, or a user's function.

All answer the same question, faces to log-probabilities of named classes, so that one report serves them all.
Importing a user's module runs its code, which is what was asked for. Nothing is unpickled.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.special import log_softmax  # type: ignore[import-untyped]
from torch import nn

from mien.card import CropTemplate, ModelCard
from mien.config import ModelConfig
from mien.errors import InputError
from mien.evaluate.predict import evaluation_device, predict_logits
from mien.files import sha256_of
from mien.labels import canonical_name, class_view
from mien.models.saved import RUN, read_run
from mien.models.weights import BEST
from mien.runtime.classifier import Classifier
from mien.runtime.model_file import bundled_path, model_file

Faces: TypeAlias = npt.NDArray[np.uint8]
LogProbabilities: TypeAlias = npt.NDArray[np.float32]

BUNDLED: Final = "bundled"
SMALLEST_PROBABILITY: Final = 1e-12
"""A probability of 0, as quantised networks give it, is read as this one: its logarithm is finite."""
SUM_TOLERANCE: Final = 0.02
"""How far a function's probabilities may sum from 1; int8 networks miss it by up to 0.01."""

_PART: Final = 250


@dataclass(frozen=True)
class EvaluatedModel:
    """A model, whatever it is made of."""

    name: str
    """What a report calls it."""
    kind: Literal["run", "onnx", "function"]
    spec: str
    """What was typed for it, a file by its name alone: nothing of the machine."""
    labels: tuple[str, ...]
    """The K class names in the order of the answers, by `mien.labels.canonical_name`."""
    log_probabilities: Callable[[Faces], LogProbabilities]
    """uint8 [N,H,W,C] cropped faces, C = 1 (grey) or 3 (RGB), to float32 [N,K], finite, with exponentials
    that sum to 1. Raises InputError where a function fails or answers with something else."""
    weights: Path | None = None
    """The file with the weights; None of a function."""
    network: nn.Module | None = None
    """The network of a run, for its features, sharpness and loss landscape."""
    config: ModelConfig | None = None
    """The network of a run and its input."""
    card: ModelCard | None = None
    """The card of an ONNX file or of a run that has ended; its temperature is in the log-probabilities."""
    size: int | None = None
    """Side of the input in pixels, to which faces are resized; None where a function takes them as they
    are."""
    template: CropTemplate | None = None
    """Where the eyes lie in the crops it was trained on, where that is known."""

    @property
    def weights_sha256(self) -> str:
        """Of the file with the weights, in hexadecimal; empty of a function."""
        return "" if self.weights is None else sha256_of(self.weights)


@dataclass(frozen=True)
class LabelMatch:
    """Which classes a model and a data set share, by name."""

    names: tuple[str, ...]
    """The L shared class names in view, as the data spells and orders them."""
    columns: npt.NDArray[np.int64]
    """int64 [L], each one's column in the model's answers."""
    positions: npt.NDArray[np.int64]
    """int64 [number of the data's classes], each one's place in `names`, or -1."""
    unknown: tuple[str, ...]
    """The data's classes that the model does not know; their images are left out."""
    masked: tuple[str, ...]
    """The model's classes that the data, or the view, does not have; they are never predicted."""

    def log_probabilities(self, answers: LogProbabilities) -> LogProbabilities:
        """A model's answers, float32 [N,K], over the shared classes alone, float32 [N,L], normalised."""
        shared: LogProbabilities = log_softmax(answers[:, self.columns].astype(np.float64), axis=1)
        return shared.astype(np.float32)

    def labels(self, labels: npt.NDArray[np.integer]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The rows that are left, int64 [M], and their labels, int64 [M], index into `names`.

        Args:
            labels: int [N], index into the data's class names.
        """
        positions = self.positions[labels]
        rows = np.flatnonzero(positions >= 0).astype(np.int64)
        return rows, positions[rows]

    def sentences(self, model: str) -> tuple[str, ...]:
        """What a reader must know about the match; empty where model and data have the same classes."""
        said = []
        if self.unknown:
            said.append(f"{model} does not know {', '.join(self.unknown)}; such images are left out.")
        if self.masked:
            said.append(f"{', '.join(self.masked)} of {model} is not among the classes compared; masked.")
        return tuple(said)


def open_model(spec: str | Path) -> EvaluatedModel:
    """Open what `mien evaluate MODEL` names.

    Args:
        spec: a run's folder, an .onnx file written by `mien export` or a folder that holds model.onnx,
            ``bundled``, or ``module:function`` or ``file.py:function``. The function takes uint8 faces
            [N,H,W,C] and gives probabilities [N,K]; it has an attribute `labels`, or its module has `LABELS`,
            the K class names. A function that gives logits says so: its attribute `output` is ``"logits"``.

    Raises:
        InputError: there is no such model, or it cannot be used.
    """
    text = str(spec)
    if text == BUNDLED:
        return _onnx(bundled_path(), BUNDLED)
    path = Path(text)
    if path.is_dir():
        return _run(path) if names_run(text) else _onnx(model_file(path), path.name)
    if path.suffix.lower() == ".onnx":
        return _onnx(path, path.stem)
    source, colon, function = text.rpartition(":")
    if not colon or not source or not function.isidentifier():
        raise InputError(
            f"{text}: no such model; give a run's folder, an .onnx file, {BUNDLED}, or module:function."
        )
    return _function(source, function)


def names_run(spec: str) -> bool:
    """Whether what `mien evaluate MODEL` names can only be a run's folder, be there one or not."""
    path = Path(spec)
    if path.is_dir():
        return (path / RUN).is_file() or not (path / "model.onnx").is_file()
    return spec != BUNDLED and path.suffix.lower() != ".onnx" and ":" not in spec


def match_labels(
    labels: Sequence[str],
    names: Sequence[str],
    *,
    view: str | Sequence[str] = "all",
    model: str = "the model",
) -> LabelMatch:
    """Pair a model's classes with a data set's by name: packages order and spell them differently.

    Args:
        labels: the model's class names.
        names: the data's class names.
        view: `all` takes every class that both have; `7`, or names, must all be known to both.
        model: its name, for messages.

    Raises:
        InputError: no class is shared, the data does not have a class of the view, or the model does not.
    """
    column = {canonical_name(label): index for index, label in enumerate(labels)}
    wanted = class_view(names, view)
    known = tuple(name for name in wanted if canonical_name(name) in column)
    unknown = tuple(name for name in wanted if name not in known)
    if unknown and view != "all":
        raise InputError(
            f"{model} does not know {', '.join(unknown)}; its classes are {', '.join(labels)}: "
            "take a label view without it."
        )
    if not known:
        raise InputError(
            f"{model} and the data share no class: it has {', '.join(labels)}, the data {', '.join(names)}."
        )
    positions = np.array([known.index(name) if name in known else -1 for name in names], dtype=np.int64)
    columns = np.array([column[canonical_name(name)] for name in known], dtype=np.int64)
    masked = tuple(label for index, label in enumerate(labels) if index not in columns)
    return LabelMatch(known, columns, positions, unknown, masked)


def _run(folder: Path) -> EvaluatedModel:
    saved = read_run(folder)
    network = saved.model().to(evaluation_device())
    config, card = saved.config.model, saved.card
    temperature = np.float32(1.0 if card is None else card.temperature)

    def answer(faces: Faces) -> LogProbabilities:
        if not len(faces):
            return np.zeros((0, len(saved.labels)), dtype=np.float32)
        rows = np.arange(len(faces))
        logits = predict_logits(network, faces.transpose(0, 3, 1, 2), rows, config)
        return _normalised(logits / temperature)

    name = folder.resolve().name
    labels = _canonical(saved.labels, name)
    template = saved.record.get("template")
    return EvaluatedModel(
        name,
        "run",
        name,
        labels,
        answer,
        weights=folder / BEST,
        network=network,
        config=config,
        card=card,
        size=config.size,
        template=CropTemplate.from_dict(template) if template else None,
    )


def _onnx(path: Path, name: str) -> EvaluatedModel:
    classifier = Classifier(path)
    card = classifier.card

    def answer(faces: Faces) -> LogProbabilities:
        return _normalised(classifier.logits(faces) / np.float32(card.temperature))

    labels = _canonical(card.labels, name)
    return EvaluatedModel(
        name,
        "onnx",
        BUNDLED if name == BUNDLED else path.name,
        labels,
        answer,
        weights=path,
        card=card,
        size=card.size,
        template=card.template,
    )


def _function(source: str, attribute: str) -> EvaluatedModel:
    module = _imported(source)
    function = getattr(module, attribute, None)
    if not callable(function):
        raise InputError(f"{source} has no function {attribute}.")
    name = f"{Path(source).stem if source.endswith('.py') else source}:{attribute}"
    found = getattr(function, "labels", None) or getattr(module, "LABELS", None)
    if isinstance(found, str) or not found or not all(isinstance(label, str) for label in found):
        raise InputError(
            f"{name} does not say what it answers; give it its class names: "
            f'{attribute}.labels = ("anger", ...), in the order of its answers.'
        )
    output = getattr(function, "output", "probabilities")
    if output not in ("probabilities", "logits"):
        raise InputError(f'{name}.output must be "probabilities" or "logits", not {output!r}.')
    labels = _canonical(found, name)

    def answer(faces: Faces) -> LogProbabilities:
        parts = [np.zeros((0, len(labels)), dtype=np.float32)]
        for start in range(0, len(faces), _PART):
            part = faces[start : start + _PART]
            answers = _called(function, part, name)
            parts.append(_checked(answers, len(part), len(labels), name, output == "logits"))
        return np.concatenate(parts)

    return EvaluatedModel(name, "function", f"{Path(source).name}:{attribute}", labels, answer)


def _called(function: Callable[[Faces], Any], faces: Faces, name: str) -> Any:
    try:
        return function(faces)
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        raise InputError(
            f"{name} failed on {len(faces)} faces of shape {list(faces.shape[1:])} ({type(error).__name__}: "
            f"{error}; {Path(place.filename).name}, line {place.lineno})."
        ) from error


def _checked(answers: Any, count: int, classes: int, name: str, are_logits: bool) -> LogProbabilities:
    """A function's answers as log-probabilities, float32 [count, classes]."""
    values = np.asarray(answers, dtype=np.float64)
    if values.shape != (count, classes):
        raise InputError(
            f"{name} answered {count} faces with {list(values.shape)}; with its {classes} labels it must be "
            f"[{count},{classes}]."
        )
    if not np.isfinite(values).all():
        raise InputError(f"{name} answered with numbers that are not finite.")
    if are_logits:
        return _normalised(values)
    totals = values.sum(axis=1, keepdims=True)
    if (values < 0).any() or (np.abs(totals - 1) > SUM_TOLERANCE).any():
        worst = float(totals[np.abs(totals - 1).argmax(), 0])
        raise InputError(
            f"{name} must answer with probabilities of 0 or more that sum to 1; one face's sum to "
            f'{worst:.4g}. If these are logits, set {name.rpartition(":")[2]}.output = "logits".'
        )
    return _normalised(np.log(np.maximum(values / totals, SMALLEST_PROBABILITY)))


def _normalised(logits: npt.NDArray[np.floating]) -> LogProbabilities:
    shares: LogProbabilities = log_softmax(logits.astype(np.float64), axis=1)
    return shares.astype(np.float32)


def _canonical(labels: Sequence[str], name: str) -> tuple[str, ...]:
    known = tuple(canonical_name(label) for label in labels)
    twice = sorted({label for label in known if known.count(label) > 1})
    if twice:
        raise InputError(f"{name} names a class twice: {', '.join(twice)}.")
    return known


def _imported(source: str) -> ModuleType:
    path = Path(source)
    if path.suffix == ".py" and not path.is_file():
        raise InputError(f"{source}: there is no such file.")
    folder = str(path.resolve().parent if path.suffix == ".py" else Path.cwd())
    # As from a script in that folder; it stays on the path, since functions may import more when called.
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        return _loaded(path) if path.suffix == ".py" else importlib.import_module(source)
    except InputError:
        raise
    # The code is the user's, and may fail in any way.
    except Exception as error:
        raise InputError(f"{source} cannot be imported ({type(error).__name__}: {error}).") from error


def _loaded(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"mien_evaluated_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up by its name while they are made.
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[spec.name]
        raise
    return module
