"""The verb that prints what a shell needs to complete `mien`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from jsonargparse import ArgumentParser, Namespace

from mien.cli.parser import new_parser, parsers_below

if TYPE_CHECKING:
    from collections.abc import Callable

_SHELLS: Final = ("bash", "zsh", "fish")
"""Those of shtab's that are common on machines where mien runs."""


def completion_parser() -> ArgumentParser:
    """Options of `mien completion`."""
    parser = new_parser(
        "Print a script that completes verbs, options and their choices in a shell. bash reads it with the "
        "first line below (in ~/.bashrc to keep it), zsh with the second, fish with the third.",
        'eval "$(mien completion bash)"',
        'mien completion zsh > "${fpath[1]}/_mien"',
        "mien completion fish > ~/.config/fish/completions/mien.fish",
    )
    parser.add_argument("shell", choices=_SHELLS, help="for which shell")
    return parser


def completion_for(new_root: Callable[[], ArgumentParser]) -> Callable[[Namespace], None]:
    """The verb, given what makes the parser of `mien`, whose script it prints."""

    def completion(options: Namespace) -> None:
        root = new_root()
        for parser in parsers_below(root).values():
            _offer_files(parser)
        print(root.get_completion_script(f"shtab-{options.shell}"))  # noqa: T201

    return completion


def _offer_files(parser: ArgumentParser) -> None:
    """Words that have no type of their own are paths: pictures, data sets, a model."""
    import shtab

    for action in parser._actions:
        if not action.option_strings and action.choices is None and action.type is None:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
