"""Every command line in README.md and docs/ is one that mien understands, whether or not it is run."""

from __future__ import annotations

import shlex
from functools import cache
from pathlib import Path

import pytest
from jsonargparse import ArgumentParser

from mien.cli.verbs import all_verbs

from .pages import PAGES, Line, calls_in_text, commands_of_mien, lines_of

WRITTEN = [line for page in PAGES for line in lines_of(page)]
MENTIONED = [line for page in PAGES for line in calls_in_text(page)]


def test_lines_are_found() -> None:
    assert len(WRITTEN) > 80
    assert len(MENTIONED) > 40


@pytest.mark.parametrize("line", [line for line in WRITTEN if "mien" in line.text], ids=str)
def test_a_written_command_is_understood(
    line: Line, everything: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(everything)
    for words in commands_of_mien(line.text):
        parser().parse_args(words)


@pytest.mark.parametrize("line", MENTIONED, ids=str)
def test_a_mentioned_command_names_a_verb_and_its_options(line: Line) -> None:
    """A sentence names `mien train --resume RUN` without all that it needs, so it cannot be parsed whole."""
    words = shlex.split(line.text)[1:]
    verb = parser()
    while words and words[0] in (verbs := verbs_of(verb)):
        verb = verbs[words.pop(0)]
    named = words[0] if words and verbs_of(verb) else "VERB"
    assert named.startswith("-") or named == "VERB", f"no verb {named}"
    known = set(verb._option_string_actions) | {"--help"}
    assert {word.partition("=")[0] for word in words if word.startswith("--")} <= known


def verbs_of(verb: ArgumentParser) -> dict[str, ArgumentParser]:
    action = verb._subcommands_action
    return dict(action._name_parser_map) if action else {}


@cache
def parser() -> ArgumentParser:
    return all_verbs()[0]
