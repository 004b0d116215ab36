"""Every block of code in README.md and docs/ runs, page by page, in a folder that has what the pages name."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from sybil import Document, Example
from sybil.evaluators.python import PythonEvaluator

from mien.cli import run
from mien.config import run_config_from

from .not_run import NOT_RUN, RECORDS
from .pages import PAGES, blocks, command_lines, commands_of_mien, lines_of, name_of

pytest.importorskip("fastapi")
pytest.importorskip("av")

SERVED_AT: Final = "127.0.0.1:8000"
"""What the examples say; the fixture's server has another port."""
MADE_BY: Final = ("data", "evaluate", "reproduce", "train")
"""Verbs that go on with what lies at `--out`."""
SHOWN: Final = ("caddyfile", "json", "nginx", "text", "yaml")
"""Languages of blocks that are there to be looked at."""

_FILE_NAME: Final = re.compile(r"# (\w+\.py)\n")
"""First line of a block that is a file of the reader's."""

python = PythonEvaluator()


class Runner:
    """Runs the blocks of one page.

    Args:
        address: gives host and port of the service, which is started when an example first wants it.
    """

    def __init__(self, address: Callable[[], str]) -> None:
        self._address = address
        self._made: set[str] = set()

    def __call__(self, example: Example) -> None:
        language = example.region.lexemes["language"]
        if language == "python":
            if named := _FILE_NAME.match(example.parsed):
                Path(named[1]).write_text(example.parsed)
            self._point_at_service(example)
            python(example)
        elif language == "sh":
            for number, line in command_lines(example.parsed):
                if not any(re.fullmatch(pattern, line) for pattern in NOT_RUN):
                    self._run_line(line, f"{example.path}:{example.line + number}: {line}")
        elif language == "toml":
            run_config_from(tomllib.loads(example.parsed), where=example.path)
        else:
            assert language in SHOWN, f"{example.path}:{example.line}: no way to run a block of {language!r}"

    def _point_at_service(self, example: Example) -> None:
        if SERVED_AT in example.parsed:
            example.parsed = type(example.parsed)(
                example.parsed.replace(SERVED_AT, self._address()),
                example.parsed.offset,
                example.parsed.line_offset,
            )

    def _run_line(self, line: str, where: str) -> None:
        words = shlex.split(line)
        calls = commands_of_mien(line)
        if [words[1:]] == calls and not re.search(r"[|<>;&]", line):
            self._make_room(words)
            assert run([name for word in words[1:] for name in _as_a_shell(word)]) == 0, where
            return
        text = line.replace(SERVED_AT, self._address()) if SERVED_AT in line else line
        if "curl" in text and not shutil.which("curl"):
            return
        path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
        done = subprocess.run(
            ["sh", "-e", "-c", text],
            env={"PATH": path, "MIEN_TOKEN": "any", "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, f"{where}\n{done.stderr}"
        assert done.stdout.strip() or ">" in text, f"{where} says nothing"
        sys.stdout.write(done.stdout)

    def _make_room(self, words: list[str]) -> None:
        """What the folder came with gives way to what the page makes itself."""
        if words[1] in MADE_BY and "--out" in words:
            out = words[words.index("--out") + 1].rstrip("/")
            if out not in self._made:
                shutil.rmtree(out, ignore_errors=True)
            self._made.add(out)


def _as_a_shell(word: str) -> list[str]:
    return sorted(map(str, Path().glob(word))) if "*" in word else [word]


@pytest.mark.parametrize("page", [page for page in PAGES if name_of(page) not in RECORDS], ids=name_of)
@pytest.mark.usefixtures("here")
def test_the_blocks_of_a_page_run(page: Path, request: pytest.FixtureRequest) -> None:
    runner = Runner(lambda: str(request.getfixturevalue("address")))
    for example in Document.parse(str(page), blocks):
        runner(example)


def test_what_is_not_run_is_still_written_somewhere() -> None:
    lines = [line.text for page in PAGES for line in lines_of(page)]
    stale = [pattern for pattern in NOT_RUN if not any(re.fullmatch(pattern, line) for line in lines)]
    assert stale == []


def test_the_service_reads_the_smile_of_the_examples(
    here: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    page = next(page for page in PAGES if page.name == "service.md")
    runner = Runner(lambda: str(request.getfixturevalue("address")))
    for example in Document.parse(str(page), blocks):
        if "predict" in example.parsed and example.region.lexemes["language"] == "python":
            runner(example)
            if "Retry-After" not in example.parsed:
                assert "happiness" in capsys.readouterr().out
