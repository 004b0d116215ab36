"""Several pictures at once, marked pictures, rows for data frames, a notebook's view."""

import base64
import io
import re

import numpy as np
import polars as pl
import pytest
from PIL import Image

from mien.data.synthetic import draw_faces, paste_faces
from mien.errors import InputError, UnreadableImage
from mien.runtime.annotate import COLOURS, annotate
from mien.runtime.classifier import load
from mien.runtime.face import Face


def frame(count, seed=1):
    drawn = draw_faces(count, size=96, channels=3, seed=seed, frontal=True)
    return paste_faces(drawn, width=320, height=200, seed=seed)[0]


def face_at(box, *, abstained=False, shares=None):
    named = shares or {"anger": 0.75, "fear": 0.25}
    return Face(box, None, 0.9, named, "anger", 0.75, abstained)


@pytest.fixture
def frames():
    return [frame(2), np.zeros((60, 60, 3), np.uint8), frame(1, seed=2), frame(2, seed=3)]


@pytest.mark.parametrize("batch", [1, 2, 64])
def test_many_pictures_are_read_as_each_alone(model_path, frames, batch):
    model = load(model_path)
    together = list(model.read_many(iter(frames), batch=batch))
    alone = [model.read(one) for one in frames]
    assert [len(faces) for faces in together] == [2, 0, 1, 2]
    for several, one, picture in zip(together, alone, frames, strict=True):
        np.testing.assert_array_equal(several.picture, picture)
        assert [face.box for face in several] == [face.box for face in one]
        for a, b in zip(several, one, strict=True):
            assert list(a.probabilities.values()) == pytest.approx(list(b.probabilities.values()), abs=1e-6)


def test_crops_are_read_many_too(model_path):
    model = load(model_path, detector="none")
    crops = [np.full((12 + i, 12 + i, 3), 40 * i, np.uint8) for i in range(4)]
    assert list(model.read_many(crops)) == [model.read(crop) for crop in crops]


def test_pictures_are_taken_as_they_are_needed(model_path):
    taken = []

    def pictures():
        for number in range(10):
            taken.append(number)
            yield np.zeros((40, 40, 3), np.uint8)

    many = load(model_path).read_many(pictures(), batch=3)
    assert taken == []
    next(many)
    assert taken == [0, 1, 2]


def test_what_was_read_before_a_bad_picture_is_given(model_path, frames, tmp_path):
    many = load(model_path).read_many([frames[0], frames[1], tmp_path / "missing.jpg", frames[2]])
    assert len(next(many)) == 2
    assert len(next(many)) == 0
    with pytest.raises(UnreadableImage, match=r"missing\.jpg"):
        next(many)
    with pytest.raises(InputError, match="batch"):
        next(load(model_path).read_many(frames, batch=0))


def test_rows_make_a_data_frame(model_path, frames):
    reading = load(model_path).read(frames[0])
    table = pl.DataFrame(reading.to_dicts())
    assert table["face"].to_list() == [0, 1]
    assert table["emotion"].to_list() == [face.emotion for face in reading]
    assert table["p.anger"].to_list() == pytest.approx(
        [face.probabilities["anger"] for face in reading], abs=1e-6
    )


def test_a_notebook_sees_the_marked_picture(model_path, frames):
    reading = load(model_path).read(frames[0])
    html = reading._repr_html_()
    found = re.search(r'src="data:image/jpeg;base64,([^"]+)"', html)
    image = Image.open(io.BytesIO(base64.b64decode(found[1])))
    assert image.size == (320, 200)
    assert reading[0].emotion in html
    assert "no face found" in load(model_path).read(frames[1])._repr_html_()


def test_boxes_are_where_the_faces_are():
    grey = np.full((200, 300, 3), 128, np.uint8)
    marked = np.asarray(annotate(grey, [face_at((100, 60, 180, 150))], bars=False))
    colour = np.array([int(COLOURS[0][i : i + 2], 16) for i in (1, 3, 5)])
    for x, y in ((100, 100), (180, 100), (140, 150)):
        np.testing.assert_array_equal(marked[y, x], colour)
    np.testing.assert_array_equal(marked[100, 140], [128] * 3)
    np.testing.assert_array_equal(marked[199, 299], [128] * 3)
    assert grey.min() == grey.max() == 128


@pytest.mark.parametrize("box", [(-20, -20, 30, 30), (0, 0, 300, 200), (280, 180, 320, 230), (5, 5, 6, 6)])
def test_a_face_at_the_edge_is_marked_all_the_same(box):
    grey = np.full((200, 300, 3), 128, np.uint8)
    marked = np.asarray(annotate(grey, [face_at(box), face_at(box, abstained=True)]))
    assert marked.shape == grey.shape
    assert (marked != 128).any()


def test_bars_are_as_long_as_the_shares():
    grey = np.full((200, 400, 3), 128, np.uint8)
    box = (20, 40, 120, 160)
    shares = {"anger": 1.0, "fear": 0.0, "sadness": 0.5}
    colour = np.array([int(COLOURS[0][i : i + 2], 16) for i in (1, 3, 5)])
    marked = np.asarray(annotate(grey, [face_at(box, shares=shares)]))
    beside = (marked[40:160, 126:] == colour).all(2)
    lengths = beside.sum(1)
    full, none, half = (int(lengths[16 * row + 8]) for row in range(3))
    assert full == pytest.approx(51, abs=2)
    assert none <= 2
    assert half == pytest.approx(26, abs=2)
