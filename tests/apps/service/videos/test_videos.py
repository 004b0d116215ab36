"""Videos over HTTP: the lines and their numbers, clients that leave, what stays behind."""

from __future__ import annotations

import itertools
import json
import threading
import time

import av
import numpy as np
import pytest
from tests.apps.service.videos.conftest import (
    URL,
    Slow,
    nameless,
    of_type,
    read,
    serving,
    unlabelled,
    wait_until,
)
from tests.runtime.film import HEIGHT, WIDTH, Squares, film, squares

from mien.apps.service.videos_schema import VideoLine
from mien.config import ServeConfig
from mien.runtime.classifier import load
from mien.runtime.video import VideoSettings, read_video, watch


@pytest.mark.parametrize(
    ("query", "settings"),
    [
        ({}, VideoSettings(fps=10)),
        ({"fps": 0}, VideoSettings()),
        ({"fps": 7, "prior": "uniform", "view": "7"}, VideoSettings(fps=7, prior="uniform", view="7")),
    ],
)
def test_the_lines_say_what_the_runtime_says(client, clip, query, settings):
    lines = read(client, clip.read_bytes(), **query)
    expected = list(watch(client.service.model, clip, settings=settings))
    frames = of_type(lines, "frame")
    assert [(one["index"], one["time"]) for one in frames] == [(one.index, one.time) for one in expected]
    card = client.service.model.card
    for line, seen in zip(frames, expected, strict=True):
        assert [face["track"] for face in line["faces"]] == [face.track for face in seen.faces]
        for face, sighting in zip(line["faces"], seen.faces, strict=True):
            np.testing.assert_allclose(face["box"], sighting.box, atol=0.006)
            shares = dict(zip(card.labels, sighting.probabilities, strict=True))
            assert set(face["probabilities"]) == set(card.view(settings.view))
            for label, share in face["probabilities"].items():
                assert share == pytest.approx(shares[label], abs=1e-6)
            assert face["confidence"] == max(face["probabilities"].values())
            assert face["probabilities"][face["emotion"]] == face["confidence"]


def test_start_progress_and_end(client, clip, tmp_path):
    lines = read(client, clip.read_bytes())
    start, end = lines[0], lines[-1]
    assert start.pop("model")["name"] == "linear"
    assert start == {
        **{"type": "start", "version": "v1", "width": WIDTH, "height": HEIGHT},
        **{"fps": 30.0, "seconds": pytest.approx(6), "frames": 180},
    }
    progress = [line["done"] for line in of_type(lines, "progress")]
    assert progress == sorted(progress)
    assert progress[-1] == 1
    settings = VideoSettings(fps=10, window=0)
    whole = read_video(client.service.model, clip, tmp_path / "out", settings=settings, tables=(), plot=False)
    assert end["type"] == "end"
    assert (end["frames"], end["seconds"], end["tracks"]) == (60, whole.seconds, len(whole.people))
    summary = end["summary"]
    assert summary["without_face"] == whole.without_face.to_dict()
    assert summary["damaged"] == whole.damaged == 0
    for told, person in zip(summary["tracks"], whole.people, strict=True):
        assert (told["track"], told["first"], told["last"]) == (person.number, person.first, person.last)
        assert told["frames"] == person.frames
        assert told["shares"] == {name: share.to_dict() for name, share in person.shares.items()}


def test_progress_comes_while_the_work_goes_on(slow, long_clip):
    came = []
    with slow.stream("POST", URL, content=long_clip.read_bytes(), params={"fps": 0}) as response:
        for line in response.iter_lines():
            one = json.loads(line)
            if one["type"] == "progress":
                came.append((time.monotonic(), one["done"]))
            if len(came) == 3:
                break
    assert max(b[0] - a[0] for a, b in itertools.pairwise(came)) < 1.5
    assert 0 < came[0][1] < came[1][1] < came[2][1] < 1


def test_the_threshold_replaces_the_models_own(client, clip):
    def faces(**query):
        frames = of_type(read(client, clip.read_bytes(), **query), "frame")
        return [face for line in frames for face in line["faces"]]

    given = faces()
    assert {face["abstained"] for face in given} == {False}
    middle = float(np.median([face["confidence"] for face in given])) + 1e-4
    asked = faces(threshold=middle)
    assert {face["abstained"] for face in asked} == {True, False}
    assert all(face["abstained"] == (face["confidence"] < middle) for face in asked)


def test_every_line_fits_its_description(client, clip):
    from pydantic import TypeAdapter

    adapter = TypeAdapter(VideoLine)
    for line in read(client, clip.read_bytes()):
        adapter.validate_python(line)
    described = client.get("/openapi.json").json()
    answer = described["paths"][URL]["post"]["responses"]["200"]["content"]
    assert set(answer) == {"application/x-ndjson"}
    assert {"VideoStart", "VideoEnd", "VideoError"} <= set(described["components"]["schemas"])


def test_a_form_and_names_full_of_tricks(client, clip):
    whole = read(client, clip.read_bytes())
    for name, kind in (("../../etc/passwd", "text/plain"), ("a.m3u8", "application/vnd.apple.mpegurl")):
        response = client.post(URL, files={"files": (name, clip.read_bytes(), kind)})
        assert [json.loads(line) for line in response.text.splitlines()][-1] == whole[-1]
    response = client.post(URL, files=[("files", clip.read_bytes()), ("files", clip.read_bytes())])
    assert response.status_code == 413


@pytest.mark.parametrize("name", ["a.webm", "a.avi", "a.ts", "a.mov", "a.mkv"])
def test_containers(client, tmp_path, name):
    codec = "libvpx" if name == "a.webm" else "mpeg4"
    with av.open(str(tmp_path / name), "w") as file:
        stream = file.add_stream(codec, rate=30)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(20):
            picture = av.VideoFrame.from_ndarray(squares(number / 30), format="rgb24")
            file.mux(stream.encode(picture))
        file.mux(stream.encode(None))
    lines = read(client, (tmp_path / name).read_bytes(), fps=0)
    assert lines[-1]["frames"] == 20
    assert {len(line["faces"]) for line in of_type(lines, "frame")} == {2}


def test_a_video_without_a_length_has_progress_too(client, tmp_path):
    lines = read(client, unlabelled(tmp_path), fps=0)
    assert lines[0]["seconds"] is None
    assert lines[-1]["frames"] == 180
    assert of_type(lines, "progress")[-1]["done"] == 1


def test_one_video_at_a_time(slow, clip, long_clip):
    with slow.stream("POST", URL, content=long_clip.read_bytes(), params={"fps": 0}) as response:
        next(response.iter_lines())
        second = slow.post(URL, content=clip.read_bytes())
        assert second.status_code == 429
        assert second.json()["error"]["code"] == "busy"
        assert int(second.headers["retry-after"]) > 0
    wait_until(lambda: slow.service.videos == 0, 1.0)
    assert read(slow, clip.read_bytes(), fps=1)[-1]["type"] == "end"


def test_leaving_ends_the_work(slow, long_clip, tmp_path):
    with slow.stream("POST", URL, content=long_clip.read_bytes(), params={"fps": 0}) as response:
        next(response.iter_lines())
        assert nameless(tmp_path / "temporary") == 1
        assert list((tmp_path / "temporary").iterdir()) == []
        assert [thread.name for thread in threading.enumerate()].count("mien-video") == 1
    wait_until(lambda: slow.service.videos == 0, 1.0)
    assert "mien-video" not in [thread.name for thread in threading.enumerate()]
    assert nameless(tmp_path / "temporary") == 0


def test_a_slow_client_slows_the_reading(client, long_clip, monkeypatch):
    """Nobody reads: the socket's buffers fill, then the queue, then the thread waits, then it gives up."""
    from mien.apps.service import videos

    monkeypatch.setattr(videos, "_STALLED_SECONDS", 0.5)
    data = long_clip.read_bytes()
    lines = 0
    original = videos._Work._tell

    def counted(work, item):
        nonlocal lines
        lines += 1
        # A line of a crowd, so that the buffers of the sockets are soon full.
        original(work, item[:-1] + b" " * 50_000 + b"\n" if isinstance(item, bytes) else item)

    monkeypatch.setattr(videos._Work, "_tell", counted)
    with client.stream("POST", URL, content=data, params={"fps": 0}) as response:
        next(response.iter_raw())
        wait_until(lambda: client.service.videos == 0, 8.0)
    assert lines < 1200


def test_stopping_ends_it_with_a_line(model_path, long_clip):
    with (
        serving(load(model_path, detector=Slow())) as client,
        client.stream("POST", URL, content=long_clip.read_bytes(), params={"fps": 0}) as response,
    ):
        lines = response.iter_lines()
        next(lines)
        client.service.engine.stopping = True
        began = time.monotonic()
        last = json.loads(list(lines)[-1])
        assert time.monotonic() - began < 1.5
        assert (last["type"], last["error"]["code"]) == ("error", "stopping")
        again = client.post(URL, content=b"x")
        assert (again.status_code, again.json()["error"]["code"]) == (503, "stopping")


def test_a_fault_of_ours_is_said_to_be_one(model_path, clip):
    class Broken(Squares):
        def detect(self, rgb):
            if self.searches == 3:
                raise RuntimeError("a secret")
            return super().detect(rgb)

    with serving(load(model_path, detector=Broken())) as client:
        response = client.post(URL, content=clip.read_bytes())
        last = json.loads(response.text.splitlines()[-1])
        assert last["error"]["code"] == "internal"
        assert "secret" not in response.text
        wait_until(lambda: client.service.videos == 0)


def test_the_bundled_model_on_a_photograph_that_moves(tmp_path):
    data = pytest.importorskip("skimage.data")
    picture = data.astronaut()

    def moved(seconds):
        left = 120 - round(20 * seconds)
        return np.ascontiguousarray(picture[20:260, left : left + 240])

    path = film(tmp_path / "astronaut.mp4", 60, paint=moved, size=(240, 240))
    with serving(load(), ServeConfig(frame_pixels=240 * 240)) as client:
        lines = read(client, path.read_bytes())
    frames = of_type(lines, "frame")
    assert len(frames) == 20
    assert [[face["track"] for face in line["faces"]] for line in frames] == [[1]] * 20
    lefts = [line["faces"][0]["box"][0] for line in frames]
    np.testing.assert_allclose(np.polyfit([line["time"] for line in frames], lefts, 1)[0], 20, atol=6)
