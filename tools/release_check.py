"""`make release-check`: what would be published is built, looked through, and used in a new environment.

The wheel is built from the sdist, so that a file which the sdist lacks is missed here and not by a packager.
Every step says what it is about to do; the first that fails ends the check with one sentence.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from collections.abc import Callable, Container, Iterable
from email.parser import Parser
from pathlib import Path, PurePosixPath

from tools.pictures import is_suspect, refusal

ROOT = Path(__file__).parents[1]

IN_WHEEL = (
    "mien/__init__.py",
    "mien/py.typed",
    "mien/apps/web/index.html",
    "mien/configs/smoke.toml",
    "mien/report/jinja/report.js",
    "mien/weights/MODEL_CARD.md",
    "mien/weights/ferplus-swin-se.int8.onnx",
)
IN_SDIST = ("CHANGELOG.md", "LICENSE", "Makefile", "README.md", "pyproject.toml", "tests/conftest.py")
LICENCES = ("LICENSE", "MODEL_CARD.md")
WHEEL_ROOTS = {"mien"}
SDIST_MEGABYTES = 12
WHEEL_MEGABYTES = 8

# Importing mien and reading a picture may not reach what only training needs.
HEAVY = ("torch", "timm", "torchvision", "sklearn", "polars", "matplotlib")

SMOKE_IMPORT = f"""
import importlib.metadata, json, sys
import mien
heavy = sorted(set({HEAVY!r}) & {{name.split(".")[0] for name in sys.modules}})
print(json.dumps([mien.__file__, mien.__version__, importlib.metadata.version("mien"), heavy]))
"""

SMOKE_PICTURE = """
import sys
from PIL import Image
from mien.data.synthetic import draw_faces, paste_faces
frame, _, _ = paste_faces(draw_faces(2, size=96, channels=3, seed=1, frontal=True), seed=1)
Image.fromarray(frame).save(sys.argv[1])
"""


class NotReady(Exception):
    """One sentence: what is wrong with what would be published."""


def main() -> int:
    """Run every step; 0 when what was built can be published."""
    with tempfile.TemporaryDirectory(prefix="mien-release-") as scratch:
        try:
            _check(Path(scratch))
        except NotReady as problem:
            print(f"release-check: {problem}", file=sys.stderr)
            return 1
    print("release-check: ready")
    return 0


def _check(scratch: Path) -> None:
    _say("building the sdist, and the wheel from it")
    dist = scratch / "dist"
    _run(sys.executable, "-m", "build", "--no-isolation", "--outdir", dist, ROOT)
    (sdist,), (wheel,) = dist.glob("*.tar.gz"), dist.glob("*.whl")
    _say("checking metadata and layout")
    _run(sys.executable, "-m", "twine", "check", "--strict", sdist, wheel)
    # W002: the model's card lies beside the model and, as it states the weights' licence, among the licences.
    _run(sys.executable, "-m", "check_wheel_contents", "--ignore", "W002", wheel)
    _say("looking through both")
    version = check_wheel(wheel)
    check_sdist(sdist)
    _say(f"installing {wheel.name} and nothing else into a new environment")
    python = _bare_environment(scratch / "bare", wheel)
    _say("using it there")
    _smoke(python, version, scratch)


def check_wheel(path: Path) -> str:
    """The version that the wheel's metadata names; raises `NotReady` where a file is missing or too much."""
    with zipfile.ZipFile(path) as wheel:
        names = wheel.namelist()
        (info,) = {name.split("/")[0] for name in names if name.split("/")[0].endswith(".dist-info")}
        metadata = Parser().parsestr(wheel.read(f"{info}/METADATA").decode())
        contents = _suspects(names, wheel.read)
    _check_size(path, WHEEL_MEGABYTES)
    _check_present(path, names, IN_WHEEL)
    licences = {PurePosixPath(name).name for name in metadata.get_all("License-File", [])}
    if lost := sorted(set(LICENCES) - licences):
        raise NotReady(f"{path.name} does not carry {', '.join(lost)} as a licence file")
    if strange := sorted({name.split("/")[0] for name in names} - WHEEL_ROOTS - {info}):
        raise NotReady(f"{path.name} would install {', '.join(strange)} beside mien")
    check_no_data(path, contents)
    return str(metadata["Version"])


def check_sdist(path: Path) -> None:
    """Raises `NotReady` where a file is missing or too much."""
    with tarfile.open(path) as archive:
        files = {member.name.split("/", 1)[1]: member for member in archive.getmembers() if member.isfile()}

        def read(name: str) -> bytes:
            opened = archive.extractfile(files[name])
            assert opened is not None
            return opened.read()

        contents = _suspects(files, read)
    _check_size(path, SDIST_MEGABYTES)
    _check_present(path, files, IN_SDIST)
    if kept := sorted(name for name in files if name.startswith(("results/", "runs/", ".venv/"))):
        raise NotReady(f"{path.name} carries what runs left, such as {kept[0]}")
    check_no_data(path, contents)


def check_no_data(path: Path, contents: list[tuple[str, bytes]]) -> None:
    """Raises `NotReady` where a picture or a table of a data set would be published."""
    for name, content in contents:
        if told := refusal(name, content):
            raise NotReady(f"{path.name}: {told}")


def _suspects(names: Iterable[str], read: Callable[[str], bytes]) -> list[tuple[str, bytes]]:
    return [(name, read(name)) for name in names if is_suspect(name)]


def _check_size(path: Path, megabytes: int) -> None:
    if (size := path.stat().st_size / 1e6) > megabytes:
        raise NotReady(f"{path.name} has {size:.1f} MB, more than the {megabytes} allowed")


def _check_present(path: Path, names: Container[str], wanted: tuple[str, ...]) -> None:
    if lost := [name for name in wanted if name not in names]:
        raise NotReady(f"{path.name} lacks {', '.join(lost)}")


def _bare_environment(folder: Path, wheel: Path) -> Path:
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    _run(python, "-m", "pip", "install", "--quiet", wheel)
    return python


def _smoke(python: Path, version: str, scratch: Path) -> None:
    elsewhere = scratch / "elsewhere"
    elsewhere.mkdir()
    home, said, installed, heavy = json.loads(_run(python, "-W", "error", "-c", SMOKE_IMPORT, cwd=elsewhere))
    if not Path(home).is_relative_to(scratch):
        raise NotReady(f"mien was imported from {home}, not from the wheel")
    if not version == said == installed:
        raise NotReady(f"the wheel is {version}, mien.__version__ {said}, the installed metadata {installed}")
    if heavy:
        raise NotReady(f"import mien reaches {', '.join(heavy)}")
    mien = python.with_name("mien")
    told = _run(mien, "--version", cwd=elsewhere).strip()
    if version not in told:
        raise NotReady(f"mien --version says {told!r}, not {version}")
    _run(python, "-c", SMOKE_PICTURE, "drawn.png", cwd=elsewhere)
    _run(mien, "predict", "drawn.png", "--jsonl", "faces.jsonl", cwd=elsewhere)
    lines = (elsewhere / "faces.jsonl").read_text(encoding="utf-8").splitlines()
    found = sum(len(json.loads(line)["faces"]) for line in lines)
    if found != 2:
        raise NotReady(f"mien predict found {found} faces in a drawn picture of two")


def _run(*command: str | Path, cwd: Path | None = None) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True
    )
    if done.returncode:
        told = (done.stdout + done.stderr).strip()
        words = " ".join(Path(part).name if isinstance(part, Path) else part for part in command[:6])
        raise NotReady(f"`{words.splitlines()[0]}` failed with exit code {done.returncode}:\n{told[-2000:]}")
    return done.stdout


def _say(what: str) -> None:
    print(f"release-check: {what}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
