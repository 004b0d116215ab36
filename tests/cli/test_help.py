"""Every verb's help: short usage, examples that parse, one table of exit codes."""

import re
import shlex
from pathlib import Path

import pytest

from mien.cli.exit_codes import ExitCode, table_lines
from mien.cli.parser import parsers_below
from mien.cli.verbs import all_verbs

ROOT = Path(__file__).parents[2]
PARSER = all_verbs()[0]
PARSERS = parsers_below(PARSER)


def _examples(name):
    """The words of each `mien` command in a help's examples."""
    shown = (PARSERS[name].epilog or "").partition("examples:\n")[2].partition("\n\n")[0]
    commands = re.findall(r"(?:^|[\s|(])(?:-m )?mien ([^|)>\n]*)", shown, re.M)
    return [shlex.split(command.replace('"', "")) for command in commands]


def test_every_verb_is_looked_at():
    assert {"mien", "mien data prepare", "mien doctor", "mien study verdicts"} <= set(PARSERS)
    assert len(PARSERS) > 20


@pytest.mark.parametrize("name", PARSERS)
def test_help_has_examples_of_its_own_that_parse(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    examples = _examples(name)
    assert examples
    for words in examples:
        assert " ".join(["mien", *words]).startswith(name)
        PARSER.parse_args(words)


@pytest.mark.parametrize("name", PARSERS)
def test_usage_names_only_what_must_be_there(name):
    usage = PARSERS[name].format_help().partition("\n\n")[0]
    assert usage.startswith(f"usage: {name} [options]")
    assert len(usage.splitlines()) <= 2
    needed = re.findall(r"--[\w-]+", usage)
    assert needed == [
        action.option_strings[-1]
        for action in PARSERS[name]._actions
        if action.option_strings and action.required
    ]


def test_the_exit_codes_of_the_help_and_of_the_documents_are_those_of_the_code():
    shown = PARSERS["mien"].format_help()
    told = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", told, re.M)
    found = [(int(number), text.replace("\\|", "|")) for number, text in rows]
    assert found == [(code.value, code.meaning) for code in ExitCode]
    assert all(line in shown for line in table_lines())
