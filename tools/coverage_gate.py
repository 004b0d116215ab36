"""A plugin of `make test`: how much of the code the tests ran, against two thresholds.

`python -m pytest --cov -p tools.coverage_gate` fails where a threshold is missed, and names the files that
miss most. The light half is what the import contract of that name in pyproject.toml lists. Lines and branches
count alike, as in coverage.py's own percentages.
"""

from __future__ import annotations

import json
import tempfile
import tomllib
from collections.abc import Collection, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from coverage import Coverage

ROOT = Path(__file__).parents[1]
CONTRACT = "the light half never reaches torch"
WHOLE_PERCENT = 90
LIGHT_PERCENT = 95
NAMED_FILES = 5


@dataclass(frozen=True)
class FileCoverage:
    """How many lines and branches a file has, and how many of them ran; `module` is its dotted name."""

    module: str
    count: int
    ran: int


@dataclass(frozen=True)
class Part:
    """A part of the code and the least share of it, in percent, that must run."""

    name: str
    files: tuple[FileCoverage, ...]
    least: int

    @property
    def percent(self) -> float:
        count = sum(file.count for file in self.files)
        return 100 * sum(file.ran for file in self.files) / count if count else 0.0

    @property
    def enough(self) -> bool:
        return self.percent >= self.least

    def lines(self) -> list[str]:
        """One sentence, and beneath it the files to begin with where too little ran."""
        told = f"coverage of {self.name}: {self.percent:.2f} %, at least {self.least} % wanted"
        if self.enough:
            return [told]
        worst = sorted(self.files, key=lambda file: file.ran - file.count)[:NAMED_FILES]
        return [
            told,
            *(f"  {file.module}: {file.count - file.ran} of {file.count} not run" for file in worst),
        ]


def light_modules() -> tuple[str, ...]:
    """The packages of the light half, as dotted names."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    (contract,) = (found for found in contracts if found["name"] == CONTRACT)
    return tuple(contract["source_modules"])


def read_report(report: Mapping[str, Any]) -> list[FileCoverage]:
    """The files of coverage.py's JSON report."""
    found = []
    for path, entry in report["files"].items():
        parts = Path(path).with_suffix("").parts
        module = ".".join(parts[len(parts) - 1 - parts[::-1].index("mien") :]).removesuffix(".__init__")
        figures = entry["summary"]
        count = figures["num_statements"] + figures["num_branches"]
        found.append(FileCoverage(module, count, figures["covered_lines"] + figures["covered_branches"]))
    return found


def judge(files: Collection[FileCoverage], light: tuple[str, ...]) -> list[Part]:
    """The light half and the whole."""
    within = tuple(file for file in files if any(f"{file.module}.".startswith(f"{name}.") for name in light))
    return [Part("the light half", within, LIGHT_PERCENT), Part("all of mien", tuple(files), WHOLE_PERCENT)]


class CoverageGate:
    """Measures when the last test has ended and fails the session where too little ran."""

    def __init__(self) -> None:
        self.parts: list[Part] = []

    # Outermost, so that pytest-cov has joined what every process wrote.
    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, object, object]:
        result = yield
        self.parts = judge(read_report(_report()), light_modules())
        session.testsfailed += sum(not part.enough for part in self.parts)
        return result

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for part in self.parts:
            for line in part.lines():
                terminalreporter.write_line(line, green=part.enough, red=not part.enough)


def pytest_configure(config: pytest.Config) -> None:
    """Only the process that joins the others' figures has any to judge."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(CoverageGate(), "coverage-gate")


def _report() -> dict[str, Any]:
    coverage = Coverage()
    coverage.load()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "coverage.json"
        coverage.json_report(outfile=str(path))
        report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return report
