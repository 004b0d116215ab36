"""What docs/architecture.md says of the tree is so."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`((?:src|tests|docs|configs|examples)/[^`\s]+)`", TEXT)


def test_every_path_it_names_exists() -> None:
    assert len(NAMED) > 40
    assert [path for path in NAMED if not (ROOT / path).exists()] == []


def test_it_names_each_part_of_the_package() -> None:
    told = {Path(path).parts[2].removesuffix(".py") for path in NAMED if path.startswith("src/mien/")}
    folders = {path.name for path in (ROOT / "src" / "mien").iterdir() if (path / "__init__.py").is_file()}
    # Settings, and what a person asks about an installation, are in no picture's way.
    assert folders - told <= {"config", "doctor", "export"}


def test_its_layers_are_those_that_are_checked() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    told = re.search(r"```text\n(cli\n.*?)```", TEXT, re.DOTALL)
    assert told is not None
    shown = [sorted(line.split()) for line in told[1].splitlines()]
    assert shown == [sorted(layer.split(" | ")) for layer in layers]
    forbidden = next(contract["source_modules"] for contract in contracts if contract["type"] == "forbidden")
    sentence = TEXT.partition("The second contract: ")[2].partition(" never reach")[0]
    named = sorted(re.findall(r"`(\w+)`", sentence))
    assert named == sorted(name.removeprefix("mien.") for name in forbidden)
