"""docs/service.md: its tables say what the code says."""

from __future__ import annotations

import ast
import inspect
import itertools
import re

import httpx
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("av")

from mien.apps.service.errors import STATUS
from mien.config import ServeConfig
from mien.config import serve as serve_config

from .pages import ROOT

PAGE = ROOT / "docs" / "service.md"


def table(heading: str) -> list[list[str]]:
    """The cells of the first table below a heading, without its head; code marks are taken off."""
    rows = (
        PAGE.read_text().partition(f"\n{heading}\n")[2].split("\n| ---")[1].split("\n\n")[0].split("\n")[1:]
    )
    return [[cell.strip().strip("`") for cell in row.strip("|").split("|")] for row in rows]


def test_the_limits_are_those_of_the_config() -> None:
    """Each field with its flag, its default and the sentence under it."""
    body = next(
        node for node in ast.parse(inspect.getsource(serve_config)).body if isinstance(node, ast.ClassDef)
    ).body
    expected = []
    for field, text in itertools.pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            assert isinstance(text, ast.Expr)
            assert isinstance(text.value, ast.Constant)
            name = field.target.id
            expected.append([f"--{name}", shown(name), " ".join(str(text.value.value).split())])
    assert table("## Limits") == expected
    assert len(expected) == len(ServeConfig.__dataclass_fields__)


def shown(name: str) -> str:
    value = getattr(ServeConfig(), name)
    if name.endswith("_bytes"):
        assert value % (1 << 20) == 0
        return f"{value >> 20} MiB"
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def test_the_errors_are_those_of_the_code() -> None:
    assert {code: int(status) for code, status, _ in table("## Errors")} == STATUS


def test_the_metrics_are_those_of_the_service(address: str) -> None:
    answer = httpx.get(f"http://{address}/metrics")
    counted = set(re.findall(r"^# TYPE (\w+) ", answer.text, re.MULTILINE))
    written = {name for name, _ in table("`/metrics` is for Prometheus:")}
    assert written == {name for name in counted if not name.endswith("_created")}
