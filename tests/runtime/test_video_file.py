"""Frames of video files: some of them, from the middle, turned, damaged; what is refused."""

import contextlib
import io
import shutil

import av
import numpy as np
import pytest
from tests.runtime.film import HEIGHT, RED, WIDTH, Squares, film, squares

from mien.errors import UnreadableVideo
from mien.runtime.classifier import load
from mien.runtime.video import read_video, watch
from mien.runtime.video_file import FrameReader, describe_video


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Six seconds of two squares that cross every other second."""
    return film(tmp_path_factory.mktemp("film") / "two.mp4", 180, paint=squares, sound="aac")


@pytest.fixture
def model(model_path):
    return load(model_path, detector=Squares())


@pytest.mark.parametrize(
    ("given", "indices"),
    [
        ({"every": 7}, range(0, 180, 7)),
        ({"fps": 10}, range(0, 180, 3)),
        ({"fps": 100}, range(180)),
        ({"fps": 0.5}, (0, 60, 120)),
    ],
)
def test_some_frames_only(clip, given, indices):
    assert [frame.position.index for frame in FrameReader(clip, **given)] == list(indices)


@pytest.mark.parametrize("given", [{}, {"every": 4}, {"fps": 7}])
@pytest.mark.parametrize("done", [0, 5, 11])
def test_reading_goes_on_after_a_frame(clip, given, done):
    whole = list(FrameReader(clip, **given))
    rest = list(FrameReader(clip, **given, after=whole[done].position))
    assert [frame.position for frame in rest] == [frame.position for frame in whole[done + 1 :]]
    for a, b in zip(rest[:5], whole[done + 1 :], strict=False):
        np.testing.assert_array_equal(a.rgb, b.rgb)


def test_time_and_size_are_told(clip):
    info = describe_video(clip)
    assert (info.width, info.height, info.rate, info.frames, info.sound) == (WIDTH, HEIGHT, 30.0, 180, True)
    times = [frame.position.time for frame in FrameReader(clip)]
    np.testing.assert_allclose(times, np.arange(180) / 30, atol=1e-4)


@pytest.mark.parametrize(("rotation", "turns"), [(90, 1), (180, 2), (-90, 3)])
def test_phone_videos_are_turned_upright(tmp_path, rotation, turns):
    picture = np.full((64, 96, 3), 30, np.uint8)
    picture[:20, :20] = RED
    path = film(tmp_path / "turned.mp4", 3, paint=lambda _: picture, size=(96, 64), rotation=rotation)
    got = next(iter(FrameReader(path))).rgb
    assert got.shape == np.rot90(picture, turns).shape
    assert np.abs(got.astype(int) - np.rot90(picture, turns)).mean() < 8


def test_damaged_files(clip, model, tmp_path):
    data = clip.read_bytes()
    random = np.random.default_rng(0)
    outcomes = []
    for number in range(12):
        bad = bytearray(data)
        for place in random.integers(len(bad) // 20, len(bad), 30):
            bad[place] = random.integers(256)
        path = tmp_path / f"{number}.mp4"
        path.write_bytes(bad[: len(bad) - 50 * number])
        with contextlib.suppress(UnreadableVideo):
            outcomes.append(len(list(watch(model, path))))
    assert len(outcomes) > 3


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("missing.mp4", None, "no such file"),
        ("empty.mp4", b"", "not a video"),
        ("noise.mp4", bytes(range(256)) * 40, "not a video"),
        ("list.m3u8", b"#EXTM3U\n#EXTINF:6,\ntwo.mp4\n", "not a video"),
        ("two.ffconcat", b"ffconcat version 1.0\nfile two.mp4\n", "not a video"),
    ],
)
def test_what_is_no_video_is_refused(clip, model, tmp_path, name, content, words):
    shutil.copy(clip, tmp_path / "two.mp4")
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UnreadableVideo, match=words) as caught:
        read_video(model, tmp_path / name, tmp_path / "out")
    assert name in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_sound_alone_is_no_video(model, tmp_path):
    with av.open(str(tmp_path / "voice.mp4"), "w") as file:
        voice = file.add_stream("aac", rate=48_000)
        heard = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.int16), format="s16", layout="stereo")
        heard.rate = 48_000
        file.mux(voice.encode(heard))
        file.mux(voice.encode(None))
    with pytest.raises(UnreadableVideo, match="no moving pictures"):
        read_video(model, tmp_path / "voice.mp4", tmp_path / "out")


def test_large_pictures_are_refused(clip):
    reader = FrameReader(clip, max_pixels=WIDTH * HEIGHT - 1)
    with pytest.raises(UnreadableVideo, match="160 x 96") as caught:
        next(iter(reader))
    assert caught.value.reason == "too large"
    assert len(list(FrameReader(clip, max_pixels=WIDTH * HEIGHT))) == 180


def test_an_open_file_is_read_like_its_path(clip):
    with clip.open("rb") as file:
        assert describe_video(file) == describe_video(clip)
        reader = FrameReader(file, fps=10)
        for one, other in zip(reader, FrameReader(clip, fps=10), strict=True):
            assert one.position == other.position
            np.testing.assert_array_equal(one.rgb, other.rgb)
        after = FrameReader(clip).walk()
        position = next(after)[0]
        assert next(iter(FrameReader(file, after=position))).position.index == 1
        assert not file.closed


def test_walking_tells_of_every_frame(clip):
    told = list(FrameReader(clip, fps=10).walk())
    assert [position.index for position, _ in told] == list(range(180))
    assert [position.index for position, frame in told if frame is not None] == list(range(0, 180, 3))


@pytest.mark.parametrize(
    "content", [b"", b"#EXTM3U\n#EXTINF:6,\ntwo.mp4\n", b"ffconcat version 1.0\nfile two.mp4\n"]
)
def test_an_open_file_that_is_no_video_has_no_name(content):
    with pytest.raises(UnreadableVideo, match=r"^the video: this is not a video") as caught:
        describe_video(io.BytesIO(content))
    assert caught.value.reason == "unsupported format"
