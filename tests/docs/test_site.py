"""`make docs`: the site builds without a warning, loads nothing from elsewhere, its reference is whole."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

import mien
from mien import config

from .pages import ROOT

pytest.importorskip("mkdocs")
pytest.importorskip("material")

LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "audio": "src"}
"""Elements that fetch something by themselves, and the attribute that says what; `link` has its own rule."""
LINKED = {"stylesheet", "icon", "preload", "preconnect", "prefetch", "dns-prefetch", "modulepreload"}


class Loads(HTMLParser):
    """What a page fetches by being opened."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in LOADED:
            self.found.append(given.get(LOADED[tag]) or "")
        elif tag == "link" and LINKED & set((given.get("rel") or "").split()):
            self.found.append(given.get("href") or "")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site") / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(out)]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return out


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 30
    for page in pages:
        loads = Loads()
        text = page.read_text(encoding="utf-8")
        loads.feed(text)
        assert 'class="mermaid"' not in text, "the theme fetches what draws it"
        assert loads.found
        assert [source for source in loads.found if re.match(r"(\w+:)?//", source)] == [], page.name
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(@import|url\()\s*['\"]?(https?:)?//", sheet.read_text(encoding="utf-8"))


def test_every_public_name_is_in_the_reference(site: Path) -> None:
    page = (site / "reference" / "python.html").read_text(encoding="utf-8")
    names = [name for name in mien.__all__ if name != "__version__"]
    assert [name for name in names if f'id="mien.{name}"' not in page] == []


def test_every_setting_is_in_the_reference(site: Path) -> None:
    page = (site / "reference" / "settings.html").read_text(encoding="utf-8")
    groups = [getattr(config, name) for name in config.__all__ if name.endswith("Config")]
    missing = [
        f"{group.__name__}.{field.name}"
        for group in groups
        for field in dataclasses.fields(group)
        if f'id="mien.config.{group.__name__}.{field.name}"' not in page
    ]
    assert missing == []
