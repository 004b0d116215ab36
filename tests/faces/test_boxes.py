"""A user's own boxes: they stay, and the eyes are looked for inside them."""

import numpy as np
import pytest

from mien.data.synthetic import draw_faces, paste_faces
from mien.errors import InputError
from mien.faces.align import crop_face
from mien.faces.boxes import faces_in_boxes, overlap
from mien.faces.detector import Detections
from mien.faces.mtcnn import MTCNNDetector
from mien.faces.template import DEFAULT_TEMPLATE


@pytest.fixture(scope="module")
def detector():
    return MTCNNDetector()


@pytest.fixture(scope="module")
def scene():
    return paste_faces(draw_faces(5, size=96, channels=3, seed=1, frontal=True), seed=1)


def test_boxes_stay_and_get_the_eyes_inside_them(detector, scene):
    frame, boxes, landmarks = scene
    found = faces_in_boxes(frame, boxes[::-1], detector)
    np.testing.assert_array_equal(found.boxes, boxes[::-1].astype(np.float32))
    assert np.isnan(found.scores).all()
    for points, true in zip(found.landmarks, landmarks[::-1], strict=True):
        away = np.hypot(*(points[:2] - true[:2]).T).mean()
        assert away < 0.15 * np.hypot(*(true[1] - true[0]))


def test_without_a_detector_faces_are_cut_by_their_boxes(scene):
    frame, boxes, _ = scene
    found = faces_in_boxes(frame, boxes.tolist(), None)
    assert np.isnan(found.landmarks).all()
    options = {"box": found.boxes[0], "template": DEFAULT_TEMPLATE, "size": 48}
    crop, matrix = crop_face(frame, landmarks=found.landmarks[0], **options)
    expected, by_box = crop_face(frame, box=found.boxes[0], size=48)
    np.testing.assert_array_equal(crop, expected)
    np.testing.assert_array_equal(matrix, by_box)


def test_a_box_without_a_face_has_no_landmarks(detector, scene):
    frame, boxes, _ = scene
    empty = np.full((100, *frame.shape[1:]), 128, np.uint8)
    below = np.concatenate([frame, empty])
    found = faces_in_boxes(below, [[5, len(frame) + 60, 45, len(frame) + 95], boxes[0]], detector)
    assert np.isnan(found.landmarks[0]).all()
    assert not np.isnan(found.landmarks[1]).any()


class Finds:
    """Finds one face in whatever part of a picture it is shown, and remembers the part's size."""

    def __init__(self, box):
        self.box = box
        self.shapes = []

    def detect(self, rgb):
        self.shapes.append(rgb.shape[:2])
        return Detections(
            np.array([self.box], np.float32), np.ones(1, np.float32), np.ones((1, 5, 2), np.float32)
        )


@pytest.mark.parametrize(("box", "taken"), [([20, 20, 60, 60], True), ([50, 20, 90, 60], False)])
def test_a_neighbours_face_is_not_taken(box, taken):
    picture = np.zeros((200, 200, 3), np.uint8)
    detector = Finds(box)
    found = faces_in_boxes(picture, [[100, 100, 140, 140]], detector)
    assert detector.shapes == [(80, 80)]
    # What was found at 20 in the part is at 100 in the picture: the part begins at 80.
    np.testing.assert_array_equal(found.landmarks[0], np.full((5, 2), 81 if taken else np.nan))


def test_the_room_around_a_box_ends_with_the_picture():
    detector = Finds([0, 0, 10, 10])
    faces_in_boxes(np.zeros((50, 70, 3), np.uint8), [[-10, 5, 40, 60]], detector)
    assert detector.shapes == [(50, 68)]


def test_no_boxes_give_no_faces(detector, scene):
    assert len(faces_in_boxes(scene[0], [], detector)) == 0


@pytest.mark.parametrize(
    ("boxes", "words"),
    [
        ([[0, 0, 10]], r"\[N,4\]"),
        ([0, 0, 10, 10], r"\[N,4\]"),
        ([[0, 0, 10, float("nan")]], "no area"),
        ([[10, 10, 10, 20]], "no area"),
        ([[0, 0, 5, 5], [9000, 0, 9010, 10]], "9000, 0, 9010, 10 has no area inside the picture of 60x40"),
        ([[0, 0, "a", 1]], "must be numbers"),
        ([[0, 0, 5, 5], [0, 0]], "must be numbers"),
    ],
)
def test_boxes_that_cannot_be_meant_are_refused(boxes, words):
    with pytest.raises(InputError, match=words):
        faces_in_boxes(np.zeros((40, 60, 3), np.uint8), boxes, None)


def test_overlap_by_hand():
    boxes = np.array([[0.0, 0, 10, 10], [5, 5, 15, 15], [20, 20, 30, 30], [2, 2, 4, 4]])
    np.testing.assert_allclose(overlap(boxes, boxes[0]), [1, 25 / 175, 0, 4 / 100])
