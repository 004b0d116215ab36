"""Damaged pictures through the whole path: read or refused in a sentence, quickly, in little memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.runtime.conftest import make_card, write_model

SLOWEST = 5.0
"""Seconds that one picture may take."""
MOST_MEMORY = 400
"""Megabytes that the process may hold at its peak, its libraries and the largest picture among them."""

FUZZ = """
import io, json, sys, time
from pathlib import Path
import numpy as np
from PIL import Image
from mien.errors import UnreadableImage
from mien.runtime.classifier import load

model = load(sys.argv[1], detector="none")
first, count = int(sys.argv[2]), int(sys.argv[3])
rng = np.random.default_rng(0)
picture = Image.fromarray(rng.integers(0, 256, (40, 56, 3), dtype=np.uint8))
kinds = {}
for kind, options in (
    ("PNG", {}), ("JPEG", {}), ("JPEG", {"progressive": True}), ("GIF", {}), ("WEBP", {}), ("BMP", {}),
    ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}), ("PPM", {}), ("WEBP", {"lossless": True}),
):
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    kinds[f"{kind} {options}"] = buffer.getvalue()
slowest, read, refused = 0.0, 0, 0
for seed in range(first, first + count):
    random = np.random.default_rng(seed)
    data = bytearray(kinds[list(kinds)[seed % len(kinds)]])
    for _ in range(random.integers(1, 9)):
        what, place = random.integers(0, 5), int(random.integers(0, max(1, len(data))))
        if not data:
            break
        if what == 0:
            data[place] ^= 1 << int(random.integers(0, 8))
        elif what == 1:
            data[place : place + 4] = random.integers(0, 256, 4, dtype=np.uint8).tobytes()
        elif what == 2:
            del data[place:]
        elif what == 3:
            data[place:place] = data[: int(random.integers(0, 64))]
        else:
            data[place : place + 4] = bytes([255] * 4)
    began = time.perf_counter()
    try:
        model.read(bytes(data))
        read += 1
    except UnreadableImage as error:
        assert "\\n" not in str(error), (seed, str(error))
        refused += 1
    slowest = max(slowest, time.perf_counter() - began)
# Not ru_maxrss, which a process inherits from the one that started it.
status = Path("/proc/self/status").read_text()
peak = int(status.split("VmHWM:")[1].split()[0]) / 1024
print(json.dumps({"slowest": slowest, "read": read, "refused": refused, "peak": peak}))
"""


@pytest.mark.parametrize(
    "count", [300, pytest.param(10_000, marks=[pytest.mark.soak, pytest.mark.timeout(900)])]
)
def test_mutated_pictures_are_read_or_refused(tmp_path: Path, count: int) -> None:
    model = write_model(tmp_path / "linear.onnx", make_card())
    finished = subprocess.run(
        [sys.executable, "-W", "error", "-c", FUZZ, str(model), "0", str(count)],
        capture_output=True,
        text=True,
        timeout=800,
    )
    assert finished.returncode == 0, finished.stderr[-2000:]
    figures = json.loads(finished.stdout)
    print(figures)  # noqa: T201
    assert figures["read"] + figures["refused"] == count
    assert min(figures["read"], figures["refused"]) > count / 20
    assert figures["slowest"] < SLOWEST
    assert figures["peak"] < MOST_MEMORY
