"""Videos that are damaged, no videos, or larger than they say: each is refused in a sentence."""

from __future__ import annotations

import io
import json
import struct
import time
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
import pytest
from tests.apps.service.videos.conftest import URL, limited, of_type, read, refused, unlabelled
from tests.runtime.film import HEIGHT, WIDTH, film, squares


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
