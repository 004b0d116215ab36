"""The model's card: all that a user of an exported file must know, carried inside that file as JSON.

The card holds the preprocessing, the class names and what the figures are worth, so that nothing is inferred
from a file's name. It needs no numpy and can be read without loading the network.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from mien.errors import InputError
from mien.labels import class_view

CARD_FORMAT = 1
"""Version of the card's JSON; a reader refuses any other."""

CARD_KEY = "mien.card"
"""Key of the card's JSON in the metadata_props of an ONNX file."""

RESEARCH_USE_LICENCE = (
    "Research use only: the weights were trained on FER-2013 (Goodfellow et al., 2013), which is offered for "
    "research. The code that trained and runs them is under the MIT licence."
)
"""Licence of weights that were trained on FER-2013."""

USE_WARNING = (
    "The output is a guess about the look on a face, not about what a person feels. Inferring emotions at "
    "work or in education is forbidden in the European Union (AI Act, Regulation (EU) 2024/1689, Article "
    "5(1)(f)) except for medical or safety reasons, and is regulated elsewhere."
)
"""The plain warning that is shown wherever a model is offered."""

_METRIC_KEYS = ("split", "rule", "count", "values")
_SUM_TOLERANCE = 1e-3


@dataclass(frozen=True)
class CropTemplate:
    """Where the eyes lie in the crops that a model was trained on, as measured on them (section 3.4: face
    cropping).

    Raises:
        InputError: a value is not finite or out of its range, or the two eyes are in one place.
    """

    left_eye: tuple[float, float]
    """x and y of the eye on the left of the picture, as shares of the crop's side from its top left
    corner."""
    right_eye: tuple[float, float]
    """x and y of the eye on the right of the picture, likewise."""
    detected: float
    """Share of the measured pictures, 0..1, in which a face was found."""
    spread: float
    """Median distance of an eye from its median position, in shares of the distance between the eyes."""
    count: int
    """How many pictures were measured."""

    def __post_init__(self) -> None:
        for name, point in (("left_eye", self.left_eye), ("right_eye", self.right_eye)):
            if len(point) != 2 or not all(_is_number(value) for value in point):
                raise InputError(f"the card's template.{name} must be two numbers, not {point!r}.")
        if math.dist(self.left_eye, self.right_eye) < 0.01:
            raise InputError("the card's template has both eyes in one place.")
        if not _is_number(self.detected) or not 0 <= self.detected <= 1:
            raise InputError(f"the card's template.detected must lie in 0..1, not {self.detected!r}.")
        if not _is_number(self.spread) or self.spread < 0:
            raise InputError(f"the card's template.spread must be 0 or more, not {self.spread!r}.")
        if not _is_whole(self.count) or self.count < 0:
            raise InputError(f"the card's template.count must be a whole number, not {self.count!r}.")

    @classmethod
    def from_dict(cls, values: Any) -> CropTemplate:
        """Read what `dataclasses.asdict` gave, or its JSON.

        Raises:
            InputError: a key is missing or unknown, or a value does not fit.
        """
        if not isinstance(values, dict):
            raise InputError("the card's template must be a JSON object or null.")
        _same_keys("card's template", values, cls)
        for key in ("left_eye", "right_eye"):
            if not isinstance(values[key], list | tuple):
                raise InputError(f"the card's template.{key} must be two numbers, not {values[key]!r}.")
        points = {key: tuple(values[key]) for key in ("left_eye", "right_eye")}
        return cls(**{**values, **points})

    @property
    def eye_distance(self) -> float:
        """Distance between the eyes as a share of the crop's side."""
        return math.dist(self.left_eye, self.right_eye)


@dataclass(frozen=True)
class ModelCard:
    """What a model expects, what it answers, and what its figures are worth.

    Raises:
        InputError: the values contradict each other; the message names the field.
    """

    name: str
    """The model's name, as shown to users."""
    labels: tuple[str, ...]
    """Class names in the order of the logits; any names, not only the eight emotions."""
    size: int
    """Side of the square input in pixels."""
    channels: Literal[1, 3]
    """1: grey (ITU-R BT.601), 3: RGB."""
    mean: float = 0.5
    """Subtracted from intensities in 0..1 (section 3.4)."""
    std: float = 0.5
    """Divides the centred intensities (section 3.4)."""
    views: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Named subsets of the labels, such as `7` for the paper's seven classes (section 3.7)."""
    template: CropTemplate | None = None
    """Where the eyes lie in the crops the model was trained on; none crops by the face's box."""
    temperature: float = 1.0
    """Divides the logits before softmax (Guo et al., 2017)."""
    prior: Mapping[str, float] = field(default_factory=dict)
    """Share of each class in the training data as the loss saw it; empty when unknown."""
    abstain_threshold: float | None = None
    """Below this confidence, 0..1, the answer is marked as abstained."""
    metrics: Sequence[Mapping[str, Any]] = ()
    """Measured figures; each names at least `split`, `rule`, `count` and `values`."""
    training_data: Sequence[Mapping[str, Any]] | str = ()
    """What it was trained on: one entry a data set, or a sentence."""
    manifest_hash: str = ""
    """SHA-256 of the training manifest."""
    licence: str = ""
    """What the weights may be used for."""
    notes: str = ""
    """Anything else a user should know."""
    format: int = CARD_FORMAT
    """Version of the card's JSON."""

    def __post_init__(self) -> None:
        if self.format != CARD_FORMAT:
            raise InputError(
                f"the card's format is {self.format!r} and this mien reads {CARD_FORMAT}; "
                "install a version of mien that fits."
            )
        self._check_texts()
        self._check_labels()
        self._check_numbers()
        self._check_prior()
        self._check_records()

    def _check_texts(self) -> None:
        for name in ("name", "manifest_hash", "licence", "notes"):
            if not isinstance(getattr(self, name), str):
                raise InputError(f"the card's {name} must be a text, not {getattr(self, name)!r}.")

    def _check_labels(self) -> None:
        if not self.labels or not all(isinstance(name, str) and name for name in self.labels):
            raise InputError(f"the card's labels must be one name or more, not {self.labels!r}.")
        if len(set(self.labels)) != len(self.labels):
            raise InputError(f"the card's labels name a class twice: {', '.join(self.labels)}.")
        for view, names in self.views.items():
            unknown = [name for name in names if name not in self.labels]
            if unknown or not names:
                raise InputError(
                    f"the card's view {view!r} must name some of its labels; it has {list(names)!r}."
                )

    def _check_numbers(self) -> None:
        if not _is_whole(self.size) or self.size < 1:
            raise InputError(f"the card's size must be a whole number of pixels, not {self.size!r}.")
        if not _is_whole(self.channels) or self.channels not in (1, 3):
            raise InputError(f"the card's channels must be 1 or 3, not {self.channels!r}.")
        if not _is_number(self.mean):
            raise InputError(f"the card's mean must be a finite number, not {self.mean!r}.")
        for name in ("std", "temperature"):
            value = getattr(self, name)
            if not _is_number(value) or value <= 0:
                raise InputError(f"the card's {name} must be above 0, not {value!r}.")
        threshold = self.abstain_threshold
        if threshold is not None and (not _is_number(threshold) or not 0 <= threshold <= 1):
            raise InputError(f"the card's abstain_threshold must lie in 0..1, not {threshold!r}.")

    def _check_prior(self) -> None:
        if not self.prior:
            return
        if set(self.prior) != set(self.labels):
            raise InputError(
                f"the card's prior names {', '.join(self.prior)}; its labels are {', '.join(self.labels)}."
            )
        if not all(_is_number(share) and share >= 0 for share in self.prior.values()):
            raise InputError(f"the card's prior must hold shares of 0 or more, not {dict(self.prior)!r}.")
        total = math.fsum(self.prior.values())
        if abs(total - 1) > _SUM_TOLERANCE:
            raise InputError(f"the card's prior must sum to 1; it sums to {total:.4f}.")

    def _check_records(self) -> None:
        for entry in self.metrics:
            if not isinstance(entry, Mapping) or not all(key in entry for key in _METRIC_KEYS):
                raise InputError(
                    f"the card's metrics must each name {', '.join(_METRIC_KEYS)}; one is {entry!r}."
                )
        if not isinstance(self.training_data, str):
            for record in self.training_data:
                if not isinstance(record, Mapping):
                    raise InputError(
                        f"the card's training_data must be a text or a list of tables, not {record!r}."
                    )

    def view(self, name: str | Sequence[str]) -> tuple[str, ...]:
        """The labels that a view keeps, in the order of the labels.

        Args:
            name: one of `views`, ``"all"``, ``"7"`` (the paper's seven), or the names to keep.

        Raises:
            InputError: a wanted name is not among the labels.
        """
        if isinstance(name, str) and name in self.views:
            kept = set(self.views[name])
            return tuple(label for label in self.labels if label in kept)
        return class_view(self.labels, name)

    def to_dict(self) -> dict[str, Any]:
        """The card as plain JSON-ready values."""
        # asdict deep-copies what it does not know, such as a read-only mapping, and that fails for
        # mappingproxy.
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        values["template"] = dataclasses.asdict(self.template) if self.template else None
        return cast(dict[str, Any], _plain({"format": values.pop("format"), **values}))

    def to_json(self) -> str:
        """The card as JSON text; `from_json` reads it back to an equal card.

        Raises:
            InputError: a value is not finite, or is of a kind that JSON cannot hold.
        """
        try:
            return json.dumps(self.to_dict(), ensure_ascii=False, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise InputError(f"the card cannot be written as JSON: {error}.") from error

    @classmethod
    def from_json(cls, text: str | bytes) -> ModelCard:
        """Read a card.

        Raises:
            InputError: not JSON, another format version, a key that is missing or unknown, or values that
                contradict each other.
        """
        try:
            values = json.loads(text)
        except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InputError(f"the card is not JSON: {error}.") from error
        if not isinstance(values, dict):
            raise InputError("the card must be a JSON object.")
        if values.get("format") != CARD_FORMAT:
            raise InputError(
                f"the card's format is {values.get('format')!r} and this mien reads {CARD_FORMAT}; "
                "install a version of mien that fits."
            )
        _same_keys("card", values, cls)
        template = values.pop("template")
        if template is not None:
            template = CropTemplate.from_dict(template)
        for key, kind in (("labels", list), ("views", dict), ("prior", dict), ("metrics", list)):
            if not isinstance(values[key], kind):
                raise InputError(f"the card's {key} must be a JSON {'array' if kind is list else 'object'}.")
        if not isinstance(values["training_data"], str | list):
            raise InputError("the card's training_data must be a text or a JSON array.")
        if not all(isinstance(names, list) for names in values["views"].values()):
            raise InputError("the card's views must each be a JSON array of names.")
        values["labels"] = tuple(values["labels"])
        values["views"] = {name: tuple(names) for name, names in values["views"].items()}
        values["metrics"] = tuple(values["metrics"])
        if isinstance(values["training_data"], list):
            values["training_data"] = tuple(values["training_data"])
        return cls(template=template, **values)


def _same_keys(what: str, values: Mapping[str, Any], cls: type) -> None:
    known = {f.name for f in dataclasses.fields(cls)}
    missing, unknown = sorted(known - set(values)), sorted(set(values) - known)
    if missing:
        raise InputError(f"the {what} lacks {', '.join(missing)}.")
    if unknown:
        raise InputError(f"the {what} has unknown keys: {', '.join(unknown)}.")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
