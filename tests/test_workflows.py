"""The workflows do what `make` does, on the Pythons that the package names, with no right to write."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def _jobs() -> list[dict[str, Any]]:
    return [job for path in WORKFLOWS for job in _read(path)["jobs"].values()]


def _read(path: Path) -> dict[str, Any]:
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert isinstance(workflow, dict)
    return workflow


def _matrix(job: dict[str, Any], name: str) -> list[str]:
    values = job.get("strategy", {}).get("matrix", {}).get(name, [])
    assert isinstance(values, list)
    return values


def _commands() -> list[str]:
    """What the jobs run, written out for each value of their matrix."""
    found = []
    for job in _jobs():
        for step in job["steps"]:
            targets = _matrix(job, "target") or [""]
            found += [step["run"].replace("${{ matrix.target }}", each) for each in targets if "run" in step]
    return found


def test_every_command_is_a_target_of_the_makefile() -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert set(_commands()) >= {"make check", "make test", "make release-check", "make test-oldest"}
    for command in _commands():
        make, target = command.split()
        assert make == "make"
        assert target in targets


def test_the_pythons_are_those_of_the_package() -> None:
    named = [line.rsplit(" ", 1)[1] for line in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", line)]
    tried = [version for job in _jobs() for version in _matrix(job, "python")]
    assert tried == named
    assert PROJECT["requires-python"] == f">={named[0]}"


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_nothing_may_be_written_and_actions_are_pinned(path: Path) -> None:
    workflow = _read(path)
    assert workflow["permissions"] == {"contents": "read"}
    assert "secrets." not in path.read_text(encoding="utf-8")
    for job in workflow["jobs"].values():
        assert "permissions" not in job
        assert job["timeout-minutes"] <= 45
        uses = [step["uses"] for step in job["steps"] if "uses" in step]
        assert all(re.fullmatch(r"[\w.-]+/[\w.-]+@v\d+", name) for name in uses)
