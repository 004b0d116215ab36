"""Rows of a timeline, the files they go into, and the plot's means."""

import sys

import numpy as np
import polars as pl
import pytest
from PIL import Image

from mien.errors import InputError
from mien.labels import EMOTIONS
from mien.runtime import parquet_parts, timeline
from mien.runtime.sighting import SeenFrame, Sighting
from mien.runtime.smoothing import smooth
from mien.runtime.timeline import open_timeline, timeline_columns, timeline_rows
from mien.runtime.timeline_plot import TimelinePlot

BOX = (1.0, 2.0, 3.5, 4.0)


def shares_of(seed, view=range(8)):
    row = np.zeros(8)
    row[list(view)] = np.random.default_rng(seed).dirichlet(np.ones(len(view)))
    return tuple(row.round(6))


@pytest.fixture
def frames():
    """Two faces, none, one again."""
    first = SeenFrame(0, 0.0, (Sighting(1, BOX, 0.9, shares_of(1)), Sighting(2, BOX, None, shares_of(2))))
    return [first, SeenFrame(5, 0.2, ()), SeenFrame(9, 0.3, (Sighting(2, BOX, 0.8, shares_of(3)),))]


def rows_of(frames, card, **given):
    return list(timeline_rows(smooth(frames, 1.0), card, given.get("view", "all"), given.get("people")))


def test_a_row_a_face_and_a_row_for_nobody(frames, card):
    rows = rows_of(frames, card)
    assert all(list(row) == timeline_columns(card.labels) for row in rows)
    assert [(row["frame"], row["track"], row["person"]) for row in rows] == [
        (0, 1, None),
        (0, 2, None),
        (5, None, None),
        (9, 2, None),
    ]
    assert {name for name, value in rows[2].items() if value is not None} == {"frame", "time"}
    mean = (np.array(shares_of(2)) + shares_of(3)) / 2
    for row in (rows[1], rows[3]):
        np.testing.assert_allclose([row[f"smoothed.{name}"] for name in EMOTIONS], mean, atol=1e-6)
        assert row["emotion"] == EMOTIONS[mean.argmax()]
        assert row["confidence"] == pytest.approx(mean.max(), abs=1e-6)
    assert [rows[1][f"p.{name}"] for name in EMOTIONS] == list(shares_of(2))
    assert [row["detection_score"] for row in rows] == [0.9, None, None, 0.8]
    assert [rows[0][name] for name in ("x0", "y0", "x1", "y1")] == list(BOX)


def test_people_views_and_abstaining(frames, card_maker):
    card = card_maker(abstain_threshold=0.9)
    rows = rows_of(frames, card, people={1: 2, 2: 1}, view="7")
    assert [row["person"] for row in rows] == [2, 1, None, 1]
    assert [row["p.contempt"] for row in rows] == [None] * 4
    assert [row["abstained"] for row in rows] == [True, True, None, True]


def test_frames_survive_their_json(frames):
    assert [SeenFrame.from_json(frame.to_json()) for frame in frames] == frames


def test_parts_of_a_parquet_file_are_joined(frames, card, tmp_path, monkeypatch):
    rows = rows_of(frames * 5, card)
    for size in (3, 1000):
        monkeypatch.setattr(parquet_parts, "ROWS_OF_A_PART", size)
        with open_timeline([("parquet", tmp_path / f"{size}.parquet")], card.labels) as (write,):
            for row in rows:
                write(row)
    whole = pl.read_parquet(tmp_path / "1000.parquet")
    assert pl.read_parquet(tmp_path / "3.parquet").equals(whole)
    assert whole["frame"].to_list() == [row["frame"] for row in rows]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1000.parquet", "3.parquet"]


def test_what_breaks_leaves_the_old_files(frames, card, tmp_path):
    for kind in timeline.TABLES:
        (tmp_path / kind).write_text("old")
    targets = [(kind, tmp_path / kind) for kind in timeline.TABLES]

    def broken():
        with open_timeline(targets, card.labels) as writers:
            for write in writers:
                write(rows_of(frames, card)[0])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken()
    assert {path.read_text() for path in tmp_path.iterdir()} == {"old"}
    assert len(list(tmp_path.iterdir())) == 3


def test_an_unknown_kind_is_refused(card, tmp_path):
    with pytest.raises(InputError, match="xlsx"), open_timeline([("xlsx", tmp_path / "a")], card.labels):
        pass


def test_the_plot_shows_means_of_points_in_time(card, tmp_path):
    random = np.random.default_rng(0)
    times = np.sort(random.uniform(0, 100, 4000)).round(3)
    frames = [SeenFrame(i, float(t), (Sighting(1, BOX, None, shares_of(i)),)) for i, t in enumerate(times)]
    plot = TimelinePlot(card.labels, [(1, "track 1"), (7, "track 7")], "track", seconds=100.0, frames=4000)
    rows = rows_of(frames, card)
    for row in rows:
        plot.add(row)
    means = plot.means()
    point = np.minimum((times / 100 * means.shape[1]).astype(int), means.shape[1] - 1)
    anger = np.array([row["smoothed.anger"] for row in rows])
    for one in (0, 17, means.shape[1] - 1):
        if (point == one).any():
            assert means[0, one, EMOTIONS.index("anger")] == pytest.approx(anger[point == one].mean())
    assert np.isnan(means[1]).all()
    sparse = TimelinePlot(card.labels, [(1, "track 1")], "track", seconds=99.0, frames=100)
    for number, row in enumerate(rows[:100]):
        sparse.add({**row, "time": float(number)})
    assert not np.isnan(sparse.means()).any()
    plot.save(tmp_path / "plot.png")
    with Image.open(tmp_path / "plot.png") as drawn:
        assert drawn.format == "PNG"
        colours = np.asarray(drawn.convert("RGB")).reshape(-1, 3)
    assert len(np.unique(colours, axis=0)) > 8


def test_extras_that_are_missing_are_named(frames, card, tmp_path, monkeypatch):
    from mien.errors import MissingExtra
    from mien.runtime.video_file import describe_video

    for module in ("polars", "matplotlib.figure", "matplotlib.backends.backend_agg", "av"):
        monkeypatch.setitem(sys.modules, module, None)
    with (
        pytest.raises(MissingExtra, match=r"mien\[video\]"),
        open_timeline([("parquet", tmp_path / "a.parquet")], card.labels),
    ):
        pass
    with pytest.raises(MissingExtra, match=r"mien\[video\]"):
        TimelinePlot(card.labels, [], "track", seconds=1.0, frames=1).save(tmp_path / "a.png")
    with pytest.raises(MissingExtra, match=r"mien\[video\]"):
        describe_video(tmp_path / "a.mp4")
