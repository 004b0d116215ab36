"""Ctrl-C, a closed pipe, a full disk: one line, the right exit code, nothing half-written."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image
from tests.runtime.film import film

from mien.cli import run

MIEN = [sys.executable, "-m", "mien"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
DONE, FAILED, USAGE, INTERRUPTED, CLOSED_PIPE = 0, 1, 2, 130, 141


@pytest.fixture(autouse=True)
def _ctrl_c_is_heard():
    """A shell's background jobs ignore SIGINT, and so would the tests of one and what they start."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def crops(tmp_path_factory):
    """So many pictures that reading them outlasts a test's patience; most are links to one file."""
    folder = tmp_path_factory.mktemp("crops")
    Image.fromarray(np.full((48, 48, 3), 90, np.uint8)).save(folder / "0000.png")
    for number in range(1, 20_000):
        (folder / f"{number:05}.png").hardlink_to(folder / "0000.png")
    return folder


def _grey(time):
    return np.full((96, 160, 3), 90, np.uint8)


@pytest.fixture
def commands(trained, drawn_folder, tmp_path):
    return {
        "evaluate": ["evaluate", str(trained), "--data", str(drawn_folder)],
        "export": ["export", str(trained), "--out", str(tmp_path / "model.onnx")],
        "report": ["report", str(trained), "--out", str(tmp_path / "report.html")],
        "reproduce": [
            "reproduce",
            "--recipe",
            "smoke",
            "--data",
            str(drawn_folder),
            "--out",
            str(tmp_path / "r"),
        ],
        "video": ["video", str(film(tmp_path / "grey.mp4", 4, paint=_grey)), "--out", str(tmp_path / "film")],
    }


@pytest.mark.parametrize(
    ("name", "within", "said"),
    [
        ("evaluate", "mien.evaluate.run.score_split", "the figures and analyses that were finished are kept"),
        ("export", "mien.export.run.check_export", "what was finished is written"),
        ("report", "mien.report.html.to_html", "the page was not written"),
        ("reproduce", "mien.study.reproduce.reproduce", "the same command continues where it stopped"),
        ("video", "mien.runtime.video.read_video", "the same command continues where it stopped"),
    ],
)
def test_ctrl_c_within_a_verb_is_one_line(name, within, said, commands, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(within, lambda *args, **kwargs: signal.raise_signal(signal.SIGINT))
    assert run(commands[name]) == INTERRUPTED
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("mien: stopped; ")
    assert said in line
    assert not [path for path in tmp_path.rglob("*") if path.suffix in {".onnx", ".html", ".tmp"}]


@pytest.mark.parametrize("seconds", [0.15, None], ids=["while it starts", "while it reads"])
def test_ctrl_c_in_a_real_process(seconds, crops, tmp_path):
    table = tmp_path / "faces.csv"
    process = subprocess.Popen(
        [*MIEN, "predict", str(crops), "--crops", "--csv", str(table)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )
    if seconds is None:
        process.stdout.readline()
    else:
        time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    try:
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    if seconds is None:
        assert said == f"mien: stopped; {table} was not written.\n"
    # While modules are imported Python may end itself by the signal afterwards, which a shell calls 130 too.
    if said.startswith("mien"):
        assert process.returncode in (INTERRUPTED, -signal.SIGINT)
        assert len(said.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_closed_pipe_ends_the_reading_without_a_word(crops):
    process = subprocess.Popen(
        [*MIEN, "predict", str(crops), "--crops"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )
    assert process.stdout.readline().startswith(str(crops))
    process.stdout.close()
    assert process.wait(timeout=60) == CLOSED_PIPE
    assert process.stderr.read() == ""
    process.stderr.close()


def test_a_pipe_closed_from_the_start():
    reading, writing = os.pipe()
    os.close(reading)
    typed = ["doctor", "--quick"]
    done = subprocess.run(
        [*MIEN, *typed], stdout=writing, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT, timeout=60
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (CLOSED_PIPE, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")  # noqa: PTH110
def test_output_that_cannot_be_written():
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run(
            [*MIEN, "completion", "fish"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=ENVIRONMENT,
            timeout=60,
        )
    assert (done.returncode, done.stderr) == (FAILED, "mien: No space left on device.\n")


def test_the_other_codes(crops, tmp_path, capfd):
    first = str(crops / "0000.png")
    assert run(["predict", first, "--crops"]) == DONE
    assert run(["predict", first, str(tmp_path / "none.png"), "--crops"]) == FAILED
    assert run(["predict", first, "--model", str(tmp_path / "none.onnx")]) == USAGE
