"""docs/service.md: its examples run against a real server, its tables say what the code says."""

from __future__ import annotations

import ast
import inspect
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi")
pytest.importorskip("av")

import itertools

from mien.apps.service.errors import STATUS
from mien.cli.serve import serve_parser
from mien.config import ServeConfig
from mien.config import serve as serve_config

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "service.md"
WRITTEN_ADDRESS = "127.0.0.1:8000"
"""What the examples say; the test's server has another port."""
BLOCK = re.compile(r"^(<!-- not run: .+ -->\n)?```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SERVE = re.compile(r"^(?:MIEN_TOKEN=\$\(.+\) |.+ && )?mien (serve\b.*)$", re.MULTILINE)
FACE_BOX = (178, 58, 268, 173)
"""Where the face is in scikit-image's picture `astronaut`, in pixels."""


class Example(NamedTuple):
    language: str
    text: str


def examples() -> list[Example]:
    """The blocks of shell and Python that are to run."""
    found = BLOCK.findall(PAGE.read_text())
    return [
        Example(kind, text) for left_out, kind, text in found if kind in ("sh", "python") and not left_out
    ]


def table(heading: str) -> list[list[str]]:
    """The cells of the first table below a heading, without its head; code marks are taken off."""
    rows = (
        PAGE.read_text().partition(f"\n{heading}\n")[2].split("\n| ---")[1].split("\n\n")[0].split("\n")[1:]
    )
    return [[cell.strip().strip("`") for cell in row.strip("|").split("|")] for row in rows]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the examples read: a picture, a face, a video of two seconds."""
    import av
    from skimage import data

    folder = tmp_path_factory.mktemp("examples")
    photo = data.astronaut()
    Image.fromarray(photo).save(folder / "photo.jpg")
    x0, y0, x1, y1 = FACE_BOX
    Image.fromarray(photo[y0:y1, x0:x1]).save(folder / "face.png")
    with av.open(folder / "talk.mp4", "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 256
        stream.pix_fmt = "yuv420p"
        for move in range(20):
            moved = np.ascontiguousarray(np.roll(photo, move, axis=1)[::2, ::2])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(moved, format="rgb24")))
        container.mux(stream.encode())
    return folder


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """`mien serve` with the bundled model, at a free port: host and port."""
    command = [sys.executable, "-m", "mien", "serve", "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        said = server.stderr.readline()
        found = re.search(r"http://(\S+?)/", said)
        assert found, said
        yield found[1]
        server.terminate()
        assert server.wait(30) in (0, -signal.SIGTERM)


@pytest.mark.parametrize("example", examples(), ids=lambda one: " ".join(one.text.split())[-40:])
def test_an_example_runs(example: Example, folder: Path, address: str) -> None:
    shell = example.language == "sh"
    if shell and not shutil.which("curl"):
        pytest.skip("needs curl")
    assert WRITTEN_ADDRESS in example.text
    text = example.text.replace(WRITTEN_ADDRESS, address)
    command = ["sh", "-e", "-c", text] if shell else [sys.executable, "-c", text]
    environment = {**os.environ, "MIEN_TOKEN": "any"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    if ("predict" in text and "Retry-After" not in text) or "stream" in text:
        assert "happiness" in done.stdout  # she smiles


def test_the_examples_are_found() -> None:
    kinds = [one.language for one in examples()]
    assert kinds.count("sh") >= 5
    assert kinds.count("python") >= 5


@pytest.mark.parametrize(
    "page", [PAGE, ROOT / "README.md", ROOT / "docs" / "page.md"], ids=lambda page: page.name
)
def test_each_written_call_of_mien_serve_is_understood(page: Path) -> None:
    calls = SERVE.findall(page.read_text())
    assert calls
    for call in calls:
        serve_parser().parse_args(shlex.split(call, comments=True)[1:])


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
