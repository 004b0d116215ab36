import numpy as np
import pytest
from PIL import Image

from mien.card import CropTemplate
from mien.data.synthetic import draw_faces
from mien.errors import InputError
from mien.evaluate.face_corruptions import FACE_CORRUPTIONS, corrupt_face, face_corruptions_for
from mien.faces.template import DEFAULT_TEMPLATE

DRAWN = draw_faces(40, size=96, channels=3, seed=4)


def _covered(name: str) -> np.ndarray:
    """Which pixels of DRAWN a corruption changes, placed by the landmarks; bool [N, H, W]."""
    black, white = (np.full_like(DRAWN.images, level) for level in (0, 255))
    after = (corrupt_face(faces, name, landmarks=DRAWN.landmarks) for faces in (black, white))
    # A pixel that is wholly covered is the same whatever was below.
    return np.equal(*after).all(-1)


def _at(mask: np.ndarray, points: np.ndarray) -> np.ndarray:
    x, y = np.clip(np.rint(points - 0.5).astype(int), 0, mask.shape[1] - 1).transpose(2, 0, 1)
    return mask[np.arange(len(mask))[:, None], y, x]


def test_the_mask_hides_mouth_and_nose_and_leaves_the_eyes() -> None:
    mask = _covered("mouth_mask")
    assert _at(mask, DRAWN.landmarks[:, 3:]).all()
    assert _at(mask, DRAWN.landmarks[:, 2:3]).mean() > 0.9
    assert not _at(mask, DRAWN.landmarks[:, :2]).any()
    assert 0.1 < mask.mean() < 0.5


def test_sunglasses_hide_the_eyes_and_leave_the_mouth() -> None:
    mask = _covered("sunglasses")
    assert _at(mask, DRAWN.landmarks[:, :2]).all()
    assert not _at(mask, DRAWN.landmarks[:, 3:]).any()
    assert not _at(mask, DRAWN.landmarks[:, 2:3]).any()
    assert 0.03 < mask.mean() < 0.25


def test_halves_are_those_of_the_picture_and_make_a_whole() -> None:
    left, right = _covered("left_half"), _covered("right_half")
    assert _at(left, DRAWN.landmarks[:, [0, 3]]).all()
    assert not _at(left, DRAWN.landmarks[:, [1, 4]]).any()
    assert not (left & right).any()
    # Only the seam belongs to neither.
    assert (left | right).mean() > 0.96


def test_the_template_places_objects_where_there_are_no_landmarks() -> None:
    template = CropTemplate(left_eye=(0.2, 0.6), right_eye=(0.5, 0.6), detected=1, spread=0, count=1)
    white = np.full((2, 48, 48, 1), 255, np.uint8)
    for place in (template, DEFAULT_TEMPLATE, None):
        glasses = corrupt_face(white, "sunglasses", template=place)
        used = place or DEFAULT_TEMPLATE
        for x, y in (used.left_eye, used.right_eye):
            assert glasses[:, int(y * 48), int(x * 48), 0].max() < 30
        dark = np.argwhere(glasses[0, ..., 0] < 100).mean(0) / 48
        middle = np.add(used.left_eye, used.right_eye) / 2
        assert dark == pytest.approx(middle[::-1], abs=0.05)
    # Landmarks come first; a row without them takes the template.
    landmarks = np.full((2, 5, 2), np.nan)
    landmarks[0] = [[30, 10], [42, 10], [36, 18], [31, 24], [41, 24]]
    placed = corrupt_face(white, "sunglasses", template=template, landmarks=landmarks)
    assert placed[0, 10, 30, 0] < 30
    assert np.array_equal(placed[1], corrupt_face(white, "sunglasses", template=template)[1])


def test_landmarks_at_the_templates_place_change_nothing() -> None:
    white = np.full((1, 96, 96, 1), 255, np.uint8)
    template = CropTemplate(left_eye=(0.3, 0.4), right_eye=(0.7, 0.4), detected=1, spread=0, count=1)
    eyes = np.array([[0.3, 0.4], [0.7, 0.4]])
    # A mouth is 1.1 distances between the eyes below them, and a nose takes no part.
    rest = np.array([[np.nan, np.nan], [0.35, 0.4 + 0.4 * 1.1], [0.65, 0.4 + 0.4 * 1.1]])
    landmarks = np.concatenate([eyes, rest])[None] * 96
    for name in ("mouth_mask", "sunglasses", "left_half"):
        placed = corrupt_face(white, name, template=template)
        assert np.array_equal(placed, corrupt_face(white, name, landmarks=landmarks)), name
    mask = corrupt_face(white, "mouth_mask", template=template)[0, ..., 0] < 255
    assert mask[int(0.84 * 96), 48]
    assert not mask[: int(0.4 * 96)].any()


def test_objects_tilt_with_the_face() -> None:
    white = np.full((1, 96, 96, 1), 255, np.uint8)
    upright = np.array([[[36, 40], [60, 40], [48, 54], [38, 66], [58, 66]]], float)
    # A quarter turn clockwise about the picture's middle: x, y to 96 - y, x.
    turned = np.stack([96 - upright[..., 1], upright[..., 0]], -1)
    for name in ("mouth_mask", "sunglasses", "left_half"):
        straight = corrupt_face(white, name, landmarks=upright)
        assert (
            np.abs(
                corrupt_face(white, name, landmarks=turned)[0].astype(int) - np.rot90(straight[0], -1)
            ).max()
            <= 40
        ), name


def test_low_resolution_is_a_resize_there_and_back() -> None:
    grey = DRAWN.images[:3, ..., :1]
    errors = []
    for side in (24, 16, 12):
        low = corrupt_face(grey, f"low_resolution_{side}")
        filter_ = Image.Resampling.BILINEAR
        again = Image.fromarray(grey[1, ..., 0]).resize((side, side), filter_).resize((96, 96), filter_)
        assert np.array_equal(low[1, ..., 0], np.asarray(again))
        errors.append(np.abs(low.astype(int) - grey).mean())
    assert errors == sorted(errors)


def test_grey_has_the_luma_in_all_channels() -> None:
    grey = corrupt_face(DRAWN.images[:2], "grey")
    expected = np.asarray(Image.fromarray(DRAWN.images[1]).convert("L"))
    assert all(np.array_equal(grey[1, ..., channel], expected) for channel in range(3))


def test_which_of_them_change_such_faces() -> None:
    assert face_corruptions_for((5, 96, 96, 3)) == FACE_CORRUPTIONS
    small = face_corruptions_for((5, 24, 32, 1))
    assert "grey" not in small
    assert "low_resolution_24" not in small
    assert "low_resolution_16" in small


def test_one_channel_and_three_agree_on_grey_faces() -> None:
    grey = DRAWN.images[:2, ..., :1]
    for name in ("mouth_mask", "sunglasses", "right_half"):
        one = corrupt_face(grey, name).astype(int)
        three = corrupt_face(np.repeat(grey, 3, 3), name)
        luma = np.stack([np.asarray(Image.fromarray(face).convert("L")) for face in three])
        assert np.abs(one[..., 0] - luma).max() <= 1


def test_what_cannot_be_done_is_refused() -> None:
    with pytest.raises(InputError, match="face corruption 'beard' is not one of mouth_mask"):
        corrupt_face(DRAWN.images, "beard")
    with pytest.raises(InputError, match=r"landmarks must be \[40,5,2\]"):
        corrupt_face(DRAWN.images, "sunglasses", landmarks=DRAWN.landmarks[:3])
    with pytest.raises(InputError, match="faces of 16 px do not lose pixels at 24 px"):
        corrupt_face(DRAWN.images[:, :16, :16], "low_resolution_24")
    with pytest.raises(InputError, match="faces must be uint8"):
        corrupt_face(DRAWN.images[0], "sunglasses")
    assert corrupt_face(DRAWN.images[:0], "sunglasses").shape == (0, 96, 96, 3)
