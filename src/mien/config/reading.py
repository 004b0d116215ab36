"""Configs from TOML files and plain values, and back."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path
from typing import Any, TypeVar

from mien.config.prepare import PrepareConfig
from mien.config.run import RunConfig
from mien.errors import InputError

_Config = TypeVar("_Config", RunConfig, PrepareConfig)


def to_dict(config: Any) -> dict[str, Any]:
    """A config as plain JSON-ready values."""
    return dataclasses.asdict(config)


def run_config_from(values: dict[str, Any], *, where: str) -> RunConfig:
    """A run's config from plain values, such as a config.json or a parsed TOML file.

    Args:
        values: nested tables; what is missing takes its default.
        where: named in the message.

    Raises:
        InputError: an unknown key, or a value of another type.
    """
    return _config_from(RunConfig, values, where)


def prepare_config_from(values: dict[str, Any], *, where: str) -> PrepareConfig:
    """The settings of a prepared folder from plain values; arguments and errors as `run_config_from`."""
    return _config_from(PrepareConfig, values, where)


def _config_from(kind: type[_Config], values: dict[str, Any], where: str) -> _Config:
    # The parser is the one judge of types and unknown keys, for files as for flags; it costs 0.1 s to import.
    from jsonargparse import ArgumentError, ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(kind)
    try:
        parsed = parser.instantiate(parser.parse_object(values))
    except ArgumentError as error:
        raise InputError(f"{where}: {' '.join(str(error).split())}.") from None
    return kind(**{name: parsed[name] for name in kind.__dataclass_fields__})


def read_run_config(path: Path) -> RunConfig:
    """A config from a TOML file.

    Raises:
        InputError: there is no such file, it is not TOML, or a key or value does not fit.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError):
        raise InputError(f"{path}: no such config file; mien's own lie in the folder configs.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not TOML ({error}).") from None
    return run_config_from(values, where=str(path))
