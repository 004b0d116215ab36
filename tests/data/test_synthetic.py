"""Drawn faces: what is promised of arrays, identities, expressions and difficulty holds."""

from dataclasses import fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from mien.data.synthetic import ACTION_UNITS, PROTOTYPES, DrawnFaces, draw_faces, paste_faces
from mien.faces.mtcnn import MTCNNDetector
from mien.labels import EMOTIONS


def _one(faces: DrawnFaces, index: int) -> DrawnFaces:
    return DrawnFaces(*(getattr(faces, field.name)[index : index + 1] for field in fields(faces)))


def _unit(faces: DrawnFaces, unit: int) -> npt.NDArray[np.float32]:
    return faces.action_units[:, ACTION_UNITS.index(unit)]


def _drawn_as(emotion: str, **options: Any) -> DrawnFaces:
    return draw_faces(12, seed=4, emotions=[emotion], frontal=True, subjects=12, **options)


@pytest.mark.parametrize("frontal", [False, True])
@pytest.mark.parametrize(("size", "channels"), [(24, 1), (48, 1), (48, 3), (97, 3), (224, 1)])
def test_shapes_dtypes_and_ranges(size: int, channels: int, frontal: bool) -> None:
    faces = draw_faces(20, size=size, channels=channels, seed=1, frontal=frontal)
    assert len(faces) == 20
    assert faces.images.shape == (20, size, size, channels)
    assert faces.images.dtype == np.uint8
    assert faces.mattes.shape == (20, size, size)
    assert faces.mattes.dtype == np.uint8
    assert faces.action_units.shape == (20, len(ACTION_UNITS))
    assert faces.boxes.shape == (20, 4)
    assert faces.landmarks.shape == (20, 5, 2)
    for name in ("labels", "clean_labels", "subjects"):
        assert getattr(faces, name).dtype == np.int64
        assert getattr(faces, name).shape == (20,)
    for name in ("action_units", "boxes", "landmarks", "valence", "arousal"):
        assert getattr(faces, name).dtype == np.float32
    assert faces.action_units.min() >= 0
    assert faces.action_units.max() <= 1
    assert np.abs(faces.valence).max() <= 1
    assert np.abs(faces.arousal).max() <= 1
    assert faces.images.std(axis=(1, 2, 3)).min() > 8


def test_the_same_arguments_draw_the_same_faces_and_another_seed_draws_others() -> None:
    first, again, other = (draw_faces(40, seed=seed, label_noise=0.3) for seed in (5, 5, 6))
    for field in fields(DrawnFaces):
        np.testing.assert_array_equal(getattr(first, field.name), getattr(again, field.name))
    assert (first.images != other.images).mean() > 0.5


def test_grey_and_colour_show_the_same_heads() -> None:
    grey, colour = draw_faces(10, seed=2), draw_faces(10, seed=2, channels=3)
    np.testing.assert_array_equal(grey.landmarks, colour.landmarks)
    np.testing.assert_array_equal(grey.clean_labels, colour.clean_labels)


@pytest.mark.parametrize("frontal", [False, True])
def test_landmarks_lie_inside_the_box_and_in_order(frontal: bool) -> None:
    faces = draw_faces(1500, size=24, seed=3, frontal=frontal)
    boxes, points = faces.boxes, faces.landmarks
    assert boxes.min() >= 0
    assert boxes.max() <= 24
    assert (points >= boxes[:, None, :2]).all()
    assert (points <= boxes[:, None, 2:]).all()
    left_eye, right_eye, nose, left_mouth, right_mouth = points.transpose(1, 0, 2)
    assert (left_eye[:, 0] < right_eye[:, 0]).all()
    assert (left_mouth[:, 0] < right_mouth[:, 0]).all()
    eyes, mouth = (left_eye + right_eye) / 2, (left_mouth + right_mouth) / 2
    assert (eyes[:, 1] < nose[:, 1]).all()
    assert (nose[:, 1] < mouth[:, 1]).all()


def test_eye_landmarks_lie_on_the_dark_of_the_eye() -> None:
    faces = _drawn_as("neutral", size=128)
    for image, points in zip(faces.images[..., 0], np.rint(faces.landmarks).astype(int), strict=True):
        for x, y in points[:2]:
            cheek = np.median(image[y + 12 : y + 20, x - 3 : x + 4])
            assert image[y - 2 : y + 3, x - 2 : x + 3].min() < 0.5 * cheek


def test_label_noise_changes_that_share_of_labels_and_nothing_else() -> None:
    clean, noisy = draw_faces(2000, size=24, seed=7), draw_faces(2000, size=24, seed=7, label_noise=0.25)
    np.testing.assert_array_equal(clean.labels, clean.clean_labels)
    np.testing.assert_array_equal(clean.images, noisy.images)
    np.testing.assert_array_equal(clean.clean_labels, noisy.clean_labels)
    assert np.mean(noisy.labels != noisy.clean_labels) == pytest.approx(0.25, abs=0.03)
    wrong = noisy.labels[noisy.labels != noisy.clean_labels]
    assert np.bincount(wrong, minlength=len(EMOTIONS)).min() > 0.6 * len(wrong) / len(EMOTIONS)


def test_emotions_are_uniform_over_those_asked_for() -> None:
    every = np.bincount(draw_faces(2000, size=24, seed=8).labels, minlength=len(EMOTIONS))
    assert every.min() > 200
    some = draw_faces(60, size=24, seed=8, emotions=["anger", "surprise"])
    assert {EMOTIONS[label] for label in some.labels} == {"anger", "surprise"}


@pytest.mark.parametrize("emotion", EMOTIONS)
def test_full_strength_faces_carry_exactly_their_prototype(emotion: str) -> None:
    faces = _drawn_as(emotion)
    expected = np.array([PROTOTYPES[emotion].get(unit, 0.0) for unit in ACTION_UNITS], dtype=np.float32)
    np.testing.assert_allclose(faces.action_units, np.tile(expected, (12, 1)), atol=1e-6)


def test_varied_faces_keep_the_core_of_their_prototype_and_add_distractors() -> None:
    happy = draw_faces(400, size=24, seed=9, emotions=["happiness"])
    assert _unit(happy, 12).min() > 0.35
    assert _unit(happy, 6).min() > 0.2
    assert 0.05 < np.mean(_unit(happy, 4) > 0) < 0.25
    assert _unit(happy, 4).max() < 0.3


def test_action_units_move_the_mouth_corners() -> None:
    heights = {}
    for emotion in ("neutral", "happiness", "sadness", "contempt", "surprise"):
        faces = _drawn_as(emotion, size=96)
        order = np.argsort(faces.subjects)
        points = faces.landmarks[order]
        roll = points[:, 1] - points[:, 0]
        across = roll / np.linalg.norm(roll, axis=1, keepdims=True)
        down = np.stack([-across[:, 1], across[:, 0]], axis=1)
        middle = (points[:, 0] + points[:, 1]) / 2
        heights[emotion] = np.einsum("nkc,nc->nk", points[:, 3:] - middle[:, None], down)
    neutral = heights["neutral"]
    assert (heights["happiness"].mean(1) < neutral.mean(1) - 1).all()
    assert (heights["sadness"].mean(1) > neutral.mean(1) + 0.5).all()
    assert (heights["surprise"].mean(1) > neutral.mean(1) + 1).all()
    assert (np.abs(heights["contempt"][:, 0] - heights["contempt"][:, 1]) > 1.5).all()
    assert (np.abs(neutral[:, 0] - neutral[:, 1]) < 1).all()


def test_valence_and_arousal_follow_the_circumplex() -> None:
    drawn = {name: _drawn_as(name, size=24) for name in EMOTIONS}
    mean = {name: (faces.valence.mean(), faces.arousal.mean()) for name, faces in drawn.items()}
    assert mean["neutral"] == (0, 0)
    assert mean["happiness"][0] > 0.5
    assert all(mean[name][0] < -0.3 for name in ("anger", "contempt", "disgust", "fear", "sadness"))
    assert abs(mean["surprise"][0]) < 0.3
    assert mean["sadness"][1] < -0.2
    assert all(mean[name][1] > 0.3 for name in ("anger", "fear", "surprise", "happiness"))


def test_number_of_subjects() -> None:
    assert set(draw_faces(95, size=24).subjects) == set(range(9))
    assert set(draw_faces(3, size=24).subjects) == {0}
    assert set(draw_faces(40, size=24, subjects=7).subjects) == set(range(7))


def test_how_a_subject_looks_depends_on_seed_and_number_alone() -> None:
    few = draw_faces(3, size=48, channels=3, seed=11, subjects=3, emotions=["neutral"], frontal=True)
    many = draw_faces(30, size=48, channels=3, seed=11, subjects=10, emotions=["anger"], frontal=True)
    cheek = slice(24, 29), slice(17, 31)
    tone = [
        np.array([f.images[f.subjects == number][0][cheek].mean(axis=(0, 1)) for number in range(3)])
        for f in (few, many)
    ]
    same = np.abs(tone[0] - tone[1]).mean(axis=1)
    assert same.max() < 25
    span = np.linalg.norm(few.landmarks[:, 1] - few.landmarks[:, 0], axis=1)
    assert np.ptp(span) > 0.2


def test_different_subjects_look_different() -> None:
    faces = draw_faces(30, seed=12, subjects=30, emotions=["neutral"], frontal=True)
    pixels = faces.images.reshape(30, -1).astype(np.float32)
    distance = np.abs(pixels[:, None] - pixels[None]).mean(axis=2)
    assert distance[~np.eye(30, dtype=bool)].min() > 6


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"count": 0}, "count must be"),
        ({"size": 8}, "size must be"),
        ({"channels": 2}, "channels must be"),
        ({"seed": -1}, "seed must not"),
        ({"emotions": []}, "emotions must name"),
        ({"emotions": ["joy"]}, "unknown name, 'joy'"),
        ({"label_noise": 1.5}, "label_noise must be"),
        ({"label_noise": float("nan")}, "label_noise must be"),
        ({"subjects": 0}, "subjects must be"),
        ({"subjects": 99}, "subjects must be"),
    ],
)
def test_an_argument_out_of_range_is_refused_in_one_sentence(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as refusal:
        draw_faces(**{"count": 10, **options})
    assert "\n" not in str(refusal.value)


def test_pasted_faces_keep_their_pixels_and_do_not_overlap() -> None:
    faces = draw_faces(6, size=96, channels=3, seed=13, frontal=True)
    frame, boxes, landmarks = paste_faces(faces, seed=1)
    assert frame.shape == (480, 640, 3)
    assert frame.dtype == np.uint8
    np.testing.assert_array_equal(frame, paste_faces(faces, seed=1)[0])
    for index in range(6):
        x, y = np.rint(boxes[index, :2] - faces.boxes[index, :2]).astype(int)
        middle = slice(12, 84)
        person = faces.mattes[index][middle, middle] == 255
        assert person.mean() > 0.3
        pasted, drawn = frame[y:, x:][middle, middle], faces.images[index][middle, middle]
        np.testing.assert_array_equal(pasted[person], drawn[person])
        np.testing.assert_allclose(landmarks[index] - faces.landmarks[index], [[x, y]] * 5, atol=1e-3)


def test_pasting_into_a_background_leaves_it_as_it_was() -> None:
    faces = draw_faces(1, size=64, seed=14, frontal=True)
    background = np.full((100, 90, 3), 77, dtype=np.uint8)
    frame, _, _ = paste_faces(faces, background=background)
    assert frame.shape == (100, 90, 3)
    assert (background == 77).all()
    assert (frame != 77).any()
    with pytest.raises(ValueError, match="background must be"):
        paste_faces(faces, background=background[:, :, 0])
    with pytest.raises(ValueError, match="do not fit"):
        paste_faces(faces, width=60, height=60)


@pytest.mark.parametrize(("size", "channels"), [(96, 1), (96, 3), (160, 1), (160, 3), (240, 3)])
def test_a_face_detector_trained_on_photographs_finds_them(size: int, channels: int) -> None:
    faces = draw_faces(10, size=size, channels=channels, seed=15, frontal=True, subjects=10)
    detector = MTCNNDetector()
    found = 0
    for index in range(10):
        frame, _, landmarks = paste_faces(_one(faces, index), seed=index)
        if channels == 1:
            frame = np.repeat(frame.mean(axis=2, keepdims=True).astype(np.uint8), 3, axis=2)
        points = detector.detect(frame).landmarks
        apart = np.linalg.norm(landmarks[0, 1] - landmarks[0, 0])
        miss = np.linalg.norm(points[:, :2] - landmarks[:, :2], axis=2).max(axis=1)
        found += bool((miss < 0.25 * apart).any())
    assert found >= 9


def test_the_record_is_frozen() -> None:
    faces = draw_faces(2, size=24)
    with pytest.raises(AttributeError):
        faces.labels = faces.clean_labels  # type: ignore[misc]
    assert replace(faces, labels=faces.labels + 1).labels[0] == faces.labels[0] + 1
