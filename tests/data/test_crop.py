"""One picture becomes one face: cut as the runtime cuts it, chosen by the policies, dropped with a reason."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from mien.card import ModelCard
from mien.config import FacesConfig
from mien.data.crop import crop_picture, looks_cropped
from mien.data.pack import decode, fit
from mien.data.synthetic import draw_faces, paste_faces
from mien.faces.align import box_transform, crop_face
from mien.faces.detector import Detections
from mien.faces.mtcnn import MTCNNDetector
from mien.faces.template import DEFAULT_TEMPLATE
from mien.preprocess import to_input
from mien.runtime.classifier import Model

SIZE = 48
PICTURE = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)


def points_of(box):
    """Frontal landmarks [5,2] of a box."""
    x0, y0, x1, y1 = box
    shares = np.array([(0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8)])
    return (np.array([x0, y0]) + shares * [x1 - x0, y1 - y0]).astype(np.float32)


def flat(points):
    return tuple(points.astype(np.float64).ravel().tolist())


class Finds:
    """A detector that gives the same boxes for every picture, the surest first, and counts its calls."""

    def __init__(self, *boxes, landmarks=None):
        self.boxes = np.array(boxes, np.float32).reshape(-1, 4)
        points = [points_of(box) for box in self.boxes] if landmarks is None else landmarks
        self.landmarks = np.array(points, np.float32).reshape(-1, 5, 2)
        self.calls = 0

    def detect(self, rgb):
        self.calls += 1
        assert rgb.dtype == np.uint8
        assert rgb.shape[2:] == (3,)
        scores = np.linspace(0.99, 0.8, len(self.boxes)).astype(np.float32)
        return Detections(self.boxes, scores, self.landmarks)


def crop(
    pixels=PICTURE, box=None, landmarks=None, *, detector, template=DEFAULT_TEMPLATE, channels=3, **policies
):
    return crop_picture(
        pixels,
        box,
        landmarks,
        cropped=False,
        size=SIZE,
        channels=channels,
        faces=FacesConfig(**policies),
        template=template,
        detector=detector,
    )


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shape", [(48, 48), (100, 70, 3)])
def test_a_picture_that_came_cropped_is_its_central_square(shape, channels):
    pixels = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    detector = Finds((0, 0, 40, 40))
    marks = flat(points_of((1, 2, 30, 40)))
    got = crop_picture(
        pixels,
        (1, 2, 30, 40),
        marks,
        cropped=True,
        size=SIZE,
        channels=channels,
        faces=FacesConfig(),
        template=DEFAULT_TEMPLATE,
        detector=detector,
    )
    face, transform = fit(pixels, SIZE, channels)
    np.testing.assert_array_equal(got.face, face)
    assert (got.crop, got.transform, got.reason) == ("came_cropped", transform, None)
    assert (got.face_box, got.landmarks) == ((1, 2, 30, 40), marks)
    assert (got.faces_found, got.detection_score, detector.calls) == (None, None, 0)


class WatchedModel(Model):
    """The runtime without a network: it keeps what the network would have seen."""

    def __init__(self, card):
        self.card = card
        self._detector = "mtcnn"
        self.threads, self.min_face = 1, 24
        self.inputs = []

    def logits(self, faces, *, batch=64):
        self.inputs += list(self.input_of(faces))
        return np.zeros((len(faces), len(self.card.labels)), np.float32)

    def input_of(self, faces):
        card = self.card
        return to_input(faces, size=card.size, channels=card.channels, mean=card.mean, std=card.std)


@pytest.fixture(scope="module")
def mtcnn():
    return MTCNNDetector()


@pytest.fixture(scope="module")
def group():
    """A frame with four frontal faces, their boxes and landmarks."""
    faces = draw_faces(4, size=150, channels=3, seed=4, frontal=True)
    return paste_faces(faces, width=400, height=330, seed=4)


@pytest.mark.parametrize(
    ("kind", "channels", "template"),
    [
        ("colour", 1, DEFAULT_TEMPLATE),
        ("colour", 3, DEFAULT_TEMPLATE),
        ("grey", 1, DEFAULT_TEMPLATE),
        ("grey", 3, DEFAULT_TEMPLATE),
        ("rotated", 1, DEFAULT_TEMPLATE),
        ("colour", 1, None),
    ],
)
def test_a_face_is_cut_in_training_exactly_as_in_use(group, mtcnn, kind, channels, template):
    image = Image.fromarray(group[0])
    exif = Image.Exif()
    if kind == "rotated":
        image = image.transpose(Image.Transpose.ROTATE_90)
        exif[0x0112] = 6
    buffer = io.BytesIO()
    (image.convert("L") if kind == "grey" else image).save(buffer, "PNG", exif=exif)
    model = WatchedModel(ModelCard("m", ("a", "b"), SIZE, channels, template=template))
    faces = model.read(buffer.getvalue())
    assert len(faces) == 4
    pixels = decode(buffer.getvalue())
    assert pixels.ndim == (2 if kind == "grey" else 3)
    for face, seen in zip(faces, model.inputs, strict=True):
        got = crop(pixels, face.box, detector=mtcnn, template=template, channels=channels)
        assert got.crop == ("aligned" if template else "box")
        assert got.face.shape == (channels, SIZE, SIZE)
        np.testing.assert_array_equal(model.input_of(got.face.transpose(1, 2, 0)[None])[0], seen)
        assert (got.face_box, got.detection_score) == (face.box, face.detection_score)
        assert got.landmarks == tuple(value for point in face.landmarks for value in point)
        assert got.faces_found == 4


def test_the_transform_takes_the_eyes_to_the_template():
    got = crop(detector=Finds((30, 20, 100, 110)))
    matrix = np.array(got.transform).reshape(2, 3)
    eyes = np.array(got.landmarks).reshape(5, 2)[:2]
    wanted = np.array([DEFAULT_TEMPLATE.left_eye, DEFAULT_TEMPLATE.right_eye]) * SIZE
    np.testing.assert_allclose(eyes @ matrix[:, :2].T + matrix[:, 2], wanted, atol=1e-9)
    assert (got.crop, got.faces_found, got.detection_score) == ("aligned", 1, pytest.approx(0.99))
    assert got.face_box == (30, 20, 100, 110)


def test_a_profile_is_cut_by_the_detectors_box():
    box = (30, 20, 100, 110)
    points = points_of(box)
    points[1] = points[0] + (4, 0)
    got = crop(detector=Finds(box, landmarks=[points]))
    assert got.crop == "box"
    np.testing.assert_allclose(got.transform, box_transform(np.array(box), SIZE).ravel())


def test_a_profile_is_found_where_the_set_has_its_landmarks():
    box = (30, 20, 100, 110)
    points = points_of(box)
    points[:, 0] = (40, 42, 39, 41, 42)
    got = crop(
        landmarks=flat(points), detector=Finds((104, 4, 158, 60), box, landmarks=[points_of(box), points])
    )
    assert (got.crop, got.face_box) == ("box", box)


SMALL, LARGE, OTHER = (10, 10, 50, 60), (60, 20, 140, 110), (100, 60, 150, 118)


def test_the_largest_face_is_taken_where_the_set_says_nothing():
    got = crop(detector=Finds(SMALL, LARGE, OTHER))
    assert (got.face_box, got.faces_found) == (LARGE, 3)
    assert got.detection_score == pytest.approx(0.895)


@pytest.mark.parametrize("given", ["box", "landmarks"])
@pytest.mark.parametrize("meant", [SMALL, LARGE, OTHER])
def test_the_face_is_taken_that_the_set_means(meant, given):
    off = (-4, -6, 5, 3)
    box = tuple(a + b for a, b in zip(meant, off, strict=True)) if given == "box" else None
    marks = flat(points_of(meant) + 2) if given == "landmarks" else None
    got = crop(box=box, landmarks=marks, detector=Finds(SMALL, LARGE, OTHER))
    assert (got.face_box, got.crop) == (meant, "aligned")
    assert got.landmarks == flat(points_of(meant))


def test_another_persons_face_is_not_taken_for_the_one_that_the_set_means():
    got = crop(box=SMALL, detector=Finds(LARGE))
    assert (got.crop, got.face_box, got.landmarks) == ("annotated", SMALL, None)
    assert (got.faces_found, got.detection_score) == (1, None)
    np.testing.assert_allclose(got.transform, box_transform(np.array(SMALL), SIZE).ravel())
    got = crop(box=SMALL, detector=Finds(LARGE), undetected="drop")
    assert (got.face, got.reason, got.faces_found) == (None, "no face", 1)


MARKS = flat(points_of(LARGE))


@pytest.mark.parametrize(
    ("policy", "given", "way", "reason"),
    [
        ("annotation", {"box": LARGE}, "annotated", None),
        ("annotation", {"landmarks": MARKS}, "annotated", None),
        ("annotation", {}, None, "no face"),
        ("keep", {"box": LARGE}, "annotated", None),
        ("keep", {}, "centre", None),
        ("drop", {"box": LARGE}, None, "no face"),
        ("drop", {}, None, "no face"),
    ],
)
def test_what_becomes_of_a_picture_without_a_detected_face(policy, given, way, reason):
    got = crop(**given, detector=Finds(), undetected=policy)
    assert (got.crop, got.reason, got.faces_found) == (way, reason, 0)
    assert (got.face is None) == (reason is not None) == (got.transform is None)
    assert got.face_box == given.get("box")
    assert got.landmarks == given.get("landmarks")
    if way == "centre":
        face, transform = fit(PICTURE, SIZE, 3)
        np.testing.assert_array_equal(got.face, face)
        assert got.transform == transform


def test_the_sets_own_eyes_go_to_the_template():
    got = crop(landmarks=MARKS, detector=Finds())
    expected, matrix = crop_face(PICTURE, landmarks=points_of(LARGE), template=DEFAULT_TEMPLATE, size=SIZE)
    np.testing.assert_array_equal(got.face, expected.transpose(2, 0, 1))
    np.testing.assert_allclose(got.transform, matrix.ravel())
    # Without a template, or in a profile, by a box around the landmarks that is about the detector's.
    got = crop(landmarks=MARKS, detector=Finds(), template=None)
    scale = got.transform[0]
    assert got.crop == "annotated"
    assert SIZE / scale == pytest.approx(1.2 * 90, rel=0.15)
    middle = (np.array([SIZE / 2] * 2) - got.transform[2::3]) / scale
    np.testing.assert_allclose(middle, (100, 65), atol=5)


def test_without_a_detector_no_face_is_missed():
    for policy in ("annotation", "keep", "drop"):
        got = crop(detector=None, undetected=policy)
        assert (got.crop, got.faces_found) == ("centre", None)
        got = crop(box=LARGE, detector=None, undetected=policy)
        assert (got.crop, got.face_box) == ("annotated", LARGE)


def test_several_faces_are_dropped_on_demand():
    got = crop(box=SMALL, detector=Finds(LARGE, SMALL), several="drop")
    assert (got.face, got.reason, got.faces_found) == (None, "several faces", 2)
    assert crop(detector=Finds(LARGE), several="drop").reason is None
    # Somebody tiny in the background does not make several faces, unless tiny faces are wanted.
    crowd = Finds(LARGE, (1, 1, 15, 18))
    assert crop(detector=crowd, several="drop").reason is None
    assert crop(detector=crowd, several="drop", tiny="keep").reason == "several faces"


@pytest.mark.parametrize("given", ["detected", "annotated"])
def test_tiny_faces_are_dropped_or_kept(given):
    box = (10, 10, 30, 50)
    options = {"detector": Finds(box)} if given == "detected" else {"box": box, "detector": Finds()}
    assert crop(**options, smallest=40).reason is None
    got = crop(**options, smallest=41)
    assert (got.face, got.crop, got.reason, got.face_box) == (None, None, "tiny face", box)
    assert crop(**options, smallest=41, tiny="keep").face is not None


def test_a_face_outside_the_picture_is_dropped():
    for box, reason in {
        (-30, 20, 30, 80): None,
        (-44, 20, 16, 80): None,
        (-46, 20, 14, 80): "face outside the picture",
        (300, 20, 360, 80): "face outside the picture",
        (-1e9, -1e9, 1e9, 1e9): "face outside the picture",
    }.items():
        assert crop(box=box, detector=Finds()).reason == reason
        assert crop(detector=Finds(box)).reason == reason


@pytest.mark.parametrize(
    "given",
    [
        {"box": (50, 20, 50, 90)},
        {"box": (50, 20, 30, 90)},
        {"box": (50, 20, float("nan"), 90)},
        {"box": (50, 20, float("inf"), 90)},
        {"landmarks": (float("nan"), *MARKS[1:])},
        {"landmarks": (-5.0, *MARKS[1:])},
        {"landmarks": (*MARKS[:2], 161.0, *MARKS[3:])},
        {"landmarks": (*MARKS[:2], *MARKS[:2], *MARKS[4:])},
        {"landmarks": MARKS[:4]},
    ],
)
def test_an_annotation_that_cannot_be_used_is_none(given):
    assert crop(**given, detector=Finds()).reason == "no face"
    got = crop(**given, detector=Finds(SMALL, LARGE))
    assert (got.face_box, got.reason) == (LARGE, None)
    # With a box the face is cut by it.
    if "landmarks" in given:
        got = crop(box=SMALL, **given, detector=Finds())
        np.testing.assert_allclose(got.transform, box_transform(np.array(SMALL), SIZE).ravel())
    numbers = [*(got.face_box or ()), *(got.landmarks or ())]
    assert np.isfinite(numbers).all()


def test_the_smallest_picture_gives_no_face(mtcnn):
    got = crop(np.zeros((1, 1), np.uint8), detector=mtcnn)
    assert (got.reason, got.faces_found) == ("no face", 0)


def test_small_pictures_came_cropped():
    detector = Finds((0, 0, 5, 5))
    assert looks_cropped([np.zeros((64, 64), np.uint8)] * 3, detector)
    assert looks_cropped([np.zeros((48, 40, 3), np.uint8)] * 3, detector)
    assert detector.calls == 0
    assert not looks_cropped([np.zeros((66, 48), np.uint8)] * 3, detector)


@pytest.mark.parametrize(("share", "cropped"), [(0.4, False), (0.7, False), (0.76, True), (1.2, True)])
@pytest.mark.parametrize("shape", [(100, 150), (300, 300, 3), (2000, 1200, 3)])
def test_a_face_that_fills_its_picture_came_cropped(shape, share, cropped):
    side = {100: 192, 300: 300, 1200: 480}[min(shape[:2])]
    detector = Finds((0, 0, side * share / 2, side * share), (0, 0, 20, 20))
    assert looks_cropped([np.zeros(shape, np.uint8)] * 2, detector) is cropped


def test_few_faces_or_none_leave_nothing_to_cut():
    class Now:
        def detect(self, rgb):
            return Finds((0, 0, 50, 50)).detect(rgb) if rgb.max() else Detections.none()

    def pictures(with_face):
        return [np.full((100, 100), int(i < with_face), np.uint8) for i in range(10)]

    assert looks_cropped(pictures(0), Now())
    assert looks_cropped(pictures(1), Now())
    assert not looks_cropped(pictures(2), Now())
    assert looks_cropped([], Now())


def test_a_sample_is_looked_at_and_stripes_are_passed_over():
    detector = Finds((0, 0, 50, 50))
    looks_cropped([np.zeros((100, 100), np.uint8)] * 1000, detector)
    assert detector.calls == 24
    assert looks_cropped([np.zeros((1, 1000), np.uint8)] * 3, detector)
    assert detector.calls == 24


def test_drawn_portraits_are_told_from_drawn_scenes(mtcnn):
    portraits = draw_faces(12, size=96, channels=3, seed=3).images
    scenes = [
        paste_faces(draw_faces(2, size=120, channels=3, seed=i, frontal=True), width=320, height=240, seed=i)[
            0
        ]
        for i in range(6)
    ]
    assert looks_cropped(list(portraits), mtcnn)
    assert looks_cropped([face[..., 0] for face in portraits], mtcnn)
    # The default finds as much.
    assert not looks_cropped(scenes)


@pytest.fixture(scope="module")
def fer_faces(real_fer2013):
    polars = pytest.importorskip("polars", reason="reading FER-2013 needs polars")
    pictures = polars.read_parquet(real_fer2013 / "fer2013-2.parquet", columns=["png"])["png"][:32]
    return [decode(png) for png in pictures]


def scene_with(face, seed):
    """A grey face enlarged to 150 to 300 pixels, somewhere in a blurred scene of 640 x 480."""
    rng = np.random.default_rng(seed)
    blocks = Image.fromarray(rng.integers(40, 200, (4, 5, 3), dtype=np.uint8))
    scene = np.array(blocks.resize((640, 480), Image.Resampling.BICUBIC))
    side = int(rng.integers(150, 300))
    x, y = int(rng.integers(0, 640 - side)), int(rng.integers(0, 480 - side))
    large = Image.fromarray(face).resize((side, side), Image.Resampling.BICUBIC)
    scene[y : y + side, x : x + side] = np.asarray(large)[..., None]
    return SimpleNamespace(pixels=scene, x=x, y=y, side=side)


@pytest.mark.real_faces
def test_fer2013_faces_are_cut_out_of_scenes_as_they_went_in(fer_faces, mtcnn, record_testsuite_property):
    errors, found = [], 0
    for seed, face in enumerate(fer_faces):
        scene = scene_with(face, seed)
        got = crop(scene.pixels, detector=mtcnn, channels=1)
        if got.face is None:
            assert got.reason == "no face"
            continue
        found += 1
        # In a perfect world the pasted picture fills the crop again.
        matrix = np.array(got.transform).reshape(2, 3)
        corners = np.array([(scene.x, scene.y), (scene.x + scene.side, scene.y + scene.side)])
        landed = corners @ matrix[:, :2].T + matrix[:, 2]
        errors.append(np.abs(landed.mean(axis=0) - SIZE / 2).max())
    record_testsuite_property("FER-2013 faces cut out of scenes", found / len(fer_faces))
    record_testsuite_property("their middle, px of 48 off", float(np.median(errors)))
    assert found > 0.8 * len(fer_faces)
    assert np.median(errors) < 4


@pytest.mark.real_faces
def test_fer2013_looks_cropped_and_scenes_of_it_do_not(fer_faces, mtcnn):
    enlarged = [np.asarray(Image.fromarray(face).resize((120, 120))) for face in fer_faces[:24]]
    assert looks_cropped(enlarged, mtcnn)
    scenes = [scene_with(face, seed).pixels for seed, face in enumerate(fer_faces[:12])]
    assert not looks_cropped(scenes, mtcnn)
