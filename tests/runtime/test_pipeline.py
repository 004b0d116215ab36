"""Files, folders and patterns in; tables out; a bad file never ends the run."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from mien.data.synthetic import draw_faces, paste_faces
from mien.errors import InputError
from mien.labels import SEVEN
from mien.runtime.classifier import load
from mien.runtime.pipeline import columns, find_pictures, predict_paths, rows_of, write_csv, write_json


@pytest.fixture
def album(tmp_path):
    folder = tmp_path / "album"
    (folder / "deep").mkdir(parents=True)
    drawn = draw_faces(2, size=96, channels=3, seed=1, frontal=True)
    frame, _, _ = paste_faces(drawn, width=320, height=200, seed=1)
    Image.fromarray(frame).save(folder / "two.png")
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(folder / "deep" / "NONE.JPG")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 broken")
    (folder / "notes.txt").write_text("not looked at")
    return folder


@pytest.fixture
def model(model_path):
    return load(model_path)


def test_a_folder_is_read_to_its_end(model, album):
    results = list(predict_paths(model, [album]))
    assert [result.path.name for result in results] == ["broken.jpg", "NONE.JPG", "two.png"]
    assert results[0].error is not None
    assert "broken.jpg" in results[0].error
    assert [len(result.faces) for result in results] == [0, 0, 2]
    assert results[1].error is None
    assert list(results[2].faces) == model.read(album / "two.png")


def test_paths_are_found_once_and_in_order(album):
    given = [album / "two.png", album, str(album / "**" / "*.png")]
    found = [item.path.name for item in find_pictures(given)]
    assert found == ["two.png", "broken.jpg", "NONE.JPG"]


def test_patterns_reach_into_subfolders(album):
    assert [item.path.name for item in find_pictures([album / "**" / "*.JPG"])] == ["NONE.JPG"]


def test_a_name_with_brackets_is_that_file(album):
    (album / "two.png").rename(album / "two [1].png")
    (found,) = find_pictures([album / "two [1].png"])
    assert found.error is None


def test_paths_that_give_nothing_say_so(tmp_path, model):
    (tmp_path / "empty").mkdir()
    given = [tmp_path / "missing.png", tmp_path / "empty", tmp_path / "*.webp"]
    errors = [result.error for result in predict_paths(model, given)]
    assert "no such file" in errors[0]
    assert "holds no picture" in errors[1]
    assert "matches no file" in errors[2]


def test_a_bad_option_ends_the_run_at_once(model, tmp_path):
    with pytest.raises(InputError):
        predict_paths(model, [tmp_path / "missing.png"], view="boredom")
    with pytest.raises(InputError):
        predict_paths(model, [tmp_path / "missing.png"], prior="flat")


def test_csv_has_a_row_a_face_and_a_row_a_failure(model, album, tmp_path):
    out = tmp_path / "out" / "faces.csv"
    write_csv(out, predict_paths(model, [album], view="7"), model.card.labels)
    rows = list(csv.DictReader(out.read_text(encoding="utf-8").splitlines()))
    assert list(rows[0]) == columns(model.card.labels)
    assert [row["face"] for row in rows] == ["", "", "0", "1"]
    assert [row["faces"] for row in rows] == ["", "0", "2", "2"]
    assert [bool(row["error"]) for row in rows] == [True, False, False, False]
    for row in rows[2:]:
        shares = {name: float(row[f"p.{name}"]) for name in SEVEN}
        assert row["p.contempt"] == ""
        assert sum(shares.values()) == pytest.approx(1, abs=1e-4)
        assert row["emotion"] == max(shares, key=shares.get)
        assert float(row["x0"]) < float(row["x1"])


def test_rows_have_the_columns(model, album):
    for result in predict_paths(model, [album]):
        for row in rows_of(result, model.card.labels):
            assert list(row) == columns(model.card.labels)


def test_json_holds_everything(model, album, tmp_path):
    out = tmp_path / "faces.json"
    results = list(predict_paths(model, [album]))
    write_json(out, results, model.card)
    value = json.loads(out.read_text(encoding="utf-8"))
    assert value["labels"] == list(model.card.labels)
    assert value["licence"] == model.card.licence
    assert value["files"] == [result.to_dict() for result in results]


def test_a_run_that_breaks_leaves_the_old_table(tmp_path):
    out = tmp_path / "faces.csv"
    out.write_text("old")

    def breaks():
        raise KeyboardInterrupt
        yield

    with pytest.raises(KeyboardInterrupt):
        write_csv(out, breaks(), ("a",))
    assert out.read_text() == "old"
    assert list(tmp_path.iterdir()) == [out]
