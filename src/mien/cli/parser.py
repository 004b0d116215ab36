"""How every verb's parser is made."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import tomli_w
from jsonargparse import ArgumentParser, Namespace, set_dumper, set_parsing_settings

from mien.config import PrepareConfig, RunConfig, ServeConfig

_Settings = TypeVar("_Settings", PrepareConfig, RunConfig, ServeConfig)

Verb = Callable[[Any], int | None]
"""What a verb does with its parsed options; it returns an exit code, or None for 0."""


def new_parser(description: str, **kwargs: Any) -> ArgumentParser:
    """A parser that raises instead of leaving, and reads TOML."""
    return ArgumentParser(description=description, exit_on_error=False, parser_mode="toml", **kwargs)


def add_model_options(parser: ArgumentParser) -> None:
    """Which model reads faces, and how: `--model`, `--labels`, `--prior`."""
    parser.add_argument(
        "--model", type=Path | None, help=".onnx file or run's folder; the bundled model by default"
    )
    parser.add_argument("--labels", type=str, default="all", help="`all`, `7` (contempt left out) or names")
    parser.add_argument(
        "--prior", choices=("training", "uniform"), default="training", help="class shares to expect"
    )


def settings_of(kind: type[_Settings], options: Namespace) -> _Settings:
    """The config whose flags `add_class_arguments` gave to a verb."""
    return kind(**{field.name: options[field.name] for field in dataclasses.fields(kind)})


def _without_none(value: Any) -> Any:
    """TOML has no null; a setting that is not written takes its default, which is where a null comes from."""
    if isinstance(value, dict):
        return {key: _without_none(entry) for key, entry in value.items() if entry is not None}
    return value


set_parsing_settings(docstring_parse_attribute_docstrings=True)
# jsonargparse reads TOML with the standard library but writes it, for --print_config, with a package that is
# no longer kept.
set_dumper("toml", lambda values: tomli_w.dumps(_without_none(values)))
