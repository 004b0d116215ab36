"""The steps that look; `make release-check` itself builds and installs."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest
from PIL import Image
from tools.pictures import main, refusal
from tools.release_check import IN_SDIST, IN_WHEEL, LICENCES, NotReady, check_sdist, check_wheel


def _picture(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (width, height)).save(file, "PNG")
    return file.getvalue()


def _wheel(folder: Path, *more: str, lost: str = "", licences: tuple[str, ...] = LICENCES) -> Path:
    path = folder / "mien-1.0-py3-none-any.whl"
    metadata = "Metadata-Version: 2.4\nName: mien\nVersion: 1.0\n"
    with zipfile.ZipFile(path, "w") as wheel:
        for name in (*IN_WHEEL, *more):
            if name != lost:
                wheel.writestr(name, "")
        lines = "".join(f"License-File: {name}\n" for name in licences)
        wheel.writestr("mien-1.0.dist-info/METADATA", metadata + lines)
    return path


def _sdist(folder: Path, more: dict[str, bytes], lost: str = "") -> Path:
    path = folder / "mien-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, content in {**dict.fromkeys(IN_SDIST, b""), **more}.items():
            if name != lost:
                entry = tarfile.TarInfo(f"mien-1.0/{name}")
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
    return path


def test_a_whole_wheel_tells_its_version(tmp_path: Path) -> None:
    assert check_wheel(_wheel(tmp_path)) == "1.0"


def test_a_wheel_that_lacks_its_model(tmp_path: Path) -> None:
    with pytest.raises(NotReady, match="lacks mien/weights/MODEL_CARD"):
        check_wheel(_wheel(tmp_path, lost="mien/weights/MODEL_CARD.md"))


def test_a_wheel_without_the_weights_licence(tmp_path: Path) -> None:
    with pytest.raises(NotReady, match=r"MODEL_CARD\.md as a licence file"):
        check_wheel(_wheel(tmp_path, licences=("LICENSE",)))


def test_a_wheel_that_installs_the_tests(tmp_path: Path) -> None:
    with pytest.raises(NotReady, match="tests beside mien"):
        check_wheel(_wheel(tmp_path, "tests/test_a.py"))


def test_a_wheel_with_data(tmp_path: Path) -> None:
    with pytest.raises(NotReady, match="is data, which"):
        check_wheel(_wheel(tmp_path, "mien/faces.parquet"))


def test_a_whole_sdist(tmp_path: Path) -> None:
    check_sdist(_sdist(tmp_path, {"docs/images/page.png": _picture(390, 800)}))


@pytest.mark.parametrize(
    ("more", "lost", "told"),
    [
        ({}, "LICENSE", "lacks LICENSE"),
        ({"results/a/run.json": b"{}"}, "", "what runs left"),
        ({"tests/face.png": _picture(96, 96)}, "", "outside docs/images/"),
        ({"docs/images/face.png": _picture(48, 48)}, "", "size of FER-2013"),
        ({"docs/images/face.png": b"GIF?"}, "", "is no picture"),
        ({"src/a.npz": b""}, "", "is data"),
    ],
)
def test_an_sdist_that_is_not_ready(more: dict[str, bytes], lost: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(NotReady, match=told):
        check_sdist(_sdist(tmp_path, more, lost))


def test_the_hook_names_what_it_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert refusal("src/mien/card.py", b"") is None
    assert main([]) == 0
    assert capsys.readouterr().out == ""
    face = tmp_path / "face.png"
    face.write_bytes(_picture(48, 48))
    assert main([str(face)]) == 1
    assert "outside docs/images/" in capsys.readouterr().out
