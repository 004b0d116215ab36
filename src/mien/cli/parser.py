"""How every verb's parser is made."""

from __future__ import annotations

import dataclasses
from argparse import Action
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import tomli_w
from jsonargparse import (
    ArgumentParser,
    DefaultHelpFormatter,
    Namespace,
    set_dumper,
    set_parsing_settings,
)

from mien.config import PrepareConfig, RunConfig, ServeConfig

_Settings = TypeVar("_Settings", PrepareConfig, RunConfig, ServeConfig)

PRIORS: Final = ("training", "moderate", "uniform")
"""Those of `mien.runtime.probabilities.NamedPrior`, which imports numpy; the default first."""

Verb = Callable[[Any], int | None]
"""What a verb does with its parsed options; it returns an exit code, or None for 0."""


def new_parser(description: str, *examples: str, **kwargs: Any) -> ArgumentParser:
    """A parser that raises instead of leaving, and reads TOML.

    Args:
        description: what the verb does.
        examples: command lines, shown at the end of its help.
        kwargs: of the parser.
    """
    return ArgumentParser(
        description=description,
        epilog=paragraph("examples", examples) if examples else None,
        formatter_class=_HelpFormatter,
        exit_on_error=False,
        parser_mode="toml",
        **kwargs,
    )


def paragraph(title: str, lines: Sequence[str]) -> str:
    """Lines below a title, which help prints as they are."""
    return "\n".join([f"{title}:", *(f"  {line}" for line in lines)])


def add_model_options(parser: ArgumentParser) -> None:
    """Which model reads faces, and how: `--model`, `--labels`, `--prior`."""
    parser.add_argument(
        "--model", type=Path | None, help=".onnx file or run's folder; the bundled model by default"
    )
    parser.add_argument("--labels", type=str, default="all", help="`all`, `7` (contempt left out) or names")
    parser.add_argument("--prior", choices=PRIORS, default=PRIORS[0], help="class shares to expect")


def settings_of(kind: type[_Settings], options: Namespace) -> _Settings:
    """The config whose flags `add_class_arguments` gave to a verb."""
    return kind(**{field.name: options[field.name] for field in dataclasses.fields(kind)})


def plain_name(parser: ArgumentParser) -> str:
    """What is typed to reach a parser, such as `mien data prepare`."""
    return parser.prog.replace(" [options]", "")


def verbs_of(parser: ArgumentParser) -> dict[str, ArgumentParser]:
    """The parsers of a parser's verbs; empty where it has none."""
    action = parser._subcommands_action
    return {} if action is None else dict(action._name_parser_map)


def parsers_below(parser: ArgumentParser) -> dict[str, ArgumentParser]:
    """A parser and those of its verbs and their verbs, by what is typed to reach each."""
    found = {plain_name(parser): parser}
    for verb in verbs_of(parser).values():
        found |= parsers_below(verb)
    return found


class _HelpFormatter(DefaultHelpFormatter):
    """Names only what a command line must have in its usage, since options are listed right below it, and
    keeps the lines of examples and tables."""

    def _format_usage(self, usage: str | None, actions: Iterable[Action], *args: Any, **kwargs: Any) -> str:
        needed = [action for action in actions if action.required or not action.option_strings]
        self._prog = f"{self._prog.replace(' [options]', '')} [options]"
        shown: str = super()._format_usage(usage, needed, *args, **kwargs)
        return shown

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if "\n" not in text:
            return super()._fill_text(text, width, indent)
        return "".join(f"{indent}{line}\n" for line in text.splitlines())


def _without_none(value: Any) -> Any:
    """TOML has no null; a setting that is not written takes its default, which is where a null comes from."""
    if isinstance(value, dict):
        return {key: _without_none(entry) for key, entry in value.items() if entry is not None}
    return value


set_parsing_settings(docstring_parse_attribute_docstrings=True)
# jsonargparse reads TOML with the standard library but writes it, for --print_config, with a package that is
# no longer kept.
set_dumper("toml", lambda values: tomli_w.dumps(_without_none(values)))
