"""How every verb's parser is made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tomli_w
from jsonargparse import ArgumentParser, set_dumper, set_parsing_settings

Verb = Callable[[Any], int | None]
"""What a verb does with its parsed options; it returns an exit code, or None for 0."""


def new_parser(description: str, **kwargs: Any) -> ArgumentParser:
    """A parser that raises instead of leaving, and reads TOML."""
    return ArgumentParser(description=description, exit_on_error=False, parser_mode="toml", **kwargs)


def _without_none(value: Any) -> Any:
    """TOML has no null; a setting that is not written takes its default, which is where a null comes from."""
    if isinstance(value, dict):
        return {key: _without_none(entry) for key, entry in value.items() if entry is not None}
    return value


set_parsing_settings(docstring_parse_attribute_docstrings=True)
# jsonargparse reads TOML with the standard library but writes it, for --print_config, with a package that is
# no longer kept.
set_dumper("toml", lambda values: tomli_w.dumps(_without_none(values)))
