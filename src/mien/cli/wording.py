"""What the parser refuses, as one sentence that says what to type instead.

jsonargparse and argparse tell of an error in words alone, which name internal keys and Python types; what is
not recognised here is passed on as they say it.
"""

from __future__ import annotations

import re
from argparse import Action
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from typing import Final

from jsonargparse import ArgumentError, ArgumentParser

from mien.cli.parser import plain_name, verbs_of

_KINDS: Final = {
    "<class 'int'>": "a whole number",
    "<class 'float'>": "a number",
    "<class 'bool'>": "true or false",
    "<class 'tuple'>": "a list such as [1,2]",
}
_MOST_NAMED: Final = 20
"""Choices that one sentence lists."""
_LIKENESS: Final = 0.7
"""Of an option to the one that was typed, as difflib counts it, from which on it is suggested."""


def sentence_of(error: ArgumentError, parser: ArgumentParser, given: Sequence[str]) -> str:
    """The sentence for an error.

    Args:
        error: what `parser.parse_args(given)` raised.
        parser: that of `mien`.
        given: the words after `mien`.
    """
    text = " ".join(str(error).split())
    verb = _innermost(parser, given)
    for pattern, answer in _ANSWERS:
        if found := re.search(pattern, text):
            return answer(verb, found)
    return text


def _innermost(parser: ArgumentParser, given: Sequence[str]) -> ArgumentParser:
    """The parser of the verb that was typed, as far as it is one."""
    for word in given:
        verbs = verbs_of(parser)
        if not verbs:
            break
        if not word.startswith("-"):
            if word not in verbs:
                break
            parser = verbs[word]
    return parser


def _unknown_verb(parser: ArgumentParser, found: re.Match[str]) -> str:
    name, known = plain_name(parser), list(verbs_of(parser))
    owner = "there is" if name == "mien" else f"{name} has"
    near = get_close_matches(found[1], known, 1)
    instead = f"did you mean {near[0]}?" if near else f"there are {_listed(known)}."
    return f"{owner} no verb {found[1]!r}; {instead}"


def _missing_verb(parser: ArgumentParser, found: re.Match[str]) -> str:
    name = plain_name(parser)
    return f"{name} needs a verb: {_listed(verbs_of(parser))}; {name} --help says what each does."


def _superfluous(parser: ArgumentParser, found: re.Match[str]) -> str:
    name, word = plain_name(parser), found[1].partition("=")[0]
    if not word.startswith("-"):
        return f"{name}: {word!r} is one word too many; {name} --help shows what it takes."
    options = [option for action in parser._actions for option in action.option_strings]
    near = _nearest_option(word, options)
    return f"{name} has no option {word}" + (
        f"; did you mean {near}?" if near else f"; {name} --help lists those it has."
    )


def _nearest_option(word: str, options: Sequence[str]) -> str | None:
    """The option that was meant: one spelled nearly so, or a setting whose group was left out."""
    last = {option: option.lstrip("-").rpartition(".")[2] for option in options}
    wanted = word.lstrip("-").rpartition(".")[2].replace("-", "_")
    settings = [option for option in options if last[option] == wanted]
    if settings:
        return settings[0]
    if close := get_close_matches(word, options, 1, cutoff=_LIKENESS):
        return close[0]
    near = get_close_matches(wanted, last.values(), 1, cutoff=_LIKENESS)
    return next(option for option in options if last[option] == near[0]) if near else None


def _missing(parser: ArgumentParser, found: re.Match[str]) -> str:
    name = plain_name(parser)
    lacking = [_typed(parser, key.strip()) for key in found[1].split(",")]
    return f"{name} needs {' and '.join(lacking)}; {name} --help shows examples."


def _typed(parser: ArgumentParser, key: str) -> str:
    """How an argument is typed, such as `--out` for the key `data.prepare.out`."""
    action = _action(parser, key) or _action(parser, key.rpartition(".")[2])
    if action is None:
        return key
    return action.option_strings[-1] if action.option_strings else action.dest.upper()


def _action(parser: ArgumentParser, name: str) -> Action | None:
    return next(
        (action for action in parser._actions if name == action.dest or name in action.option_strings), None
    )


def _no_choice(parser: ArgumentParser, found: re.Match[str]) -> str:
    action = _action(parser, found[1])
    choices = [str(choice) for choice in (action.choices if action and action.choices else ())]
    return f"{_typed(parser, found[1])} takes {_listed(choices)}, not {found[2]!r}."


def _no_value(parser: ArgumentParser, found: re.Match[str]) -> str:
    action = _action(parser, found[1])
    choices = [str(choice) for choice in (action.choices if action and action.choices else ())]
    return f"{found[1]} needs a value" + (f": {_listed(choices)}." if choices else " after it.")


def _wrong_kind(parser: ArgumentParser, found: re.Match[str]) -> str:
    return f"{_typed(parser, found[1])} takes {_kind(found[2])}, not {found[3]!r}."


def _kind(text: str) -> str:
    """The wanted type in words; of a union its first part, since the other is no value at all."""
    first = re.split(r"(?<=[>\]]),? ", text.strip())[0]
    if choices := re.fullmatch(r"typing\.Literal\[(.*)\]", first):
        return _listed(choices[1].replace("'", "").split(", "))
    return _KINDS.get(first, first)


def _no_group(parser: ArgumentParser, found: re.Match[str]) -> str:
    option = f"--{found[1]}"
    return f"{option} takes a TOML file of its settings, not {found[2]!r}; one by one they are {option}.NAME."


def _listed(names: Iterable[str]) -> str:
    *some, last = list(names)[:_MOST_NAMED] or [""]
    return f"{', '.join(some)} or {last}" if some else last


_ANSWERS: Final[Sequence[tuple[str, Callable[[ArgumentParser, re.Match[str]], str]]]] = (
    (r"argument verb: invalid choice: '(.*?)'", _unknown_verb),
    (r'expected "(?:.*\.)?verb" to be one of', _missing_verb),
    (r"unrecognized arguments: (\S+)", _superfluous),
    (r"the following arguments are required: (.+)", _missing),
    (r"argument (\S+): invalid choice: '(.*?)'", _no_choice),
    (r"argument (\S+): expected (?:one|at least one) argument", _no_value),
    (r'Parser key "([^"]+)": Expected an? (.+?)\. Got value: (.*)', _wrong_kind),
    (r'Parser key "([^"]+)": .*Union subtypes Subtypes: \[(.+?)\] Errors: .* Given value: (.*)', _wrong_kind),
    (r'Parser key "([^"]+)": Unable to load config \'(.*?)\'', _no_group),
)
"""What is looked for in an error's text, and what is said instead; the first that fits counts."""
