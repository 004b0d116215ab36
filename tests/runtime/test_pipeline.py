"""Files, folders and patterns in; tables out; a bad file never ends the run."""

import numpy as np
import pytest
from PIL import Image

from mien.data.synthetic import draw_faces, paste_faces
from mien.errors import InputError
from mien.faces.mtcnn import MTCNNDetector
from mien.runtime.classifier import load
from mien.runtime.pipeline import find_pictures, predict_paths


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


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing_but_the_time(model, album, workers):
    for i in range(20):
        (album / f"copy{i:02d}.png").write_bytes((album / "two.png").read_bytes())
    results = list(predict_paths(model, [album], workers=workers))
    assert [result.path.name for result in results] == sorted(
        (result.path.name for result in results), key=lambda name: str(next(album.rglob(name)))
    )
    assert len(results) == 23
    assert [len(result.faces) for result in results if result.path.name.startswith("copy")] == [2] * 20
    alone = {result.path: result for result in predict_paths(model, [album])}
    assert all(result == alone[result.path] for result in results)


def test_workers_need_a_detector_that_can_be_named(model_path, album):
    own = load(model_path, detector=MTCNNDetector())
    with pytest.raises(InputError, match="a detector that is named"):
        predict_paths(own, [album], workers=2)
    with pytest.raises(InputError, match="workers must be 1 or more"):
        predict_paths(own, [album], workers=0)


def test_a_video_is_pointed_to_its_verb(model, tmp_path):
    (tmp_path / "clip.MP4").write_bytes(b"no matter")
    (result,) = predict_paths(model, [tmp_path / "clip.MP4"])
    assert "a video; read it with mien video" in result.error
