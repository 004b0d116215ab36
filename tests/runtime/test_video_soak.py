"""Damaged videos by the thousand, and a film of ten minutes: read or refused, quickly, in little memory."""

import json
import subprocess
import sys

import av
import pytest
from tests.runtime.conftest import make_card, write_model
from tests.runtime.film import HEIGHT, WIDTH, film, squares

from mien.runtime.video_file import FrameReader

SLOWEST = 5.0
"""Seconds that one video may take."""
MOST_MEMORY = 400
"""Megabytes that the process may hold at its peak, its libraries among them."""

FUZZ = """
import json, sys, time
from pathlib import Path
import numpy as np
from mien.errors import UnreadableVideo
from mien.runtime.video_file import FrameReader

folder, count = Path(sys.argv[1]), int(sys.argv[2])
kinds = {path.suffix: path.read_bytes() for path in sorted(folder.glob("whole.*"))}
slowest, read, refused = 0.0, 0, 0
for seed in range(count):
    random = np.random.default_rng(seed)
    suffix = list(kinds)[seed % len(kinds)]
    data = bytearray(kinds[suffix])
    for _ in range(int(random.integers(1, 20))):
        # Half of the changes hit the head, where the sizes and offsets are.
        place = int(random.integers(len(data) if random.random() < 0.5 else min(len(data), 1500)))
        how = random.integers(4)
        if how == 0:
            data[place] = int(random.integers(256))
        elif how == 1:
            data[place : place + 4] = (b"\\xff" * 4, b"\\0" * 4, b"\\x7f\\xff\\xff\\xff")[random.integers(3)]
        elif how == 2 and len(data) > 200:
            del data[place : place + int(random.integers(1, 30))]
        else:
            data[place:place] = random.integers(0, 256, int(random.integers(1, 20)), dtype=np.uint8).tobytes()
    path = folder / f"damaged{suffix}"
    path.write_bytes(data)
    start = time.monotonic()
    try:
        for _ in FrameReader(path):
            pass
        read += 1
    except UnreadableVideo:
        refused += 1
    slowest = max(slowest, time.monotonic() - start)
# The peak that getrusage tells is inherited from the process that started this one.
status = Path("/proc/self/status").read_text()
memory = int(status.partition("VmHWM:")[2].split()[0]) / 1024
print(json.dumps([slowest, read, refused, memory]))
"""

WATCH = """
import json, sys
sys.path.insert(0, sys.argv[3])
from pathlib import Path
from mien.runtime.classifier import load
from mien.runtime.video import watch
from tests.runtime.film import Squares

held = []
for frame in watch(load(sys.argv[1], detector=Squares()), sys.argv[2]):
    if frame.index % 1800 == 1799:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        held.append(pages * 4096 / 2**20)
print(json.dumps(held))
"""


def run(script, *arguments, timeout):
    command = [sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("count", [150, pytest.param(10_000, marks=pytest.mark.soak)])
def test_damaged_videos_are_read_or_refused(tmp_path, count):
    codecs = {".mp4": "libx264", ".webm": "libvpx-vp9", ".avi": "mpeg4", ".ts": "libx264"}
    codecs = {".mp4": "libx264", ".webm": "libvpx-vp9", ".avi": "mpeg4", ".ts": "libx264"}
    for suffix, codec in codecs.items():
        with av.open(str(tmp_path / f"whole{suffix}"), "w") as file:
            stream = file.add_stream(codec, rate=30)
            stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
            for number in range(12):
                picture = av.VideoFrame.from_ndarray(squares(number / 30), format="rgb24")
                file.mux(stream.encode(picture))
            file.mux(stream.encode(None))
        assert len(list(FrameReader(tmp_path / f"whole{suffix}"))) == 12
    slowest, read, refused, memory = run(FUZZ, tmp_path, count, timeout=900)
    assert slowest < SLOWEST
    assert memory < MOST_MEMORY
    assert read + refused == count
    assert min(read, refused) > count / 20


@pytest.mark.soak
def test_memory_at_minute_ten_is_that_of_minute_one(tmp_path, request):
    minute = film(tmp_path / "minute.mp4", 1800, paint=squares)
    path = tmp_path / "long.mp4"
    with av.open(str(path), "w") as file:
        stream, start = None, 0
        for _ in range(10):
            end = start
            with av.open(str(minute)) as source:
                stream = stream or file.add_stream_from_template(source.streams.video[0])
                for packet in source.demux(video=0):
                    if packet.dts is not None:
                        packet.pts, packet.dts = packet.pts + start, packet.dts + start
                        end = max(end, packet.pts + packet.duration)
                        packet.stream = stream
                        file.mux(packet)
            start = end
    model = write_model(tmp_path / "model.onnx", make_card())
    held = run(WATCH, model, path, request.config.rootpath, timeout=600)
    assert len(held) == 10
    assert held[-1] < 1.02 * held[0] + 1
