"""Preparing that is killed at any moment goes on where it stopped and ends with the same hash."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from mien.cli import run
from mien.data.prepared import load_prepared
from mien.data.synthetic import draw_faces
from mien.labels import EMOTIONS


@pytest.fixture(scope="module")
def photos(tmp_path_factory, raw):
    """1,400 pictures with twins: several chunks, so that two processes have work for some seconds."""
    root = tmp_path_factory.mktemp("photos")
    faces = draw_faces(1400, size=48, channels=3, seed=5)
    for i, image in enumerate(faces.images):
        pixels = faces.images[i - 1] if i % 50 == 49 else image
        raw.save(root / EMOTIONS[int(faces.labels[i])] / f"{i:04d}.png", pixels)
    return root


def _command(photos, out):
    arguments = [
        "data",
        "prepare",
        f"mine={photos}",
        "--out",
        str(out),
        "--template_sample",
        "0",
        "--jobs",
        "2",
    ]
    return [sys.executable, "-c", "from mien.cli import main; main()", *arguments]


def _start(photos, out):
    # A group of its own, as a shell gives a job, so that the kill reaches the one process alone.
    return subprocess.Popen(
        _command(photos, out), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    )


def _kill_and_continue(photos, root, kills, seed):
    began = time.monotonic()
    undisturbed = _start(photos, root / "undisturbed")
    assert undisturbed.communicate()[1] == b""
    length = time.monotonic() - began
    expected = load_prepared(root / "undisturbed").manifest.hash()
    chance = random.Random(seed)
    killed, out = 0, root / "killed"
    for _ in range(kills):
        process = _start(photos, out)
        try:
            # Most of a first second goes into importing; a moment after the end kills nothing.
            process.wait(timeout=chance.uniform(0.3, 1.0) * length)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            killed += 1
        process.communicate()
        if process.returncode == 0:
            # Finished before its moment came; the next begins anew, so that it has something to do.
            out = root / f"killed{killed}-{chance.random()}"
    assert killed >= kills / 2
    last = _start(photos, out)
    assert last.communicate()[1] == b""
    assert load_prepared(out).manifest.hash() == expected
    left = [path.name for path in out.rglob("*") if path.name.startswith(".")]
    assert left == []
    return killed


def test_two_kills(photos, tmp_path):
    _kill_and_continue(photos, tmp_path, kills=2, seed=1)


@pytest.mark.soak
def test_ten_kills(photos, tmp_path):
    print(_kill_and_continue(photos, tmp_path, kills=10, seed=int(time.time())), "of 10 killed")  # noqa: T201


def test_ctrl_c_says_that_nothing_is_lost(photos, tmp_path, capfd, monkeypatch):
    real = __import__("mien.data.chunks", fromlist=["read_chunk"]).read_chunk
    read = []

    def interrupted(task):
        if len(read) == 3:
            raise KeyboardInterrupt
        read.append(task)
        return real(task)

    monkeypatch.setattr("mien.data.reading.read_chunk", interrupted)
    arguments = [
        "data",
        "prepare",
        f"mine={photos}",
        "--out",
        str(tmp_path / "out"),
        "--template_sample",
        "0",
        "--jobs",
        "1",
    ]
    assert run(arguments) == 130
    assert capfd.readouterr().err == "mien: stopped; the same command continues where it stopped.\n"
    assert len([*(tmp_path / "out" / "stages" / "read").glob("*.parquet")]) == 3
    monkeypatch.setattr("mien.data.reading.read_chunk", lambda task: read.append(task) or real(task))
    assert run(arguments) == 0
    assert len(read) == len({task.path for task in read}) > 3


def test_a_signal_to_the_whole_group_ends_every_process(photos, tmp_path):
    process = _start(photos, tmp_path / "out")
    time.sleep(1.5)
    os.killpg(process.pid, signal.SIGINT)
    said = process.communicate(timeout=30)[1].decode()
    assert process.returncode in (0, 130)
    assert "Traceback" not in said
