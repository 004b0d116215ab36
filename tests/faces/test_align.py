"""Crops put the eyes where the template says, without aliasing, at the picture's edges too."""

import math

import numpy as np
import pytest
from PIL import Image

from mien.card import CropTemplate
from mien.data.synthetic import draw_faces
from mien.errors import InputError
from mien.faces.align import box_transform, crop_face, eye_transform, landmark_transform, warp

TEMPLATE = CropTemplate(left_eye=(0.31, 0.39), right_eye=(0.69, 0.38), detected=1.0, spread=0.0, count=1)
SIZE = 48


def picture_with_eyes(eyes, radius, height=400, width=500):
    """A black picture with a red disc at the left eye and a green one at the right."""
    y, x = np.mgrid[:height, :width] + 0.5
    rgb = np.zeros((height, width, 3), dtype=np.uint8)
    for channel, (ex, ey) in enumerate(eyes):
        rgb[..., channel] = np.rint(255 * np.clip(radius + 0.5 - np.hypot(x - ex, y - ey), 0, 1))
    return rgb


def centre_of(channel):
    weights = channel.astype(np.float64)
    y, x = np.mgrid[: channel.shape[0], : channel.shape[1]] + 0.5
    return np.array([(x * weights).sum(), (y * weights).sum()]) / weights.sum()


@pytest.mark.parametrize("distance", [12, 30, 90, 200])
@pytest.mark.parametrize("angle", [-40, 0, 17])
def test_eyes_land_on_the_template(distance, angle):
    offset = np.array([math.cos(math.radians(angle)), math.sin(math.radians(angle))]) * distance / 2
    middle = np.array([250.3, 200.6])
    eyes = np.stack([middle - offset, middle + offset])
    rgb = picture_with_eyes(eyes, radius=max(3, distance / 8))
    crop, matrix = crop_face(rgb, landmarks=eyes, template=TEMPLATE, size=SIZE)
    assert crop.shape == (SIZE, SIZE, 3)
    assert crop.dtype == np.uint8
    for i, place in enumerate((TEMPLATE.left_eye, TEMPLATE.right_eye)):
        wanted = np.array(place) * SIZE
        np.testing.assert_allclose(matrix @ [*eyes[i], 1], wanted, atol=1e-9)
        assert np.hypot(*(centre_of(crop[..., i]) - wanted)) < 0.25


def test_a_crop_that_is_its_own_template_is_unchanged():
    rgb = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    eyes = np.array([TEMPLATE.left_eye, TEMPLATE.right_eye]) * SIZE
    crop, matrix = crop_face(rgb, landmarks=eyes, template=TEMPLATE, size=SIZE)
    np.testing.assert_allclose(matrix, [[1, 0, 0], [0, 1, 0]], atol=1e-12)
    np.testing.assert_array_equal(crop, rgb)


@pytest.mark.parametrize("enlarged", [2, 4, 7])
def test_a_face_pasted_larger_comes_back_as_it_was(enlarged):
    faces = draw_faces(4, size=SIZE, channels=3, seed=0)
    for face, landmarks in zip(faces.images, faces.landmarks, strict=True):
        eyes = landmarks[:2] / SIZE
        left, right = (tuple(eye.tolist()) for eye in eyes)
        own = CropTemplate(left, right, detected=1.0, spread=0.0, count=1)
        large = Image.fromarray(face).resize((SIZE * enlarged,) * 2, Image.Resampling.BICUBIC)
        frame = np.zeros((480, 640, 3), dtype=np.uint8)
        frame[61 : 61 + SIZE * enlarged, 83 : 83 + SIZE * enlarged] = np.asarray(large)
        crop, _ = crop_face(
            frame, landmarks=landmarks * enlarged + np.array([83, 61]), template=own, size=SIZE
        )
        # Block means of what was pasted are the best there is; the face itself is sharper than both.
        wanted = np.asarray(large.reduce(enlarged)).astype(int)
        error = np.abs(crop - wanted)[1:-1, 1:-1].mean()
        shifted = np.abs(np.roll(crop, 1, axis=1) - wanted)[1:-1, 1:-1].mean()
        assert error < 1
        assert error < shifted / 5


@pytest.mark.parametrize("shrink", [2, 3, 5, 8, 13, 20])
def test_shrinking_does_not_alias(shrink):
    side = SIZE * shrink
    stripes = np.zeros((side, side, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    crop = warp(stripes, np.array([[1 / shrink, 0, 0], [0, 1 / shrink, 0]]), SIZE)
    # Three pixels of two-pixel stripes can at best be one third off.
    assert np.abs(crop[:, 1:-1].astype(int) - 127).max() <= (45 if shrink == 3 else 40)


def test_shrinking_keeps_places():
    rgb = picture_with_eyes([(100, 120), (400, 300)], radius=30)
    for shrink in (3.3, 7.9):
        crop = warp(rgb, np.array([[1 / shrink, 0, 2], [0, 1 / shrink, -3]]), 140)
        for i, place in enumerate([(100, 120), (400, 300)]):
            assert np.hypot(*(centre_of(crop[..., i]) - (np.array(place) / shrink + [2, -3]))) < 0.1


def test_beyond_the_picture_its_edge_is_repeated():
    rgb = np.zeros((20, 20, 3), dtype=np.uint8)
    rgb[:, :10] = (200, 0, 0)
    rgb[:, 10:] = (0, 0, 90)
    crop, _ = crop_face(rgb, box=np.array([-20, -20, 40, 40]), size=SIZE, margin=0)
    assert (crop[:, :23] == (200, 0, 0)).all()
    assert (crop[:, 25:] == (0, 0, 90)).all()


@pytest.mark.parametrize("shift", [(0, 0), (-40, 0), (40, 0), (0, -40), (0, 40), (-200, 0), (0, 200)])
def test_a_crop_beyond_one_edge_is_that_of_a_picture_with_more_of_it(shift):
    rgb = np.random.default_rng(0).integers(0, 256, (100, 100, 3), dtype=np.uint8)
    wider = np.pad(rgb, ((300, 300), (300, 300), (0, 0)), mode="edge")
    box = np.array([25, 25, 75, 75]) + np.tile(shift, 2)
    # Sampling places that were rounded elsewhere may tip a value over to the next.
    wanted = crop_face(wider, box=box + 300, size=SIZE)[0].astype(int)
    np.testing.assert_allclose(crop_face(rgb, box=box, size=SIZE)[0], wanted, atol=1)


def test_a_box_crop_is_the_square_with_its_margin():
    matrix = box_transform(np.array([10, 20, 50, 100]), 48, margin=0.1)
    np.testing.assert_allclose(matrix @ [30 - 48, 60 - 48, 1], [0, 0], atol=1e-12)
    np.testing.assert_allclose(matrix @ [30 + 48, 60 + 48, 1], [48, 48], atol=1e-12)


def test_a_profile_is_cut_by_its_box():
    rgb = np.zeros((100, 100, 3), dtype=np.uint8)
    box = np.array([20.0, 20.0, 70.0, 80.0])
    eyes = np.array([[30.0, 40.0], [34.0, 40.0]])
    _, matrix = crop_face(rgb, landmarks=eyes, box=box, template=TEMPLATE, size=SIZE)
    np.testing.assert_array_equal(matrix, box_transform(box, SIZE))
    _, matrix = crop_face(rgb, landmarks=eyes * 1.0, template=TEMPLATE, size=SIZE)
    np.testing.assert_array_equal(matrix, eye_transform(eyes[0], eyes[1], TEMPLATE, SIZE))


def test_what_cannot_be_cut_is_refused():
    rgb = np.zeros((10, 10, 3), dtype=np.uint8)
    same = np.array([[3.0, 3.0], [3.0, 3.0]])
    with pytest.raises(InputError, match="neither"):
        crop_face(rgb, landmarks=same, size=SIZE)
    with pytest.raises(InputError, match="neither"):
        crop_face(rgb, landmarks=same, template=TEMPLATE, size=SIZE)
    with pytest.raises(InputError, match="one place"):
        eye_transform(same[0], same[1], TEMPLATE, SIZE)
    with pytest.raises(InputError, match="area"):
        crop_face(rgb, box=np.array([3, 3, 3, 3]), size=SIZE)
    with pytest.raises(InputError, match="area"):
        crop_face(rgb, box=np.array([3, 3, np.nan, 3]), size=SIZE)


def test_points_that_fit_are_taken_to_their_places():
    draw = np.random.default_rng(0)
    points = draw.uniform(0, 200, (5, 2))
    turn = np.array([[0.6, -0.3], [0.3, 0.6]])
    places = points @ turn.T + (7, -20)
    np.testing.assert_allclose(landmark_transform(points, places), np.column_stack([turn, (7, -20)]))
    np.testing.assert_allclose(
        landmark_transform(points[:2], places[:2]), np.column_stack([turn, (7, -20)]), atol=1e-9
    )


def test_points_that_do_not_fit_are_taken_as_near_as_a_similarity_can():
    draw = np.random.default_rng(1)
    points, places = draw.uniform(0, 200, (5, 2)), draw.uniform(0, 112, (5, 2))
    # The same least squares as a linear system in a, b, x, y of [[a, -b, x], [b, a, y]].
    rows_x = np.column_stack([points[:, 0], -points[:, 1], np.ones(5), np.zeros(5)])
    rows_y = np.column_stack([points[:, 1], points[:, 0], np.zeros(5), np.ones(5)])
    a, b, x, y = np.linalg.lstsq(
        np.concatenate([rows_x, rows_y]), np.concatenate([places[:, 0], places[:, 1]]), rcond=None
    )[0]
    np.testing.assert_allclose(landmark_transform(points, places), [[a, -b, x], [b, a, y]], atol=1e-8)


@pytest.mark.parametrize("points", [np.full((5, 2), 3.0), np.full((5, 2), np.nan)])
def test_points_that_say_nothing_are_refused(points):
    with pytest.raises(InputError, match="in one place or not known"):
        landmark_transform(points, np.random.default_rng(0).uniform(0, 112, (5, 2)))
