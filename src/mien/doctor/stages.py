"""Which stages can run, and what makes the others possible."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from mien.doctor.libraries import CORE, Library

STAGES: Final = (
    ("predict", "mien predict", CORE),
    ("prepare", "mien data", "tables"),
    ("train", "mien train, mien reproduce", "train"),
    ("evaluate", "mien evaluate", "train"),
    ("report", "mien report", "train"),
    ("export", "mien export", "train"),
    ("label noise", "mien study label-noise", "study"),
    ("openvino", "mien export --openvino", "openvino"),
    ("tensorboard", "the curves of mien train", "watch"),
    ("video", "mien video", "video"),
    ("webcam window", "mien webcam", "webcam"),
    ("serve", "mien serve", "serve"),
    ("webcam page", "mien serve --open", "serve"),
    ("gradio", "python -m mien.apps.gradio", "gradio"),
)
"""A stage, what is typed for it, and the extra that it needs."""


@dataclass(frozen=True)
class Stage:
    """A stage of the work."""

    name: str
    typed: str
    """The command, or what it adds to one."""
    lacking: tuple[str, ...]
    """The libraries that are missing or cannot be used; empty where it can run."""
    remedy: str | None
    """The one line that makes it possible; none where it can run."""


def examine_stages(extras: Mapping[str, Sequence[Library] | None]) -> list[Stage]:
    """Every stage.

    Args:
        extras: the libraries of each extra and of the core; none for an extra that is not known here.
    """
    return [_stage(name, typed, extra, extras[extra]) for name, typed, extra in STAGES]


def _stage(name: str, typed: str, extra: str, libraries: Sequence[Library] | None) -> Stage:
    if libraries is None:
        lacking: tuple[str, ...] = (f"the extra {extra}",)
    else:
        lacking = tuple(library.name for library in libraries if library.error is not None)
    package = "mien" if extra == CORE else f'"mien[{extra}]"'
    return Stage(name, typed, lacking, f"pip install {package}" if lacking else None)
