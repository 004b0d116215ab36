"""CenterFace: planted maps are decoded; the network itself on drawn faces, where it was fetched."""

import numpy as np
import pytest

from mien.data.synthetic import draw_faces, paste_faces
from mien.errors import InputError
from mien.faces import centerface
from mien.faces.assets import asset_path
from mien.faces.centerface import CenterFaceDetector
from mien.faces.mtcnn import MTCNNDetector

SHARES = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]])
"""Where the landmarks lie in a planted face's box."""


class PlantedNetwork:
    """Answers with the maps of faces that lie at known places of the picture."""

    def __init__(self, boxes, scores, shape):
        self.boxes, self.scores, self.shape = boxes, scores, shape
        self.pixels = np.zeros(0)

    def run(self, names, inputs):
        self.pixels = inputs["input.1"]
        rows, columns = (side // 4 for side in self.pixels.shape[2:])
        heat, scale = np.zeros((1, 1, rows, columns)), np.zeros((1, 2, rows, columns))
        offset, points = np.zeros((1, 2, rows, columns)), np.zeros((1, 10, rows, columns))
        shrink = self.seen / self.shape[0]
        for box, score in zip(np.asarray(self.boxes) * shrink / 4, self.scores, strict=True):
            x, y = (box[:2] + box[2:]) / 2
            row, column = int(y), int(x)
            heat[0, 0, row, column] = score
            scale[0, :, row, column] = np.log([box[3] - box[1], box[2] - box[0]])
            offset[0, :, row, column] = y - row - 0.5, x - column - 0.5
            points[0, :, row, column] = SHARES[:, ::-1].ravel()
        return [array.astype(np.float32) for array in (heat, scale, offset, points)]

    @property
    def seen(self):
        """Rows of the picture as the network gets it, without what is added below."""
        filled = np.flatnonzero(self.pixels.any(axis=(0, 1, 3)))
        return filled[-1] + 1


def planted(monkeypatch, boxes, scores, shape, **options):
    network = PlantedNetwork(boxes, scores, shape)
    monkeypatch.setattr(centerface, "open_network", lambda path, threads: network)
    detector = CenterFaceDetector(path="unused", **options)
    return network, detector.detect(np.full((*shape, 3), 200, np.uint8))


BOXES = [[20.0, 30, 60, 80], [100, 50, 130, 90], [200, 10, 290, 120]]


@pytest.mark.parametrize(("shape", "min_face"), [((200, 330), 16), ((200, 330), 30), ((187, 301), 24)])
def test_planted_faces_come_out_where_they_lie(monkeypatch, shape, min_face):
    network, found = planted(monkeypatch, BOXES, [0.7, 0.6, 0.9], shape, min_face=min_face, min_share=0)
    order = [2, 0, 1]
    np.testing.assert_allclose(found.scores, [0.9, 0.7, 0.6], atol=1e-4)
    expected = np.array(BOXES)[order]
    # Rounding the shrunk sides to whole pixels moves a coordinate by less than this.
    np.testing.assert_allclose(found.boxes, expected, atol=1.5)
    sides = expected[:, None, 2:] - expected[:, None, :2]
    np.testing.assert_allclose(found.landmarks, expected[:, None, :2] + SHARES * sides, atol=1.5)
    assert network.pixels.shape[2] % 32 == network.pixels.shape[3] % 32 == 0
    assert network.seen == round(shape[0] * min(1, 20 / min_face))


def test_a_picture_is_not_stretched_and_keeps_its_colours(monkeypatch):
    network, _ = planted(monkeypatch, [], [], (50, 70), min_face=16)
    assert network.pixels.shape == (1, 3, 64, 96)
    assert (network.pixels[:, :, :50, :70] == 200).all()
    assert not network.pixels[:, :, 50:].any()
    assert not network.pixels[:, :, :, 70:].any()


def test_doubles_unsure_and_small_faces_are_left_out(monkeypatch):
    boxes = [*BOXES, [26, 38, 66, 88], [250, 150, 270, 170]]
    scores = [0.9, 0.4, 0.8, 0.7, 0.95]
    _, found = planted(monkeypatch, boxes, scores, (200, 330), min_face=30)
    assert found.scores.tolist() == pytest.approx([0.9, 0.8], abs=1e-4)
    _, found = planted(monkeypatch, boxes, scores, (200, 330), min_face=16, threshold=0.3)
    assert found.scores.tolist() == pytest.approx([0.95, 0.9, 0.8, 0.4], abs=1e-4)
    _, found = planted(monkeypatch, boxes, scores, (200, 330), min_face=16, min_share=0.2)
    assert found.scores.tolist() == pytest.approx([0.8], abs=1e-4)


def test_landmarks_are_placed_anew_where_that_network_sees_a_face(monkeypatch):
    seen = []

    def place(self, image, squares):
        seen.append(squares)
        corners = np.repeat(squares[:, None, :2], 5, axis=1)
        return corners, np.array([0.99, 0.3, 0.99]), np.zeros((3, 4))

    monkeypatch.setattr(centerface.LandmarkNetwork, "place", place)
    _, found = planted(monkeypatch, BOXES, [0.7, 0.6, 0.9], (200, 330), min_face=16, min_share=0)
    (squares,) = seen
    np.testing.assert_allclose(squares[0], [190, 10, 300, 120], atol=0.1)
    for row in (0, 2):
        np.testing.assert_allclose(found.landmarks[row], np.tile(squares[row, :2], (5, 1)), atol=0.1)
    # In the second, MTCNN's network saw no face.
    np.testing.assert_allclose(found.landmarks[1], [20, 30] + SHARES * [40, 50], atol=0.1)


def test_other_arguments_and_pictures_are_refused(monkeypatch):
    for options in ({"min_face": 0}, {"min_face": float("nan")}, {"min_share": 2}, {"threshold": 1.0}):
        with pytest.raises(InputError, match="must"):
            CenterFaceDetector(path="unused", **options)
    monkeypatch.setattr(centerface, "open_network", lambda path, threads: None)
    with pytest.raises(InputError, match="uint8"):
        CenterFaceDetector(path="unused").detect(np.zeros((20, 20), np.uint8))


def test_a_network_that_was_not_fetched_names_the_command(monkeypatch, tmp_path):
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path))
    with pytest.raises(InputError, match="run: mien detector get centerface"):
        CenterFaceDetector()


@pytest.fixture(scope="module")
def detector():
    try:
        asset_path("centerface")
    except InputError as error:
        pytest.skip(str(error))
    return CenterFaceDetector()


def test_the_network_sees_what_the_cascade_sees(detector):
    frame, _, _ = paste_faces(draw_faces(6, size=96, channels=3, seed=1, frontal=True), seed=1)
    found, other = detector.detect(frame), MTCNNDetector().detect(frame)
    assert len(found) == len(other) == 6
    for points in other.landmarks:
        away = np.hypot(*np.moveaxis(found.landmarks - points, -1, 0)).mean(axis=1)
        assert away.min() < 0.2 * np.hypot(*(points[1] - points[0]))


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (31, 33), (500, 13), (240, 320)])
@pytest.mark.parametrize("fill", ["black", "noise"])
def test_the_network_takes_any_size_and_finds_nothing_in_nothing(detector, shape, fill):
    noise = np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype(np.uint8)
    assert len(detector.detect(np.zeros_like(noise) if fill == "black" else noise)) == 0
