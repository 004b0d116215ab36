"""Bars and colours on a terminal alone, plain lines into a pipe."""

import re

import numpy as np
import pytest
from PIL import Image
from tests.cli.terminal import standard_error

from mien.cli import run

TINY = [
    "--model.embed_dim=16", "--model.depths=[1,1]", "--model.num_heads=[2,4]", "--train.epochs=1",
    "--train.batch_size=64", "--train.precision=fp32", "--train.threads=1",
]  # fmt: skip
COLOUR = re.compile(r"\x1b\[(?!0m)[0-9;]+m")


@pytest.fixture(scope="module")
def crops(tmp_path_factory):
    folder = tmp_path_factory.mktemp("crops")
    for number in range(3):
        Image.fromarray(np.full((48, 48, 3), 60 * number, np.uint8)).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def commands(crops, drawn_folder, trained, tmp_path):
    """The long commands, each as small as it can be."""
    return {
        "prepare": [
            "data", "prepare", "drawn", "--drawn.count", "160", "--jobs", "1",
            "--out", str(tmp_path / "data"),
        ],
        "train": ["train", "--data", str(drawn_folder), "--out", str(tmp_path / "run"), *TINY],
        "predict": ["predict", str(crops), "--crops"],
        "evaluate": [
            "evaluate", str(trained), "--data", str(drawn_folder), "--also", "robustness", "--images", "2",
            "--out", str(tmp_path / "evaluated"),
        ],
    }  # fmt: skip


@pytest.mark.parametrize("name", ["prepare", "train", "predict", "evaluate"])
def test_nothing_is_drawn_into_a_pipe(name, commands, monkeypatch, capfd):
    monkeypatch.setenv("FORCE_COLOR", "1")
    with standard_error(monkeypatch, terminal=False) as written:
        assert run(commands[name]) == 0
    assert not set("\r\x1b") & set(written() + capfd.readouterr().out)


@pytest.mark.parametrize("name", ["train", "predict"])
def test_a_terminal_gets_a_bar_with_the_time_left(name, commands, monkeypatch, capfd):
    with standard_error(monkeypatch, terminal=True) as written:
        monkeypatch.setenv("TERM", "xterm")
        assert run(commands[name]) == 0
    assert "ETA" in written()
    assert COLOUR.search(written())
    assert "\r" not in capfd.readouterr().out


def test_no_color_leaves_the_bar_and_takes_its_colours(commands, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    with standard_error(monkeypatch, terminal=True) as written:
        assert run(commands["predict"]) == 0
    assert "3/3" in written() or "0/3" in written()
    assert not COLOUR.search(written())


def test_a_dumb_terminal_gets_lines(commands, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    with standard_error(monkeypatch, terminal=True) as written:
        assert run(commands["predict"]) == 0
    assert written() == ""


def test_results_stay_on_standard_output_while_a_bar_is_drawn(commands, crops, monkeypatch, capfd):
    monkeypatch.setenv("TERM", "xterm")
    with standard_error(monkeypatch, terminal=True) as written:
        assert run(commands["predict"]) == 0
    rows = [line.split("\t")[0] for line in capfd.readouterr().out.splitlines()]
    assert rows == [str(path) for path in sorted(crops.iterdir())]
    assert "png" not in written()
