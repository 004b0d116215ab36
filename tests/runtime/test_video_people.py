"""Two people of photos who cross, leave and come back smaller, darker and mirrored: as many tracks as they
appear, and two people."""

import numpy as np
import polars as pl
import pytest
from PIL import Image
from tests.faces.pictures import PHOTOS
from tests.runtime.film import film

from mien.errors import InputError
from mien.faces.mtcnn import MTCNNDetector
from mien.images import load_image
from mien.runtime.classifier import load
from mien.runtime.embedder import OnnxEmbedder
from mien.runtime.video import read_video

WIDTH, HEIGHT, SIDE = 480, 320, 132
CYCLE = 6.0
"""Seconds in which each of the two appears once, meets the other and leaves."""


@pytest.fixture(scope="module")
def embedder():
    try:
        return OnnxEmbedder()
    except InputError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def heads():
    """The head of each of two people, uint8 [SIDE,SIDE,3]."""
    cut = []
    for photo in PHOTOS[:2]:
        pixels = load_image(photo.values[0]())
        x0, y0, x1, y1 = MTCNNDetector().detect(pixels).boxes[0]
        side = 1.7 * max(x1 - x0, y1 - y0)
        left, top = (x0 + x1 - side) / 2, (y0 + y1 - side) / 2
        head = Image.fromarray(pixels).crop(tuple(map(round, (left, top, left + side, top + side))))
        cut.append(np.asarray(head.resize((SIDE, SIDE), Image.Resampling.LANCZOS)))
    return cut


def places(time):
    """Where each of those who are there is: their middle, their size and their light."""
    part, again = time % CYCLE, time >= CYCLE
    size, light = (0.75, 0.6) if again else (1.0, 1.0)
    there = {}
    if part < 4:
        there[0] = (70 + 84 * part, 130, size, light)
    if part < 3:
        there[1] = (410 - 98 * part, 190, size, light)
    return there


def painter(heads):
    background = np.random.default_rng(0).integers(70, 110, (HEIGHT // 8, WIDTH // 8, 3), dtype=np.uint8)
    background = np.asarray(Image.fromarray(background).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))

    def paint(time):
        picture = background.copy()
        for who, (x, y, size, light) in places(time).items():
            side = round(SIDE * size)
            head = heads[who] if size == 1 else heads[who][:, ::-1]
            head = np.asarray(Image.fromarray(head).resize((side, side), Image.Resampling.LANCZOS))
            top, left = round(y - side / 2), round(x - side / 2)
            picture[top : top + side, left : left + side] = head * light
        return picture

    return paint


@pytest.mark.parametrize(
    ("seconds", "rate"), [(12, 10), pytest.param(60, 30, marks=pytest.mark.soak)], ids=["short", "minute"]
)
def test_two_people(model_path, embedder, heads, tmp_path, seconds, rate):
    frames = seconds * rate
    path = film(tmp_path / "two.mp4", frames, paint=painter(heads), size=(WIDTH, HEIGHT), rate=rate)
    summary = read_video(load(model_path), path, tmp_path, embedder=embedder, plot=False)
    assert len(summary.people) == 2
    table = pl.read_parquet(tmp_path / "timeline.parquet").drop_nulls("track")
    middle = (table["x0"] + table["x1"]) / 2
    owner = []
    for time, x in zip(table["time"], middle, strict=True):
        there = places(time)
        owner.append(min(there, key=lambda who: abs(there[who][0] - x)))
    table = table.with_columns(who=pl.Series(owner), apart=_apart(table))
    for one in (0, 1):
        mine = table.filter(pl.col("who") == one)
        assert mine.filter("apart")["person"].n_unique() == 1
        assert mine.filter("apart")["track"].n_unique() == seconds / CYCLE
        there = sum(one in places(number / rate) for number in range(frames))
        assert len(mine) > 0.85 * there
    assert {person.number for person in summary.people} == {1, 2}


def _apart(table):
    """Rows in whose frames the two are not in front of each other, where their middles tell who is who."""
    there = [places(time) for time in table["time"]]
    return pl.Series([len(both) < 2 or abs(both[0][0] - both[1][0]) > 30 for both in there])
