"""CONTRIBUTING.md's recipes: what is pasted from it works everywhere at once, with no other file touched."""

from __future__ import annotations

import importlib
import inspect
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mien.cli import run
from mien.data import sets
from mien.evaluate import bootstrap, further_metrics, image_statistics
from mien.models import comparators
from mien.report.metric_sections import further_section
from mien.report.runs import read_runs
from mien.report.tables import columns_of

TEXT = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")
BLOCKS: dict[str, str] = dict(
    re.findall(r"`((?:src|tests)/\w[\w/]*\.py)`:\n\n```python\n(.*?)```", TEXT, flags=re.DOTALL)
)
TESTS = [(p, name) for p in BLOCKS for name in re.findall(r"^def (test_\w+)", BLOCKS[p], flags=re.MULTILINE)]
PACKAGES = (sets, comparators, further_metrics)
NAMES = (sets.names, sets.public_sets, comparators.names, further_metrics.further_metrics)


@pytest.fixture(scope="module", autouse=True)
def pasted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Each module of the recipes, in a folder that its package is extended by."""
    root = tmp_path_factory.mktemp("pasted")
    with pytest.MonkeyPatch.context() as patch:
        for package in PACKAGES:
            folder = f"src/{package.__name__.replace('.', '/')}"
            (root / folder).mkdir(parents=True)
            patch.setattr(package, "__path__", [*package.__path__, str(root / folder)])
        for path, code in BLOCKS.items():
            if path.startswith("src/"):
                (root / path).write_text(code, encoding="utf-8")
        _forget()
        rules = {name: metric.RULE for name, metric in further_metrics.further_metrics().items()}
        # Elsewhere this table is made once, as the program starts.
        for module in (bootstrap, image_statistics):
            patch.setattr(module, "METRICS", {**image_statistics.METRICS, **rules})
        yield
    for name in [name for name, module in sys.modules.items() if _is_pasted(module, root)]:
        del sys.modules[name]
    _forget()


def _is_pasted(module: Any, root: Path) -> bool:
    return str(getattr(module, "__file__", None) or "").startswith(str(root))


def _forget() -> None:
    importlib.invalidate_caches()
    for names in NAMES:
        names.cache_clear()


def _block(path: str) -> dict[str, Any]:
    namespace: dict[str, Any] = {}
    exec(compile(BLOCKS[path], path, "exec"), namespace)
    return namespace


def test_each_recipe_is_one_module_and_one_test() -> None:
    assert [path.split("/")[0] for path in BLOCKS] == ["src", "tests"] * 3
    assert len(TESTS) >= 6


@pytest.mark.parametrize(("path", "name"), TESTS)
def test_the_test_of_a_recipe_passes(path: str, name: str, tmp_path: Path) -> None:
    test = _block(path)[name]
    test(**({"tmp_path": tmp_path} if inspect.signature(test).parameters else {}))


@pytest.mark.parametrize(
    ("words", "name"),
    [("data prepare", "moods"), ("data read", "moods"), ("train", "mobilenet_small")],
)
def test_help_lists_what_was_added(words: str, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run([*words.split(), "--help"])
    assert name in capsys.readouterr().out


def test_from_the_new_set_to_the_new_metric(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = _block("tests/data/test_source_moods.py")["write_set"](tmp_path / "raw")
    data, model = str(tmp_path / "data"), ["--model.se.position", "none", "--train.threads", "1"]
    assert run(["data", "prepare", f"mood={raw}", "--out", data]) == 2
    assert f"write moods={raw}" in capsys.readouterr().err
    assert run(["data", "prepare", str(raw), "--out", data, "--template_sample", "0", "--jobs", "1"]) == 0
    assert "Moods in Motion" in (tmp_path / "data" / "card.html").read_text(encoding="utf-8")

    train = ["train", "--data", data, "--out", str(tmp_path / "run"), "--train.epochs", "1", *model]
    assert run([*train, "--model.name", "mobile"]) == 2
    assert "mobilenet_small" in capsys.readouterr().err
    assert run([*train, "--train.batch_size", "8", "--model.name", "mobilenet_small"]) == 0
    assert run(["evaluate", str(tmp_path / "run")]) == 0
    assert "g mean" in capsys.readouterr().out

    figures = json.loads((tmp_path / "run" / "evaluation" / "test.json").read_text(encoding="utf-8"))
    assert 0 <= figures[0]["g_mean"] <= 1
    values = further_section(columns_of(read_runs([tmp_path / "run"]))).values
    assert values is not None
    assert set(values["mobilenet_small"]["g_mean"]) == {"value", "low", "high"}
