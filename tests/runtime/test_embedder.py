"""Embedders: what goes into the network, what comes out, and whether MobileFace tells people apart."""

import numpy as np
import pytest
from PIL import Image, ImageEnhance
from tests.faces.pictures import PHOTOS

from mien.errors import InputError
from mien.faces.assets import asset_path
from mien.faces.mtcnn import MTCNNDetector
from mien.faces.onnx_bytes import model, node
from mien.images import load_image
from mien.runtime.embedder import SIDE, OnnxEmbedder, identity_crops

WIDTH = 6
SAME_PERSON = 0.5


def network(path, shape=("batch", 3, 8, 8), outputs=("batch", WIDTH), seed=0):
    weights = np.random.default_rng(seed).normal(size=(192, outputs[-1])).astype(np.float32)
    nodes = [node("Flatten", ["x"], "flat", axis=1), node("MatMul", ["flat", "w"], "y")]
    path.write_bytes(
        model(nodes, {"w": weights}, inputs={"x": shape}, outputs={"y": outputs}, producer="test")
    )
    return path, weights


def crops(count, side=8, seed=1):
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3)).astype(np.uint8)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("batch", ["batch", 3])
@pytest.mark.parametrize("count", [0, 1, 3, 40])
def test_vectors_are_the_networks_at_length_one(tmp_path, channels_last, batch, count):
    shape = (batch, 8, 8, 3) if channels_last else (batch, 3, 8, 8)
    path, weights = network(tmp_path / "a.onnx", shape, (batch, WIDTH))
    faces = crops(count)
    vectors = OnnxEmbedder(path).embed(faces)
    pixels = (faces.astype(np.float64) - 127.5) / 128
    pixels = pixels if channels_last else pixels.transpose(0, 3, 1, 2)
    expected = pixels.reshape(count, 192) @ weights
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert vectors.dtype == np.float32
    assert vectors.shape == (count, WIDTH)
    np.testing.assert_allclose(vectors, expected, atol=1e-5)


def test_other_sizes_are_resized(tmp_path):
    embedder = OnnxEmbedder(network(tmp_path / "a.onnx")[0])
    assert embedder.size == 8
    flat = np.broadcast_to(crops(2, side=1), (2, 30, 30, 3)).copy()
    np.testing.assert_allclose(embedder.embed(flat), embedder.embed(flat[:, :8, :8]), atol=1e-6)


def test_a_vector_of_zeros_stays_one(tmp_path):
    path, _ = network(tmp_path / "a.onnx")
    content = path.read_bytes()
    weights = np.random.default_rng(0).normal(size=(192, WIDTH)).astype("<f4").tobytes()
    path.write_bytes(content.replace(weights, bytes(len(weights))))
    assert not OnnxEmbedder(path).embed(crops(1)).any()


@pytest.mark.parametrize(
    ("shape", "outputs"),
    [(("batch", 1, 8, 24), ("batch", 2)), (("batch", 192), ("batch", 2)), (("batch", 3, 64), ("batch", 2))],
)
def test_other_networks_are_refused(tmp_path, shape, outputs):
    with pytest.raises(InputError, match="an embedder must have"):
        OnnxEmbedder(network(tmp_path / "a.onnx", shape, outputs)[0])


def test_other_files_and_crops_are_refused(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="no such model file"):
        OnnxEmbedder(tmp_path / "missing.onnx")
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path))
    with pytest.raises(InputError, match="run: mien detector get mobileface"):
        OnnxEmbedder()
    embedder = OnnxEmbedder(network(tmp_path / "a.onnx")[0])
    for wrong in (crops(1)[0], crops(1).astype(np.float32), crops(1)[..., :1]):
        with pytest.raises(InputError, match="uint8"):
            embedder.embed(wrong)


@pytest.mark.parametrize("size", [SIDE, 56])
def test_landmarks_come_to_their_places(size):
    # ArcFace's own pixels, without the nose.
    arcface = [[38.2946, 51.6963], [73.5318, 51.5014], [41.5493, 92.3655], [70.7299, 92.2041]]
    places = np.array(arcface) / 112
    # Turned by 30 degrees, twice as large, elsewhere.
    turn = 2 * 112 * np.array([[np.cos(0.52), -np.sin(0.52)], [np.sin(0.52), np.cos(0.52)]])
    points = np.insert(places, 2, [[56.0252 / 112, 71.7366 / 112]], axis=0) @ turn.T + (150, 60)
    picture = np.zeros((400, 400, 3), np.uint8)
    for channel, (x, y) in enumerate(points[[0, 1, 3]]):
        rows, columns = np.mgrid[:400, :400] + 0.5
        picture[..., channel] = 255 * (np.hypot(columns - x, rows - y) < 8)
    (crop,) = identity_crops(picture, points[None], size=size)
    rows, columns = np.mgrid[:size, :size] + 0.5
    for channel, place in enumerate(places[:3]):
        weights = crop[..., channel].astype(float)
        middle = np.array([(columns * weights).sum(), (rows * weights).sum()]) / weights.sum()
        np.testing.assert_allclose(middle, place * size, atol=0.3)


def test_unknown_landmarks_are_refused():
    with pytest.raises(InputError, match="not known"):
        identity_crops(np.zeros((50, 50, 3), np.uint8), np.full((1, 5, 2), np.nan))


@pytest.fixture(scope="module")
def embedder():
    try:
        asset_path("mobileface")
    except InputError as error:
        pytest.skip(str(error))
    return OnnxEmbedder()


def vectors_of(embedder, pixels, count):
    """From left to right; the surest detections are the faces."""
    found = MTCNNDetector().detect(pixels)
    assert len(found) >= count
    order = np.argsort(found.boxes[:count, 0])
    return embedder.embed(identity_crops(pixels, found.landmarks[order]))


@pytest.mark.parametrize(("photo", "count"), PHOTOS)
def test_a_person_is_known_again_smaller_darker_and_mirrored(embedder, photo, count):
    pixels = load_image(photo())
    plain = vectors_of(embedder, pixels, count)
    image = Image.fromarray(pixels)
    mirrored = vectors_of(embedder, np.ascontiguousarray(pixels[:, ::-1]), count)[::-1]
    factor = 0.7 if min(image.size) < 200 else 0.4
    small = image.resize([round(side * factor) for side in image.size], Image.Resampling.BICUBIC)
    dark = vectors_of(embedder, np.asarray(ImageEnhance.Brightness(small).enhance(0.6)), count)
    for other in (mirrored, dark):
        assert (plain * other).sum(axis=1).min() > SAME_PERSON


@pytest.mark.parametrize(("photo", "count"), [entry for entry in PHOTOS if entry.values[1] > 1])
def test_people_of_one_photo_are_told_apart(embedder, photo, count):
    vectors = vectors_of(embedder, load_image(photo()), count)
    assert (vectors @ vectors.T)[~np.eye(count, dtype=bool)].max() < SAME_PERSON


def test_two_photos_show_two_people(embedder):
    first, second = (vectors_of(embedder, load_image(entry.values[0]()), 1) for entry in PHOTOS[:2])
    assert float((first @ second.T).item()) < SAME_PERSON
