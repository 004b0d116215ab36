"""One version, in `mien.__version__`, and a changelog that keeps to keepachangelog.com."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.version import Version

import mien

ROOT = Path(__file__).parents[1]
KINDS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
UNRELEASED = "[Unreleased]"
RELEASE = re.compile(r"\[(\d+\.\d+\.\d+)\] - \d{4}-\d{2}-\d{2}")


def problems(changelog: str, version: str) -> list[str]:
    """What a reader, or a tool that cuts a release, would stumble over."""
    found = []
    sections = re.split(r"^## ", changelog, flags=re.MULTILINE)[1:]
    titles = [section.splitlines()[0] for section in sections]
    for title, section in zip(titles, sections, strict=True):
        kinds = re.findall(r"^### (.*)$", section, flags=re.MULTILINE)
        found += [f"{title}: {kind!r} is no kind of change" for kind in kinds if kind not in KINDS]
        found += [f"{title}: {kind} twice" for kind in sorted({k for k in kinds if kinds.count(k) > 1})]
        if title != UNRELEASED and not RELEASE.fullmatch(title):
            found.append(f"{title!r} is neither {UNRELEASED} nor [1.2.3] - 2026-01-31")
    releases = [match[1] for title in titles if (match := RELEASE.fullmatch(title))]
    if releases != sorted(releases, key=Version, reverse=True):
        found.append("releases are not newest first")
    if UNRELEASED in titles[1:]:
        found.append(f"{UNRELEASED} is not the first section")
    current = Version(version)
    if current.is_devrelease and titles[:1] != [UNRELEASED]:
        found.append(f"version {version} is being made, and no section {UNRELEASED} tells of it")
    if not current.is_devrelease and releases[:1] != [version]:
        found.append(f"version {version} is no newest release of the changelog")
    return found


def test_the_changelog() -> None:
    assert problems((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), mien.__version__) == []


@pytest.mark.parametrize(
    ("changelog", "version", "told"),
    [
        ("## [Unreleased]\n### Improved\n", "1.0.0.dev0", "no kind of change"),
        ("## [Unreleased]\n### Added\n### Added\n", "1.0.0.dev0", "Added twice"),
        ("## 1.0.0\n", "1.0.0", "neither"),
        ("## [1.0.0] - 2026-01-01\n## [Unreleased]\n", "1.0.0", "not the first"),
        ("## [1.9.0] - 2026-01-01\n## [1.10.0] - 2026-02-01\n", "1.9.0", "newest first"),
        ("## [1.0.0] - 2026-01-01\n", "1.1.0.dev0", "is being made"),
        ("## [Unreleased]\n## [1.0.0] - 2026-01-01\n", "1.1.0", "no newest release"),
    ],
)
def test_what_would_be_told(changelog: str, version: str, told: str) -> None:
    assert told in "; ".join(problems(changelog, version))


def test_the_version_stands_in_one_place() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "version" not in settings["project"]
    assert settings["project"]["dynamic"] == ["version"]
    assert settings["tool"]["hatch"]["version"] == {"path": "src/mien/__init__.py"}
    literal = re.compile(rf'["\']{re.escape(mien.__version__)}["\']')
    holders = [path for path in (ROOT / "src").rglob("*.py") if literal.search(path.read_text("utf-8"))]
    assert holders == [ROOT / "src" / "mien" / "__init__.py"]
