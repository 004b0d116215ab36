"""Photos of people that come inside packages; none of them is kept here."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import pytest

from mien.errors import MienError
from mien.faces.assets import Asset, cache_folder, fetch


def installed(package: str, inside: str) -> Callable[[], Path]:
    """A photo of a package that this environment has, or a skip with the reason."""

    def find() -> Path:
        spec = find_spec(package)
        path = None if spec is None or spec.origin is None else Path(spec.origin).parent / inside
        if path is None or not path.is_file():
            pytest.skip(f"the package {package}, which holds {Path(inside).name}, is not installed")
        return path

    return find


def fetched(
    package: str, version: str, client: Literal["pip", "npm"], inside: str, sha256: str
) -> Callable[[], Path]:
    """A photo out of a package that is downloaded once into the cache, or a skip with the reason."""

    def find() -> Path:
        asset = Asset(package, version, client, {inside: sha256}, lambda content: content, sha256, "a photo")
        path = cache_folder() / "photos" / f"{package.replace('/', '-')}-{Path(inside).name}"
        try:
            fetch(asset, path)
        except MienError as error:
            pytest.skip(str(error))
        return path

    return find


_FACE_API = ("@vladmandic/face-api", "1.7.15", "npm")
_SOAK = pytest.mark.soak

PHOTOS = [
    pytest.param(installed("skimage", "data/astronaut.png"), 1, id="astronaut"),
    pytest.param(installed("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"), 1, id="grace-hopper"),
    pytest.param(
        fetched(
            "insightface",
            "2.1",
            "pip",
            "insightface/data/images/t1.jpg",
            "47f682e945b659f93a9e490b9c9c4a2a864abe64dace9e1a2893845ddfd69489",
        ),
        6,
        id="t1",
        marks=_SOAK,
    ),
    pytest.param(
        fetched(
            "insightface",
            "2.1",
            "pip",
            "insightface/data/images/Tom_Hanks_54745.png",
            "8545da294e8c7c79911169c3915fed8528f1960cd0ed99b92453788ca4275083",
        ),
        1,
        id="tom-hanks",
        marks=_SOAK,
    ),
    pytest.param(
        fetched(
            *_FACE_API,
            "package/demo/sample1.jpg",
            "8ecae4b267b2d3169e06e00c7dee97097aa2a94635d45216f7732a5f4943cb51",
        ),
        3,
        id="sample1",
        marks=_SOAK,
    ),
    pytest.param(
        fetched(
            *_FACE_API,
            "package/demo/sample6.jpg",
            "9baad80f9d5e306fb9b8c0913d44445f1e95848df317530efb03d0934c57ba87",
        ),
        4,
        id="sample6",
        marks=_SOAK,
    ),
]
"""A photo's finder, and how many faces it shows."""
