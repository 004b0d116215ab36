"""Whole videos, drawn here: tracks, tables, people, resuming, the marked copy."""

import csv
import json
import shutil
import tracemalloc

import av
import numpy as np
import polars as pl
import pytest
from PIL import Image
from tests.runtime.film import BLUE, HEIGHT, RED, WIDTH, Colours, Squares, film, squares

from mien.data.synthetic import draw_faces
from mien.errors import InputError
from mien.runtime import video
from mien.runtime.annotate import COLOURS, annotate
from mien.runtime.classifier import load
from mien.runtime.face import Face
from mien.runtime.following import SEARCH_SECONDS
from mien.runtime.timeline import timeline_columns
from mien.runtime.video import VideoSettings, read_video, watch
from mien.runtime.video_file import FrameReader
from mien.runtime.video_summary import APART


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Six seconds of two squares that cross every other second."""
    return film(tmp_path_factory.mktemp("film") / "two.mp4", 180, paint=squares, sound="aac")


@pytest.fixture
def model(model_path):
    return load(model_path, detector=Squares())


def by_track(frames):
    tracks = {}
    for frame in frames:
        for face in frame.faces:
            tracks.setdefault(face.track, []).append((frame.time, face.box))
    return tracks


def test_tracks_are_unbroken_through_crossings(clip, model):
    frames = list(watch(model, clip))
    assert [frame.index for frame in frames] == list(range(180))
    tracks = by_track(frames)
    followed = {}
    for number, seen in tracks.items():
        off = {
            colour: np.mean(
                [abs((box[0] + box[2]) / 2 - (80 + sign * 55 * np.sin(2 * np.pi * t / 4))) for t, box in seen]
            )
            for colour, sign in ((RED, 1), (BLUE, -1))
        }
        followed[number] = min(off, key=off.get)
        assert min(off.values()) < 2
    assert sorted(followed.values()) == [BLUE, BLUE, RED]
    red = next(number for number, colour in followed.items() if colour == RED)
    assert len(tracks[red]) == 180
    blue = sorted(len(tracks[number]) for number in followed if number != red)
    assert blue == [60, 60] or min(blue) >= 54


def test_faces_are_searched_for_now_and_then(clip, model):
    frames = list(watch(model, clip))
    assert model.detector.searches == pytest.approx(6 / SEARCH_SECONDS, rel=0.15)
    scores = [face.score for frame in frames for face in frame.faces]
    assert 0.15 < np.mean([score is not None for score in scores]) < 0.3


def test_frames_between_searches_are_read_where_the_face_is(clip, model):
    """What `describe` says of a frame, with the face where it truly is."""
    pictures = [frame.rgb for frame in FrameReader(clip)]
    frames = list(watch(model, clip))
    detector = Squares()
    apart = [
        np.abs(
            np.array(list(model.describe(pictures[frame.index], found)[0].probabilities.values()))
            - next(face.probabilities for face in frame.faces if abs(face.box[0] - found.boxes[0, 0]) < 4)
        ).max()
        for frame in frames[40:60]
        if len(found := detector.detect(pictures[frame.index]))
    ]
    assert len(apart) == 20
    assert np.median(apart) < 0.1


def test_tables_hold_the_same_rows(clip, model, tmp_path):
    summary = read_video(model, clip, tmp_path / "out", tables=("parquet", "csv", "jsonl"))
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["summary.json", "timeline.csv", "timeline.jsonl", "timeline.parquet", "timeline.png"]
    frame = pl.read_parquet(tmp_path / "out/timeline.parquet")
    assert frame.columns == timeline_columns(model.card.labels)
    rows = list(csv.DictReader((tmp_path / "out/timeline.csv").read_text().splitlines()))
    lines = [json.loads(line) for line in (tmp_path / "out/timeline.jsonl").read_text().splitlines()]
    assert frame["track"].to_list() == [line["track"] for line in lines]
    for name in ("time", "x0", "confidence", "smoothed.anger", "p.fear", "detection_score"):
        csv_values = [float(row[name]) if row[name] else None for row in rows]
        known = [line[name] for line in lines if line[name] is not None]
        assert frame[name].drop_nulls().to_list() == pytest.approx(known, rel=1e-6)
        assert csv_values == [line[name] for line in lines]
    assert len(frame) == sum(person.frames for person in summary.people)
    assert frame["person"].null_count() == len(frame)
    told = json.loads((tmp_path / "out/summary.json").read_text())
    assert told["note"] == summary.note == APART
    assert not told["joined"]
    assert told["people"][0]["frames"] == 180


def test_smoothed_columns_are_centred_means(clip, model, tmp_path):
    read_video(model, clip, tmp_path, settings=VideoSettings(window=0.5), plot=False)
    frame = pl.read_parquet(tmp_path / "timeline.parquet")
    for track in frame["track"].unique():
        rows = frame.filter(pl.col("track") == track)
        times, raw = rows["time"].to_numpy(), rows["p.surprise"].to_numpy()
        expected = [raw[np.abs(times - t) <= 0.25 + 1e-6].mean() for t in times]
        np.testing.assert_allclose(rows["smoothed.surprise"], expected, atol=2e-6)
    shares = frame.select(pl.sum_horizontal(pl.col("^smoothed\\..*$")))
    np.testing.assert_allclose(shares.to_series(), 1, atol=1e-5)


def test_shares_are_those_of_the_table(clip, model, tmp_path):
    summary = read_video(model, clip, tmp_path, settings=VideoSettings(block=0.5), plot=False)
    frame = pl.read_parquet(tmp_path / "timeline.parquet")
    for person in summary.people:
        emotions = frame.filter(pl.col("track") == person.number)["emotion"].to_list()
        assert len(emotions) == person.frames
        for name, share in person.shares.items():
            assert share.value == pytest.approx(emotions.count(name) / person.frames)
            assert share.low <= share.value <= share.high if person.frames == 180 else True
    assert summary.without_face.value == 0


def test_an_embedder_joins_tracks_into_people(clip, model, tmp_path):
    summary = read_video(model, clip, tmp_path, embedder=Colours())
    assert summary.joined
    assert len(summary.people) == 2
    assert sorted(len(person.tracks) for person in summary.people) == [1, 2]
    assert "2 people" in summary.note
    frame = pl.read_parquet(tmp_path / "timeline.parquet")
    assert frame.group_by("track").agg(pl.col("person").n_unique())["person"].to_list() == [1, 1, 1]


def test_frames_without_a_face(model, tmp_path):
    path = film(tmp_path / "a.mp4", 60, paint=lambda t: squares(t) if t < 1 else squares(9) * 0 + 60)
    summary = read_video(model, path, tmp_path / "out")
    assert summary.without_face.value == pytest.approx(0.5, abs=0.1)
    frame = pl.read_parquet(tmp_path / "out/timeline.parquet")
    empty = frame.filter(pl.col("track").is_null())
    assert len(empty) == round(60 * summary.without_face.value)
    assert empty["emotion"].null_count() == len(empty)
    nobody = film(tmp_path / "b.mp4", 10, paint=lambda _: np.full((HEIGHT, WIDTH, 3), 60, np.uint8))
    summary = read_video(model, nobody, tmp_path / "none")
    assert (summary.people, summary.without_face.value, summary.frames) == ((), 1.0, 10)
    with Image.open(tmp_path / "none/timeline.png") as drawn:
        assert drawn.size[0] > 500


class Stopped(Exception):
    pass


def stop_at(index):
    def progress(stage, now):
        if (stage, now) == ("reading", index):
            raise Stopped

    return progress


def noting(looked):
    return lambda stage, index: looked.append(index) if stage == "reading" else None


@pytest.mark.parametrize(("seconds", "embedder"), [(0.0, Colours()), (1e9, None)])
def test_a_stopped_reading_goes_on(clip, model, tmp_path, monkeypatch, seconds, embedder):
    monkeypatch.setattr(video, "_CHECKPOINT_SECONDS", seconds)
    given = {"tables": ("csv", "parquet"), "plot": False, "embedder": embedder}
    whole = read_video(model, clip, tmp_path / "whole", **given)
    for index in (47, 121):
        with pytest.raises(Stopped):
            read_video(model, clip, tmp_path / "parts", **given, progress=stop_at(index))
        assert not (tmp_path / "parts/timeline.csv").exists()
    looked = []
    parts = read_video(model, clip, tmp_path / "parts", **given, progress=noting(looked))
    assert looked[0] == (0 if seconds else pytest.approx(121, abs=6))
    for name in ("timeline.csv", "timeline.parquet"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()
    assert parts.people == whole.people
    assert not (tmp_path / "parts/.reading").exists()


def test_other_settings_begin_anew(clip, model, tmp_path, monkeypatch):
    monkeypatch.setattr(video, "_CHECKPOINT_SECONDS", 0.0)
    with pytest.raises(Stopped):
        read_video(model, clip, tmp_path, progress=stop_at(100))
    other = tmp_path / "kept"
    shutil.copytree(tmp_path / ".reading", other / ".reading")
    looked = []
    read_video(model, clip, tmp_path, settings=VideoSettings(every=2), plot=False, progress=noting(looked))
    assert looked == list(range(0, 180, 2))
    # The smoothing comes after the reading, and so may change.
    looked.clear()
    read_video(model, clip, other, settings=VideoSettings(window=3), plot=False, progress=noting(looked))
    assert looked[0] > 90


def test_what_a_stop_left_half_written_is_cut_off(clip, model, tmp_path, monkeypatch):
    monkeypatch.setattr(video, "_CHECKPOINT_SECONDS", 0.0)
    read_video(model, clip, tmp_path / "whole", tables=("csv",), plot=False)
    with pytest.raises(Stopped):
        read_video(model, clip, tmp_path / "parts", tables=("csv",), plot=False, progress=stop_at(100))
    with (tmp_path / "parts/.reading/frames.jsonl").open("a") as file:
        file.write('{"i":99,"t":3.3,"f":[[1')
    read_video(model, clip, tmp_path / "parts", tables=("csv",), plot=False)
    assert (tmp_path / "whole/timeline.csv").read_bytes() == (tmp_path / "parts/timeline.csv").read_bytes()


@pytest.mark.parametrize(("kind", "sound", "codec"), [("mp4", "aac", "aac"), ("webm", "opus", "libopus")])
def test_the_marked_video_keeps_frames_and_sound(clip, model, tmp_path, kind, sound, codec):
    read_video(model, clip, tmp_path, annotated=kind, plot=False, settings=VideoSettings(every=3))
    marked = tmp_path / f"annotated.{kind}"
    before, after = list(FrameReader(clip)), list(FrameReader(marked))
    assert len(after) == 180
    np.testing.assert_allclose(
        [frame.position.time for frame in after], [frame.position.time for frame in before], atol=2e-3
    )
    changed = [np.abs(a.rgb.astype(int) - b.rgb).max(2) > 60 for a, b in zip(after, before, strict=True)]
    assert min(mask.sum() for mask in changed) > 20
    with av.open(str(marked)) as file:
        assert file.streams.audio[0].codec_context.name == sound
        heard = sum(frame.samples for frame in file.decode(audio=0))
    assert heard == pytest.approx(6 * 48_000, rel=0.02)
    if kind == "mp4":
        packets = [
            [bytes(packet) for packet in av.open(str(path)).demux(audio=0) if packet.size]
            for path in (clip, marked)
        ]
        assert packets[0] == packets[1]


def test_a_stop_while_marking_costs_no_reading(clip, model, tmp_path):
    def stop(stage, index):
        if (stage, index) == ("marking", 20):
            raise Stopped

    with pytest.raises(Stopped):
        read_video(model, clip, tmp_path, annotated="mp4", plot=False, progress=stop)
    assert sorted(path.name for path in tmp_path.glob("*.*")) == [
        ".reading",
        "model.onnx",
        "timeline.parquet",
    ]
    stages = []
    searches = model.detector.searches
    read_video(model, clip, tmp_path, annotated="mp4", plot=False, progress=lambda s, _: stages.append(s))
    assert stages == ["marking"] * 180
    assert model.detector.searches == searches


def test_numbers_stand_before_emotions_and_choose_colours():
    grey = np.full((200, 300, 3), 128, np.uint8)
    face = Face((100, 60, 180, 150), None, None, {"fear": 1.0}, "fear", 1.0, abstained=False)
    one, four = (np.asarray(annotate(grey, [face], bars=False, numbers=[n])) for n in (1, 4))
    for marked, colour in ((one, COLOURS[0]), (four, COLOURS[3])):
        np.testing.assert_array_equal(marked[100, 100], [int(colour[i : i + 2], 16) for i in (1, 3, 5)])
    plain = np.asarray(annotate(grey, [face], bars=False))
    assert (one != 128).any(2).sum() > (plain != 128).any(2).sum()


def test_memory_does_not_grow_with_the_film(model, tmp_path):
    path = film(tmp_path / "long.mp4", 900, paint=squares)
    model.detector  # noqa: B018
    peaks = []
    tracemalloc.start()
    try:
        for frame in watch(model, path):
            if frame.index in (300, 600, 899):
                peaks.append(tracemalloc.get_traced_memory()[1])
                tracemalloc.reset_peak()
    finally:
        tracemalloc.stop()
    assert max(peaks[1:]) < 1.05 * peaks[0] + 100_000
    assert peaks[0] < 40 * WIDTH * HEIGHT * 3


def test_drawn_faces_are_followed_by_the_real_detector(model_path, tmp_path):
    faces = draw_faces(2, size=96, channels=3, seed=1, frontal=True)
    mattes = faces.mattes.reshape(2, 96, 96, 1) / 255

    def paint(time):
        picture = np.full((200, 320, 3), 90.0)
        for face, x, y in ((0, 20 + 90 * time, 20), (1, 200 - 90 * time, 90)):
            part = picture[y : y + 96, round(x) : round(x) + 96]
            part[:] = faces.images[face] * mattes[face] + part * (1 - mattes[face])
        return picture.astype(np.uint8)

    path = film(tmp_path / "faces.mp4", 60, paint=paint, size=(320, 200))
    tracks = by_track(watch(load(model_path), path))
    assert sorted(tracks) == [1, 2]
    assert min(len(seen) for seen in tracks.values()) >= 54
    for seen in tracks.values():
        steps = np.diff([box[0] for _, box in seen])
        assert np.abs(steps).max() < 12


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"settings": {"every": 0}}, "every"),
        ({"settings": {"every": 2, "fps": 3}}, "instead of"),
        ({"settings": {"fps": 0}}, "fps"),
        ({"settings": {"window": -1}}, "window"),
        ({"settings": {"view": "boredom"}}, "boredom"),
        ({"tables": ("xlsx",)}, "xlsx"),
        ({"annotated": "gif"}, "gif"),
    ],
)
def test_unusable_settings_are_refused(clip, model, tmp_path, given, words):
    def read():
        settings = VideoSettings(**given.get("settings", {}))
        read_video(model, clip, tmp_path / "out", **{**given, "settings": settings})

    with pytest.raises(InputError, match=words):
        read()
    assert not (tmp_path / "out").exists()


def test_crops_are_no_video(clip, model_path, tmp_path):
    with pytest.raises(InputError, match="detector"):
        read_video(load(model_path, detector="none"), clip, tmp_path)
