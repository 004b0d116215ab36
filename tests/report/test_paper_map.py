"""docs/paper-map.md: every claim and printed number has its line, and every path that it names exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mien.report.published import TABLE_2, TEXT

ROOT = Path(__file__).parents[2]
MAP = (ROOT / "docs" / "paper-map.md").read_text(encoding="utf-8")


def test_every_claim_has_a_line() -> None:
    for number in range(1, 10):
        assert MAP.count(f"| C{number} |") == 1


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`((?:src|configs|docs)/[^`{}*]+)`", MAP))))
def test_every_path_exists(name: str) -> None:
    assert (ROOT / name).exists(), name


def test_every_published_number_is_named() -> None:
    for column in TABLE_2:
        for value in (column.accuracy, column.precision, column.recall, column.f1):
            assert f"{value:.4f}" in MAP
    for number in TEXT:
        assert f"{number.value:,}" in MAP
