"""Videos over HTTP: the lines and their numbers, each limit, clients that leave, what stays behind."""

from __future__ import annotations

import io
import itertools
import json
import struct
import tempfile
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.runtime.conftest import make_card, write_model
from tests.runtime.film import HEIGHT, WIDTH, Squares, film, squares

from mien.config import ServeConfig
from mien.runtime.classifier import load
from mien.runtime.video import VideoSettings, read_video, watch

httpx = pytest.importorskip("httpx", reason='needs pip install "mien[serve]" and httpx')
uvicorn = pytest.importorskip("uvicorn", reason='needs pip install "mien[serve]"')
av = pytest.importorskip("av")

from mien.apps.service.app import create_app  # noqa: E402
from mien.apps.service.videos_schema import VideoLine  # noqa: E402

URL = "/v1/predict/video"


class Slow(Squares):
    """Takes its time over each search; `began` is set by the first."""

    def __init__(self):
        super().__init__()
        self.began = threading.Event()

    def detect(self, rgb):
        self.began.set()
        time.sleep(0.05)
        return super().detect(rgb)


@contextmanager
def serving(model, config=None, **options):
    """A client of a real server, whose application is `client.service`'s."""
    app = create_app(model, config, **options)
    server = uvicorn.Server(
        uvicorn.Config(app, port=0, log_level="critical", ws="none", timeout_graceful_shutdown=3)
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            client.service, client.server = app.state.service, server
            yield client
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def model_path(tmp_path_factory):
    return write_model(
        tmp_path_factory.mktemp("model") / "linear.onnx",
        make_card(prior={name: (1 + i) / 36 for i, name in enumerate(make_card().labels)}),
    )


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Six seconds of two squares that cross every other second."""
    return film(tmp_path_factory.mktemp("film") / "two.mp4", 180, paint=squares)


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory):
    return film(tmp_path_factory.mktemp("film") / "long.mkv", 1200, paint=squares)


@pytest.fixture(scope="module")
def client(model_path):
    with serving(load(model_path, detector=Squares())) as client:
        yield client


@pytest.fixture(scope="module")
def slow(model_path):
    with serving(load(model_path, detector=Slow())) as client:
        yield client


@pytest.fixture(autouse=True)
def _nothing_stays(tmp_path, monkeypatch):
    """No file has a name at any time that the test sees, and none is open at its end."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield
    assert list(folder.iterdir()) == []
    wait_until(lambda: nameless(folder) == 0)


def nameless(folder):
    """Open files of this process that once lay in a folder."""
    count = 0
    for link in Path("/proc/self/fd").iterdir():
        try:
            count += str(link.readlink()).startswith(str(folder))
        except OSError:
            continue
    return count


def wait_until(so, seconds=3.0):
    end = time.monotonic() + seconds
    while not so():
        assert time.monotonic() < end
        time.sleep(0.01)


def read(client, content, **query):
    response = client.post(URL, content=content, params=query)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in response.text.splitlines()]


def refused(client, content, status, code, **query):
    response = client.post(URL, content=content, params=query)
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert error["code"] == code
    return error["message"]


def of_type(lines, kind):
    return [line for line in lines if line["type"] == kind]


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


def sound_alone():
    target = io.BytesIO()
    with av.open(target, "w", format="mp4") as file:
        voice = file.add_stream("aac", rate=48_000)
        heard = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.int16), format="s16", layout="stereo")
        heard.rate = 48_000
        file.mux(voice.encode(heard))
        file.mux(voice.encode(None))
    return target.getvalue()


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "invalid"),
        (b"no video at all" * 100, "unsupported_media_type"),
        (bytes(range(256)) * 40, "unsupported_media_type"),
        (b"#EXTM3U\n#EXT-X-TARGETDURATION:6\n#EXTINF:6,\n{clip}\n", "unsupported_media_type"),
        (b"#EXTM3U\n#EXTINF:6,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n", "unsupported_media_type"),
        (b"ffconcat version 1.0\nfile '{clip}'\n", "unsupported_media_type"),
        (b"<?xml version='1.0'?><MPD><BaseURL>{clip}</BaseURL></MPD>", "unsupported_media_type"),
        (b"1\n00:00:00,000 --> 00:00:09,000\n{clip}\n", "unsupported_media_type"),
        (b"v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\n", "unsupported_media_type"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "unsupported_media_type"),
        (sound_alone, "unsupported_media_type"),
    ],
)
def test_what_is_no_video_is_refused(client, clip, content, code):
    content = content() if callable(content) else content.replace(b"{clip}", str(clip).encode())
    message = refused(client, content, 422 if code == "invalid" else 415, code)
    assert message.endswith(".")
    assert "two.mp4" not in message


def test_files_that_are_cut_off(client, clip, long_clip):
    # An mp4 has its index at the end.
    refused(client, clip.read_bytes()[:-3000], 415, "unsupported_media_type")
    lines = read(client, long_clip.read_bytes()[:60_000])
    assert lines[-1]["type"] == "end"
    assert 20 < lines[-1]["frames"] < 400


def test_damaged_files_never_break_the_service(client, clip):
    random = np.random.default_rng(0)
    data = clip.read_bytes()
    ends = set()
    for _ in range(15):
        bad = bytearray(data)
        for place in random.integers(0, len(bad), 40):
            bad[place] = random.integers(256)
        response = client.post(URL, content=bytes(bad))
        assert response.status_code in (200, 413, 415, 422), response.text
        ends.add(json.loads(response.text.splitlines()[-1]).get("type"))
    assert ends <= {None, "end", "error"}
    assert read(client, data)[-1]["frames"] == 60


def boxes_with(data, name, change):
    """An mp4 with the content of each box of a name changed in place."""
    bad, at = bytearray(data), -1
    while (at := data.find(name, at + 1)) >= 0:
        (size,) = struct.unpack_from(">I", data, at - 4)
        bad[at + 4 : at - 4 + size] = change(bytearray(data[at + 4 : at - 4 + size]))
    assert bytes(bad) != data
    return bytes(bad)


@pytest.mark.parametrize(("side", "status"), [(4_000, 413), (30_000, 422), (100_000, 422)])
def test_pictures_that_claim_to_be_huge(client, tmp_path, side, status):
    path = tmp_path / "raw.avi"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("rawvideo", rate=30)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        file.mux(stream.encode(av.VideoFrame.from_ndarray(squares(0), format="rgb24")))
    data = path.read_bytes()
    claimed = data.replace(struct.pack("<II", WIDTH, HEIGHT), struct.pack("<II", side, side))
    assert claimed != data
    with taking_little():
        refused(client, claimed, status, "too_large" if status == 413 else "invalid")


def test_large_pictures_are_refused(client, clip):
    with limited(client, frame_pixels=WIDTH * HEIGHT - 1):
        assert "160 x 96" in refused(client, clip.read_bytes(), 413, "too_large")
    with limited(client, frame_pixels=WIDTH * HEIGHT):
        read(client, clip.read_bytes())


@contextmanager
def taking_little():
    """Fails where this process, with the service in it, took much memory in between."""
    Path("/proc/self/clear_refs").write_text("5")
    before = most_resident()
    yield
    assert most_resident() - before < 200_000


def most_resident():
    """Kilobytes, since it was last cleared."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])


@contextmanager
def limited(client, **limits):
    service, config = client.service, client.service.config
    service.config = replace(config, **limits)
    try:
        yield
    finally:
        service.config = config


def claims(name, *values):
    """Changes a box: its flags, then its first fields."""

    def change(content):
        struct.pack_into(f">{len(values)}I", content, 0, *values)
        return content

    return name, change


@pytest.mark.parametrize("count", [10**6, 5 * 10**7])
def test_a_tiny_file_of_millions_of_frames(client, tmp_path, count):
    """Of one length and one size, so that the claim takes no room in the file."""
    data = film(tmp_path / "ten.mp4", 10, paint=squares).read_bytes()
    boxes = [(b"stts", (0, 1, count, 512)), (b"stsz", (0, 100, count)), (b"stsc", (0, 1, 1, count, 1))]
    for name, values in boxes:
        data = boxes_with(data, *claims(name, *values))
    with taking_little():
        response = client.post(URL, content=data)
    assert response.status_code in (413, 422), response.text


def test_a_tiny_fragment_of_millions_of_frames(client):
    target = io.BytesIO()
    options = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
    with av.open(target, "w", format="mp4", options=options) as file:
        stream = file.add_stream("mpeg4", rate=30)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(10):
            picture = av.VideoFrame.from_ndarray(squares(number / 30), format="rgb24")
            file.mux(stream.encode(picture))
        file.mux(stream.encode(None))
    data = target.getvalue()
    assert read(client, data, fps=0)[-1]["frames"] == 10
    with taking_little():
        refused(client, boxes_with(data, *claims(b"trun", 1, 5 * 10**7)), 415, "unsupported_media_type")


@pytest.mark.parametrize("limits", [{"video_frames": 179}, {"video_seconds": 5.9}])
def test_long_videos_are_refused_by_what_they_say(client, clip, limits):
    with limited(client, **limits):
        assert "limit" in refused(client, clip.read_bytes(), 413, "too_large")


@pytest.mark.parametrize("limits", [{"video_frames": 100}, {"video_seconds": 3.5}])
@pytest.mark.parametrize("fps", [0, 0.1])
def test_and_by_what_they_turn_out_to_hold(client, tmp_path, limits, fps):
    data = unlabelled(tmp_path)
    with limited(client, **limits):
        lines = read(client, data, fps=fps)
    assert lines[0]["seconds"] is None
    assert lines[-1]["type"] == "error"
    assert lines[-1]["error"]["code"] == "too_large"
    assert len(of_type(lines, "frame")) <= 106


def unlabelled(tmp_path):
    """A stream of matroska, as a recorder writes it that cannot go back: without its length."""

    class Pipe(io.RawIOBase):
        def __init__(self):
            super().__init__()
            self.data = b""

        def writable(self):
            return True

        def write(self, data):
            self.data += bytes(data)
            return len(data)

    pipe = Pipe()
    with av.open(pipe, "w", format="matroska", options={"live": "1"}) as file:
        stream = file.add_stream("mpeg4", rate=30)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(180):
            picture = av.VideoFrame.from_ndarray(squares(number / 30), format="rgb24")
            file.mux(stream.encode(picture))
        file.mux(stream.encode(None))
    return pipe.data


def test_a_video_without_a_length_has_progress_too(client, tmp_path):
    lines = read(client, unlabelled(tmp_path), fps=0)
    assert lines[0]["seconds"] is None
    assert lines[-1]["frames"] == 180
    assert of_type(lines, "progress")[-1]["done"] == 1


def test_large_and_slow_uploads_are_refused(client, clip):
    data = clip.read_bytes()
    with limited(client, video_bytes=len(data) - 1):
        refused(client, data, 413, "too_large")

        def without_length():
            yield data[:1000]
            yield data[1000:]

        refused(client, without_length(), 413, "too_large")
    with limited(client, video_bytes=len(data)):
        read(client, data)
    with limited(client, video_upload_seconds=0.2):

        def slowly():
            for start in range(0, 50_000, 1000):
                yield data[start : start + 1000]
                time.sleep(0.05)

        refused(client, slowly(), 408, "too_slow")
    assert client.service.videos == 0


def test_opening_has_a_deadline(client, clip):
    with limited(client, deadline=1e-9):
        assert "opened" in refused(client, clip.read_bytes(), 422, "invalid")


@pytest.mark.parametrize("query", [{"fps": -1}, {"fps": 61}, {"fps": "nan"}, {"threshold": 2}, {"view": "x"}])
def test_parameters_that_do_not_fit(client, clip, query):
    refused(client, clip.read_bytes(), 422, "invalid", **query)


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
