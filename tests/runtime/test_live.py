"""Faces of a live picture: where a search of the whole frame finds them, for less, under steady numbers."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from skimage import data

from mien.faces.detector import Detections
from mien.faces.mtcnn import MTCNNDetector
from mien.runtime.live import SEARCH_SECONDS, LiveFollower


@pytest.fixture(scope="module")
def detector() -> MTCNNDetector:
    return MTCNNDetector()


def frame(*places: tuple[int, int], size: tuple[int, int] = (640, 480)) -> np.ndarray:
    """Grey, with the astronaut's face (about 90 x 115) at each x, y of its middle."""
    face = Image.fromarray(data.astronaut()).crop((130, 0, 320, 230))
    canvas = Image.new("RGB", size, (90, 90, 90))
    for x, y in places:
        canvas.paste(face, (x - 94, y - 115))
    return np.asarray(canvas)


class Counting:
    """A detector that notes how many pixels it was shown."""

    def __init__(self, detector: MTCNNDetector) -> None:
        self._detector = detector
        self.pixels: list[int] = []

    def detect(self, rgb: np.ndarray) -> Detections:
        self.pixels.append(rgb.shape[0] * rgb.shape[1])
        return self._detector.detect(rgb)


def test_a_moving_face_is_where_a_whole_search_finds_it_for_a_fraction(detector):
    counting = Counting(detector)
    follower = LiveFollower(counting)
    full = 0
    for i in range(12):
        rgb = frame((250 + 6 * i, 200 + 3 * i))
        counting.pixels.clear()
        found, tracks = follower.find(rgb, i / 25)
        full += max(counting.pixels) > 150 * 150
        wanted = detector.detect(rgb)
        assert tracks == [1]
        eyes = np.linalg.norm(wanted.landmarks[0, 0] - wanted.landmarks[0, 1])
        assert np.abs(found.landmarks[0] - wanted.landmarks[0]).max() < 0.1 * eyes
    assert full == 1


def test_a_second_face_is_seen_when_the_whole_frame_is_searched_again(detector):
    follower = LiveFollower(detector)
    assert follower.find(frame((160, 240)), 0.0)[1] == [1]
    _, tracks = follower.find(frame((160, 240), (480, 240)), 0.1)
    assert tracks == [1]
    _, tracks = follower.find(frame((160, 240), (480, 240)), 0.1 + SEARCH_SECONDS)
    assert sorted(tracks) == [1, 2]
    found, tracks = follower.find(frame((160, 240), (480, 240)), 0.2 + SEARCH_SECONDS)
    middles = {track: box[::2].mean() for track, box in zip(tracks, found.boxes, strict=True)}
    assert middles[1] < 320 < middles[2]


def test_a_face_that_jumps_or_goes_is_searched_for_at_once(detector):
    follower = LiveFollower(detector)
    follower.find(frame((160, 240)), 0.0)
    found, _ = follower.find(frame((500, 240)), 0.04)
    assert len(found) == 1
    assert 420 < found.boxes[0, ::2].mean() < 560
    found, tracks = follower.find(frame(), 0.08)
    assert (len(found), tracks) == (0, [])


def test_a_face_at_the_edge_and_a_tiny_frame_do_no_harm(detector):
    follower = LiveFollower(detector)
    for i in range(8):
        follower.find(frame((80 - 20 * i, 200)), i / 25)
    found, tracks = follower.find(np.zeros((2, 3, 3), np.uint8), 0.4)
    assert (len(found), tracks) == (0, [])


def test_time_that_goes_back_counts_as_no_time(detector):
    follower = LiveFollower(detector)
    follower.find(frame((160, 240)), 5.0)
    _, tracks = follower.find(frame((166, 240)), 4.0)
    assert tracks == [1]
