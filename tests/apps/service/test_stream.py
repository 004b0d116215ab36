"""The live stream: settings first, each frame answered once, what is refused, what ends it."""

from __future__ import annotations

import json
import socket
import time
from contextlib import contextmanager

import numpy as np
import pytest
from tests.apps.service.servers import astronaut, encoded, serving
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from mien.config import ServeConfig
from mien.runtime.classifier import load

SETTINGS = {"type": "settings"}


@contextmanager
def streaming(client, settings=SETTINGS):
    with connect(client.stream_url, max_size=None) as stream:
        if settings is not None:
            stream.send(json.dumps(settings))
            assert receive(stream)["type"] == "ready"
        yield stream


def receive(stream) -> dict:
    return json.loads(stream.recv(timeout=20))


def closed(stream) -> tuple[int, str]:
    """How the server ended it."""
    try:
        while True:
            stream.recv(timeout=20)
    except ConnectionClosed as error:
        return error.rcvd.code, error.rcvd.reason


def face_at(x: int) -> bytes:
    sheet = np.full((240, 420, 3), 127, np.uint8)
    sheet[20:220, x : x + 180] = astronaut()[20:220, 130:310]
    return encoded(sheet, quality=90)


@pytest.fixture(autouse=True)
def nothing_stays(request):
    yield
    if "shared_server" in request.fixturenames:
        request.getfixturevalue("shared_server").idle()


def test_ready_names_the_limits_and_the_classes(shared_server, bundled):
    with connect(shared_server.stream_url) as stream:
        for view in ("all", "7"):
            stream.send(json.dumps({"type": "settings", "view": view}))
            assert receive(stream) == {
                "type": "ready",
                "version": "v1",
                "in_flight": 2,
                "labels": list(bundled.card.view(view)),
            }


def test_a_frame_is_read_as_the_model_reads_it_with_the_settings_of_the_moment(shared_server, bundled):
    content = face_at(100)
    with streaming(shared_server) as stream:
        for seq, asked in enumerate([{}, {"view": "7", "prior": "uniform"}, {"threshold": 1.0}, {}]):
            stream.send(json.dumps({**SETTINGS, **asked}))
            assert receive(stream)["type"] == "ready"
            stream.send(content)
            answer = receive(stream)
            assert (answer["type"], answer["seq"]) == ("frame", seq)
            assert (answer["width"], answer["height"]) == (420, 240)
            assert min(answer["milliseconds"].values()) >= 0
            (face,) = answer["faces"]
            wanted = bundled.read(
                content, prior=asked.get("prior", "training"), view=asked.get("view", "all")
            )[0]
            assert list(face["probabilities"]) == list(wanted.probabilities)
            # A face that is followed is looked for around its place, and found a little beside it.
            np.testing.assert_allclose(face["box"], wanted.box, atol=8)
            assert face["confidence"] == pytest.approx(wanted.confidence, abs=1e-5 if seq == 0 else 0.3)
            assert face["abstained"] is (asked.get("threshold") == 1.0 or wanted.abstained)


def test_a_face_that_moves_keeps_its_number_and_a_second_one_gets_another(shared_server):
    with streaming(shared_server) as stream:
        numbers = set()
        for x in range(0, 120, 10):
            stream.send(face_at(x))
            numbers |= {face["track"] for face in receive(stream)["faces"]}
        assert numbers == {1}
    with streaming(shared_server) as stream:
        stream.send(face_at(0))
        assert [face["track"] for face in receive(stream)["faces"]] == [1]


def test_a_client_that_does_not_wait_gets_an_answer_for_each_frame_all_the_same(shared_server):
    frames = [face_at(10 * i) for i in range(4)]
    with streaming(shared_server) as stream:
        for i in range(40):
            stream.send(frames[i % 4] if i % 10 != 5 else b"no picture")
        answers = [receive(stream) for _ in range(40)]
        assert sorted(one["seq"] for one in answers) == list(range(40))
        kinds = {one["type"] for one in answers}
        assert {"frame", "dropped"} <= kinds <= {"frame", "dropped", "error"}
        read = [one["seq"] for one in answers if one["type"] != "dropped"]
        assert read == sorted(read)
        # The newest is never dropped.
        assert 39 in read
        with pytest.raises(TimeoutError):
            stream.recv(timeout=0.3)
        stream.send(frames[0])
        assert receive(stream)["seq"] == 40


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (b"", "invalid"),
        (b"no picture", "unsupported_media_type"),
        (face_at(0)[:3000], "invalid"),
        (encoded(np.zeros((3000, 3000, 3), np.uint8), "PNG"), "too_large"),
    ],
    ids=["empty", "text", "cut off", "many pixels"],
)
def test_a_bad_frame_is_answered_and_the_stream_goes_on(shared_server, frame, code):
    with streaming(shared_server) as stream:
        stream.send(frame)
        answer = receive(stream)
        assert (answer["type"], answer["seq"], answer["error"]["code"]) == ("error", 0, code)
        stream.send(face_at(0))
        answer = receive(stream)
        assert (answer["type"], answer["seq"], len(answer["faces"])) == ("frame", 1, 1)


BAD_TEXTS = {
    "no json": "settings",
    "empty": "",
    "a list": "[]",
    "no type": "{}",
    "other type": '{"type": "frame"}',
    "unknown view": '{"type": "settings", "view": "9"}',
    "a view of two-byte letters": json.dumps({**SETTINGS, "view": "ä" * 100}, ensure_ascii=False),
    "half a surrogate": '{"type": "settings", "view": "\\ud800"}',
    "long view": json.dumps({**SETTINGS, "view": "x" * 101}),
    "unknown prior": '{"type": "settings", "prior": "even"}',
    "threshold above 1": '{"type": "settings", "threshold": 1.5}',
    "threshold NaN": '{"type": "settings", "threshold": NaN}',
    "unknown field": '{"type": "settings", "x": 1}',
    "too long": json.dumps(SETTINGS) + " " * 2000,
    "deep": "[" * 1990,
}


@pytest.mark.parametrize("text", BAD_TEXTS.values(), ids=BAD_TEXTS.keys())
@pytest.mark.parametrize("first", [True, False])
def test_a_text_that_does_not_fit_ends_the_stream(shared_server, text, first, caplog):
    with streaming(shared_server, None if first else SETTINGS) as stream:
        stream.send(text)
        code, reason = closed(stream)
        assert code == 1008
        assert reason
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_frames_before_the_settings_end_the_stream(shared_server):
    with streaming(shared_server, None) as stream:
        stream.send(face_at(0))
        assert closed(stream) == (1008, "the first message must be the settings")


@pytest.mark.parametrize("more", [1, 2, 1_000_000])
def test_a_frame_that_is_too_big_ends_the_stream(bundled, more):
    with serving(bundled, ServeConfig(workers=1, frame_bytes=20_000)) as client:
        with streaming(client) as stream:
            stream.send(face_at(0).ljust(20_000, b"\0"))
            assert receive(stream)["type"] == "frame"
            stream.send(bytes(20_000 + more))
            assert closed(stream)[0] == 1009
        client.idle()


def test_there_are_no_more_streams_than_allowed_and_one_that_leaves_makes_room(bundled):
    with serving(bundled, ServeConfig(workers=1, streams=2)) as client:
        with streaming(client), streaming(client):
            with streaming(client, None) as third:
                assert closed(third)[0] == 1013
            assert "mien_streams 2.0" in client.get("/metrics").text
        client.idle()
        assert "mien_streams 0.0" in client.get("/metrics").text
        with streaming(client), streaming(client):
            pass


def test_a_client_that_breaks_off_under_way_leaves_nothing(shared_server, caplog):
    for leave in ("close", "break"):
        for _ in range(3):
            with streaming(shared_server) as stream:
                for i in range(6):
                    stream.send(face_at(20 * i))
                if leave == "break":
                    stream.socket.shutdown(socket.SHUT_RDWR)
        shared_server.idle()
    # The client's own library complains of what was done to its socket.
    errors = [record for record in caplog.records if record.levelname == "ERROR"]
    assert not [record for record in errors if record.name != "websockets.client"]
    with streaming(shared_server) as stream:
        stream.send(face_at(0))
        assert receive(stream)["type"] == "frame"


def test_a_late_frame_is_an_error_and_the_stream_goes_on(bundled):
    class Slow:
        wait = 0.6

        def __getattr__(self, name):
            return getattr(bundled.detector, name)

        def detect(self, rgb, **options):
            time.sleep(self.wait)
            return bundled.detector.detect(rgb, **options)

    slow = Slow()
    with serving(load(detector=slow), ServeConfig(workers=2, deadline=0.3)) as client:
        with streaming(client) as stream:
            stream.send(face_at(0))
            assert receive(stream)["error"]["code"] == "late"
            slow.wait = 0
            time.sleep(0.7)
            stream.send(face_at(0))
            assert receive(stream)["type"] == "frame"
        client.idle()


def test_a_server_that_stops_says_so(bundled):
    with serving(bundled, ServeConfig(workers=1)) as client, streaming(client) as stream:
        stream.send(face_at(0))
        assert receive(stream)["type"] == "frame"
        client.server.should_exit = True
        assert closed(stream) == (1001, "the service is being stopped")


def test_while_it_stops_no_stream_begins(bundled):
    with serving(bundled, ServeConfig(workers=1)) as client:
        client.service.engine.stopping = True
        with streaming(client, None) as stream:
            assert closed(stream)[0] == 1001
