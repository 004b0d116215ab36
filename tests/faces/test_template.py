"""The template that is measured on crops, and the round trip back to it."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mien.card import CropTemplate
from mien.data.synthetic import draw_faces
from mien.errors import InputError
from mien.faces.align import crop_face
from mien.faces.detector import Detections
from mien.faces.mtcnn import MTCNNDetector
from mien.faces.template import DEFAULT_TEMPLATE, measure_template

FER2013 = Path(__file__).parents[3] / "shared" / "data" / "fer2013"


class Says:
    """A detector that finds the eyes at given shares of the picture before padding, or nothing."""

    def __init__(self, eyes):
        self.answers = iter(eyes)

    def detect(self, rgb):
        eyes = next(self.answers)
        if eyes is None:
            return Detections.none()
        side, pad = 192, (len(rgb) - 192) / 2
        points = np.zeros((1, 5, 2), np.float32)
        points[0, :2] = np.array(eyes) * side + pad
        return Detections(np.array([[0, 0, 9, 9]], np.float32), np.ones(1, np.float32), points)


def test_medians_share_and_spread():
    eyes = [((0.3 + d, 0.4), (0.7 + d, 0.4)) for d in (-0.2, -0.1, 0.0, 0.1, 0.2)]
    faces = np.zeros((8, 48, 48, 1), np.uint8)
    template = measure_template(faces, Says([*eyes, None, None, None]))
    assert template == CropTemplate((0.3, 0.4), (0.7, 0.4), detected=0.625, spread=0.25, count=8)


def test_too_few_found_gives_none():
    eyes = ((0.3, 0.4), (0.7, 0.4))
    assert measure_template(np.zeros((8, 48, 48, 3), np.uint8), Says([eyes] * 4 + [None] * 4)) is None
    assert measure_template(np.zeros((30, 48, 48, 3), np.uint8), Says([eyes] * 5 + [None] * 25)) is None
    assert measure_template(np.zeros((0, 48, 48, 3), np.uint8)) is None


def test_a_sample_is_spread_over_all_pictures():
    seen = []

    class Notes:
        def detect(self, rgb):
            seen.append(int(rgb[0, 0, 0]))
            return Detections.none()

    faces = np.repeat(np.arange(100, dtype=np.uint8), 48 * 48).reshape(100, 48, 48, 1)
    assert measure_template(faces, Notes(), limit=4) is None
    assert seen == [0, 33, 66, 99]


def test_other_arrays_are_refused():
    with pytest.raises(InputError):
        measure_template(np.zeros((2, 48, 48), np.uint8))


def test_drawn_faces_give_their_true_eyes():
    faces = draw_faces(24, size=48, channels=1, seed=0, frontal=True)
    template = measure_template(faces.images)
    assert template is not None
    assert template.detected > 0.9
    truth = np.median(faces.landmarks[:, :2], axis=0) / 48
    np.testing.assert_allclose([template.left_eye, template.right_eye], truth, atol=0.02)


@pytest.fixture(scope="module")
def fer_faces():
    if not FER2013.is_dir():
        pytest.skip("FER-2013 is not beside the checkout (shared/data/fer2013)")
    polars = pytest.importorskip("polars", reason="reading FER-2013 needs polars")
    pictures = polars.read_parquet(FER2013 / "fer2013-3.parquet", columns=["png"])["png"][:300]
    return np.stack([np.asarray(Image.open(io.BytesIO(png)).convert("L")) for png in pictures])[..., None]


@pytest.mark.real_faces
def test_fer2013_template(fer_faces, record_testsuite_property):
    template = measure_template(fer_faces)
    assert template is not None
    record_testsuite_property("FER-2013 share detected", template.detected)
    record_testsuite_property("FER-2013 spread", template.spread)
    assert template.detected > 0.8
    assert template.spread < 0.2
    # The default was measured on other pictures of the set.
    np.testing.assert_allclose(
        [template.left_eye, template.right_eye],
        [DEFAULT_TEMPLATE.left_eye, DEFAULT_TEMPLATE.right_eye],
        atol=0.02,
    )


@pytest.mark.real_faces
def test_fer2013_faces_come_back_from_a_frame(fer_faces, record_testsuite_property):
    """Paste a crop whose eyes are known into a larger frame, find and cut it again: where do its eyes lie?"""
    template = measure_template(fer_faces[:100])
    finder, tried, errors = MTCNNDetector(min_face=40), 0, []
    for i, face in enumerate(fer_faces[:60]):
        large = np.asarray(Image.fromarray(face[..., 0]).resize((192, 192), Image.Resampling.BICUBIC))
        alone = finder.detect(np.repeat(np.pad(large, 32, mode="edge")[..., None], 3, axis=2))
        if not len(alone):
            continue
        tried += 1
        known = alone.landmarks[0, :2] - 32
        frame = np.full((480, 640, 3), 110, np.uint8)
        x, y = 40 + 5 * i, 30 + 3 * i
        frame[y : y + 192, x : x + 192] = large[..., None]
        found = finder.detect(frame)
        if not len(found):
            continue
        _, matrix = crop_face(frame, landmarks=found.landmarks[0], template=template, size=48)
        wanted = np.array([template.left_eye, template.right_eye]) * 48
        landed = (known + np.array([x, y])) @ matrix[:, :2].T + matrix[:, 2]
        errors.append(np.hypot(*(landed - wanted).T).mean())
    record_testsuite_property("found again", len(errors) / tried)
    record_testsuite_property("median error in px of 48", float(np.median(errors)))
    assert len(errors) > 0.8 * tried
    assert np.median(errors) < 1.5
