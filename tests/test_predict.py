"""`mien predict` as a person types it."""

import csv
import io
import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from tests.runtime.conftest import make_card, write_model

from mien.cli import run
from mien.data.synthetic import draw_faces, paste_faces


@pytest.fixture
def model_path(tmp_path):
    return write_model(tmp_path / "linear.onnx", make_card())


@pytest.fixture
def album(tmp_path):
    folder = tmp_path / "album"
    folder.mkdir()
    drawn = draw_faces(2, size=96, channels=3, seed=1, frontal=True)
    Image.fromarray(paste_faces(drawn, width=320, height=200, seed=1)[0]).save(folder / "two.png")
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(folder / "none.png")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 broken")
    return folder


def test_all_outputs_at_once_and_a_bad_file_is_a_row(album, model_path, tmp_path, capsys):
    names = ("csv", "json", "jsonl", "parquet")
    outputs = [part for name in names for part in (f"--{name}", str(tmp_path / f"out.{name}"))]
    marked = tmp_path / "marked"
    command = ["predict", str(album), "--model", str(model_path), *outputs, "--annotate", str(marked)]
    assert run(command) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("\t")[0].rsplit("/", 1)[-1] for line in lines] == [
        "broken.jpg",
        "none.png",
        "two.png",
        "two.png",
    ]
    assert "broken.jpg" in lines[0].split("\t")[2]
    assert lines[1].split("\t")[2] == "no face found"
    assert all((tmp_path / f"out.{name}").stat().st_size for name in names)
    assert sorted(path.name for path in marked.iterdir()) == ["none.png", "two.png"]
    before, after = (np.asarray(Image.open(folder / "two.png")) for folder in (album, marked))
    assert before.shape == after.shape
    assert (before != after).any()
    rows = list(csv.DictReader((tmp_path / "out.csv").read_text().splitlines()))
    files = json.loads((tmp_path / "out.json").read_text())["files"]
    assert sum(len(file["faces"]) for file in files) == sum(row["face"] != "" for row in rows) == 2


def test_without_a_failure_the_exit_code_is_zero(album, model_path):
    (album / "broken.jpg").unlink()
    assert run(["predict", str(album), "--model", str(model_path), "--workers", "2"]) == 0


def test_marked_copies_of_like_names_are_kept_apart(album, model_path, tmp_path):
    deep = album / "deep"
    deep.mkdir()
    (deep / "two.png").write_bytes((album / "two.png").read_bytes())
    marked = tmp_path / "marked"
    run(["predict", str(album), "--model", str(model_path), "--annotate", str(marked)])
    assert sorted(path.name for path in marked.iterdir()) == ["none.png", "two-2.png", "two.png"]


def test_a_picture_from_standard_input(album, model_path, monkeypatch, capsys):
    given = SimpleNamespace(buffer=io.BytesIO((album / "two.png").read_bytes()))
    monkeypatch.setattr(sys, "stdin", given)
    assert run(["predict", "-", "--model", str(model_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("\t")[0] for line in lines] == ["-", "-"]
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"no picture")))
    assert run(["predict", "-", "--model", str(model_path)]) == 1
    assert "standard input" in capsys.readouterr().out


def test_below_the_least_confidence_the_answer_is_unsure(album, model_path, tmp_path, capsys):
    out = tmp_path / "out.csv"
    command = ["predict", str(album / "two.png"), "--model", str(model_path), "--csv", str(out)]
    assert run([*command, "--min-confidence", "1"]) == 0
    assert "unsure (" in capsys.readouterr().out
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert [row["abstained"] for row in rows] == ["True", "True"]
    assert run([*command, "--min-confidence", "0"]) == 0
    assert "unsure" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--min-confidence", "2"], "must lie in 0 to 1"),
        (["--workers", "0"], "workers must be 1 or more"),
        (["--csv", "{out}", "--json", "{out}"], "named twice"),
        (["--labels", "boredom"], "boredom"),
    ],
)
def test_options_that_do_not_fit_are_one_sentence(album, model_path, tmp_path, capsys, options, said):
    out = tmp_path / "out"
    given = [option.format(out=out) for option in options]
    assert run(["predict", str(album), "--model", str(model_path), *given]) == 2
    assert said in capsys.readouterr().err
    assert not out.exists()
