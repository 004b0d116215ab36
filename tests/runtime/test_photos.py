"""Photos as people have them: turned by EXIF, halved, doubled. Every face is found, and the runtime cuts it
as the training data was cut."""

import math
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from tests.faces.pictures import PHOTOS

from mien.config import FacesConfig
from mien.data.crop import crop_picture
from mien.data.pack import decode
from mien.errors import InputError
from mien.faces.assets import asset_path
from mien.faces.named import detector_named
from mien.faces.template import DEFAULT_TEMPLATE
from mien.images import load_image
from mien.preprocess import to_input
from mien.runtime.classifier import Model

SIZE = 48
# EXIF orientation to the quarter turns, against the clock, of the stored pixels.
TURNS = {1: 0, 6: 1, 3: 2, 8: 3}


class RecordingModel(Model):
    """Keeps the crops that it classifies."""

    classified: np.ndarray

    def classify(self, crops, **options):
        self.classified = crops.copy()
        return super().classify(crops, **options)


@pytest.fixture(scope="module", params=["mtcnn", "centerface"])
def detector(request):
    if request.param == "centerface":
        try:
            asset_path("centerface")
        except InputError as error:
            pytest.skip(str(error))
    return detector_named(request.param)


@pytest.fixture
def model(tmp_path, detector, writer, card_maker):
    card = card_maker(size=SIZE, channels=1, template=DEFAULT_TEMPLATE)
    return RecordingModel(writer(tmp_path / "model.onnx", card), detector=detector)


def turned(pixels, orientation, path):
    """Store a picture as a phone that was held otherwise does: other pixels, and a note how to turn them."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(np.rot90(pixels, TURNS[orientation])))
    stored.save(path, exif=exif, quality=95, subsampling=0)
    return path


def scaled(pixels, factor):
    width, height = (round(side * factor) for side in pixels.shape[1::-1])
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC))


def again(faces, others):
    """For each face the same one among others: the nearest, not half an eye distance away."""
    middles = np.array([face.landmarks for face in others]).mean(axis=1)
    rows = []
    for face in faces:
        away = np.hypot(*(middles - np.mean(face.landmarks, axis=0)).T)
        rows.append(int(away.argmin()))
        assert away.min() < 0.5 * math.dist(*face.landmarks[:2])
    assert len(set(rows)) == len(rows)
    return rows


def eyes_away(face, other):
    """How far the eyes are from another detection's, as a share of their distance."""
    mine, theirs = np.array(face.landmarks[:2]), np.array(other.landmarks[:2])
    return np.hypot(*(mine - theirs).T).mean() / np.hypot(*(theirs[1] - theirs[0]))


@pytest.mark.parametrize(("photo", "count"), PHOTOS)
@pytest.mark.parametrize("orientation", TURNS)
def test_a_turned_photo_gives_the_same_faces(model, photo, count, orientation, tmp_path):
    pixels = load_image(photo())
    upright = model.read(pixels)
    crops = model.classified
    assert len(upright) == count
    assert list(model.read(turned(pixels, orientation, tmp_path / "a.png"))) == list(upright)
    np.testing.assert_array_equal(model.classified, crops)
    # A JPEG that was turned has other pixels: what is no face may pass as one now, but no face is lost.
    lossy = model.read(turned(pixels, orientation, tmp_path / "a.jpg"))
    for face, row in zip(upright, again(upright, lossy), strict=True):
        assert eyes_away(lossy[row], face) < 0.1


@pytest.mark.parametrize(("photo", "count"), PHOTOS)
@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_a_photo_of_another_size_gives_the_same_faces(model, photo, count, factor):
    pixels = load_image(photo())
    upright = model.read(pixels)
    crops = model.classified
    assert len(upright) == count
    found = [
        replace(face, landmarks=tuple((x / factor, y / factor) for x, y in face.landmarks))
        for face in model.read(scaled(pixels, factor))
    ]
    rows = again(upright, found)
    away = [eyes_away(found[row], face) for face, row in zip(upright, rows, strict=True)]
    alike = [correlation(model.classified[row], crop) for crop, row in zip(crops, rows, strict=True)]
    # The eyes of one face in half profile are hard to place.
    assert np.median(away) < 0.1
    assert np.median(alike) > 0.8


def correlation(a, b):
    return np.corrcoef(a.ravel().astype(float), b.ravel().astype(float))[0, 1]


@pytest.mark.parametrize(("photo", "count"), PHOTOS)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("orientation", TURNS)
def test_the_runtime_cuts_a_face_as_the_training_data_was_cut(
    model, detector, photo, count, channels, orientation, tmp_path
):
    file = turned(load_image(photo()), orientation, tmp_path / "a.jpg")
    # What `mien data prepare` does with a picture that did not come cropped.
    trained = crop_picture(
        decode(file),
        None,
        None,
        cropped=False,
        size=SIZE,
        channels=channels,
        faces=FacesConfig(),
        template=DEFAULT_TEMPLATE,
        detector=detector,
    )
    assert trained.crop == "aligned"
    faces = model.read(file)
    assert len(faces) >= count
    (row,) = [place for place, face in enumerate(faces) if face.box == trained.face_box]
    settings = {"size": SIZE, "channels": channels, "mean": 0.5, "std": 0.25}
    packed = trained.face.transpose(1, 2, 0)[None]
    np.testing.assert_array_equal(
        to_input(model.classified[row : row + 1], **settings), to_input(packed, **settings)
    )
