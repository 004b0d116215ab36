"""A model file in use: what is refused, and that every answer follows from the pixels."""

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from PIL import Image

import mien
from mien.data.synthetic import draw_faces, paste_faces
from mien.errors import InputError, UnreadableImage
from mien.faces.align import crop_face
from mien.faces.mtcnn import MTCNNDetector
from mien.labels import EMOTIONS, SEVEN
from mien.preprocess import to_input
from mien.runtime import model_file
from mien.runtime.classifier import Classifier, Model, load


def crops(count=5, size=12, channels=1, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, channels), dtype=np.uint8)


def test_logits_are_the_network_over_the_one_preprocessing_path(model_path, card, weights):
    faces = crops(7, size=20, channels=3)
    expected = to_input(faces, size=12, channels=1, mean=0.5, std=0.5).reshape(7, -1) @ weights(card)
    for batch in (1, 3, 7, 64):
        logits = Classifier(model_path).logits(faces, batch=batch)
        assert logits.dtype == np.float32
        np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)


def test_no_faces_give_no_rows(model_path):
    classifier = Classifier(model_path)
    assert classifier.logits(crops(0)).shape == (0, 8)
    assert classifier.classify(crops(0)).shape == (0, 8)


def test_classify_uses_the_card(tmp_path, writer, card_maker):
    plain = Classifier(writer(tmp_path / "a.onnx", card_maker()))
    warm = Classifier(writer(tmp_path / "b.onnx", card_maker(temperature=2.0)))
    odds = np.log(plain.classify(crops()))
    warmer = np.log(warm.classify(crops()))
    np.testing.assert_allclose(odds - odds[:, :1], 2 * (warmer - warmer[:, :1]), rtol=1e-3, atol=1e-4)


def test_other_class_names_work(tmp_path, writer, card_maker):
    path = writer(tmp_path / "own.onnx", card_maker(labels=("awake", "asleep", "away"), channels=3))
    face = Model(path, detector=None).read(crops(1, channels=3)[0])[0]
    assert set(face.probabilities) == {"awake", "asleep", "away"}


@pytest.mark.parametrize("options", [{"batch": 0}])
def test_unusable_calls_are_refused(model_path, options):
    with pytest.raises(InputError):
        Classifier(model_path).logits(crops(), **options)
    with pytest.raises(InputError):
        Classifier(model_path).logits(crops()[0])
    with pytest.raises(InputError, match="threads"):
        Classifier(model_path, threads=0)
    with pytest.raises(InputError, match="detector"):
        Model(model_path, detector="haar")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"card": None}, "carries no card"),
        ({"text": "{"}, "not JSON"),
        ({"text": '{"format": 9}'}, "format is 9"),
        ({"shape": ["batch", 1, 12, 13]}, "its card asks for"),
        ({"shape": ["batch", 3, 12, 12]}, "its card asks for"),
        ({"shape": ["batch", 144]}, "its card asks for"),
        ({"shape": [4, 1, 12, 12]}, "only batches of 4"),
        ({"classes": 5}, "its card asks for"),
        ({"names": ("x", "logits")}, "one input"),
        ({"names": ("faces", "y")}, "one output"),
    ],
)
def test_files_that_contradict_their_card_are_refused(tmp_path, writer, card, changes, words):
    path = writer(tmp_path / "bad.onnx", **{"card": card, **changes})
    with pytest.raises(InputError, match=words) as caught:
        Classifier(path)
    assert str(path) in str(caught.value)


def test_files_that_are_no_models_are_refused(tmp_path, model_path):
    with pytest.raises(InputError, match="no such model"):
        Classifier(tmp_path / "missing.onnx")
    (tmp_path / "text.onnx").write_text("hello")
    with pytest.raises(InputError, match="cannot open"):
        Classifier(tmp_path / "text.onnx")
    (tmp_path / "half.onnx").write_bytes(model_path.read_bytes()[:400])
    with pytest.raises(InputError):
        Classifier(tmp_path / "half.onnx")
    with pytest.raises(InputError, match="limit of 100"):
        Classifier(model_path, max_bytes=100)


def test_a_model_cannot_read_other_files(tmp_path, model_path, monkeypatch):
    model = onnx.load(model_path)
    tensor = model.graph.initializer[0]
    (tmp_path / "secret.bin").write_bytes(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "secret.bin"
    onnx.save_model(model, tmp_path / "crafted.onnx")
    monkeypatch.chdir(tmp_path)
    for path in (tmp_path / "crafted.onnx", Path("crafted.onnx")):
        with pytest.raises(InputError, match="cannot open"):
            Classifier(path)


def test_load_takes_a_file_or_a_run_folder(tmp_path, model_path):
    assert load(model_path).card == load(str(tmp_path)).card
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"holds no model\.onnx; run: mien export"):
        load(tmp_path / "empty")


def test_load_without_a_path_takes_the_bundled_model(tmp_path, model_path, monkeypatch):
    monkeypatch.setattr(model_file.resources, "files", lambda package: tmp_path)
    with pytest.raises(InputError, match="no trained model"):
        load()
    (tmp_path / "weights").mkdir()
    os.link(model_path, tmp_path / "weights" / "a.onnx")
    assert load().card.name == "linear"
    os.link(model_path, tmp_path / "weights" / "b.onnx")
    with pytest.raises(InputError, match="several models"):
        load()


def test_a_crop_is_read_as_it_is(model_path):
    model = mien.load(model_path, detector="none")
    pixels = crops(1, size=30, channels=3)[0]
    (face,) = model.read(Image.fromarray(pixels))
    row = model.classify(pixels[None])[0]
    assert face.box == (0, 0, 30, 30)
    assert face.landmarks is None
    assert face.detection_score is None
    assert face.emotion == EMOTIONS[row.argmax()]
    assert face.confidence == pytest.approx(row.max())
    assert list(face.probabilities) == list(EMOTIONS)
    assert sum(face.probabilities.values()) == pytest.approx(1, abs=1e-5)
    assert not face.abstained


def test_faces_of_a_frame_are_cut_by_the_template(model_path, card):
    frame, boxes, _ = paste_faces(draw_faces(4, size=96, channels=3, seed=1, frontal=True), seed=1)
    model = load(model_path)
    faces = model.read(frame)
    assert len(faces) == len(boxes) == 4
    found = MTCNNDetector().detect(frame)
    for i, face in enumerate(faces):
        crop, _ = crop_face(frame, landmarks=found.landmarks[i], template=card.template, size=card.size)
        np.testing.assert_allclose(
            list(face.probabilities.values()), model.classify(crop[None])[0], rtol=1e-5
        )
        np.testing.assert_allclose(face.box, found.boxes[i])
        np.testing.assert_allclose(face.landmarks, found.landmarks[i])
        assert face.detection_score == pytest.approx(found.scores[i])


def test_one_model_serves_several_threads(model_path):
    frame, _, _ = paste_faces(draw_faces(2, size=96, channels=3, seed=1, frontal=True), seed=1)
    model = load(model_path)
    expected = load(model_path).read(frame)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(model.read, [frame] * 8)) == [expected] * 8


def test_no_face_gives_an_empty_list(model_path):
    assert load(model_path).read(np.zeros((60, 60, 3), np.uint8)) == []


def test_view_and_abstention(tmp_path, writer, card_maker):
    model = load(writer(tmp_path / "m.onnx", card_maker(abstain_threshold=1.0)), detector=None)
    (face,) = model.read(crops(1)[0], view="7")
    assert tuple(face.probabilities) == SEVEN
    assert face.abstained
    assert face.to_dict()["probabilities"] == face.probabilities


def test_one_detector_is_made_and_a_users_own_is_taken(model_path):
    model = load(model_path)
    assert model.detector is model.detector
    own = MTCNNDetector()
    assert load(model_path, detector=own).detector is own
    assert load(model_path, detector=None).detector is None


def test_unreadable_pictures_say_so(model_path, tmp_path):
    with pytest.raises(UnreadableImage, match="no such file"):
        load(model_path).read(tmp_path / "missing.jpg")


def test_faces_in_given_boxes_keep_their_order(model_path):
    frame, boxes, _ = paste_faces(draw_faces(3, size=96, channels=3, seed=1, frontal=True), seed=1)
    model = load(model_path)
    given = np.asarray(boxes, dtype=float)[::-1]
    faces = model.read(frame, boxes=given)
    np.testing.assert_allclose([face.box for face in faces], given, atol=1e-3)
    assert all(face.detection_score is None and face.landmarks is not None for face in faces)
    found = {face.landmarks: face for face in model.read(frame)}
    for face in faces:
        nearest = min(found, key=lambda points: np.abs(np.subtract(points, face.landmarks)).max())
        assert np.abs(np.subtract(nearest, face.landmarks)).max() < 3
        assert face.emotion == found[nearest].emotion


def test_a_box_without_a_face_is_cut_as_it_is(model_path):
    (face,) = load(model_path, detector=None).read(np.zeros((60, 60, 3), np.uint8), boxes=[[5, 5, 40, 40]])
    assert face.landmarks is None
    assert face.detection_score is None
    json.dumps(face.to_dict(), allow_nan=False)
    with pytest.raises(InputError, match="has no area inside the picture"):
        load(model_path).read(np.zeros((60, 60, 3), np.uint8), boxes=[[70, 5, 90, 40]])


def test_faces_below_the_smallest_size_are_not_looked_for(model_path):
    frame, _, _ = paste_faces(draw_faces(2, size=96, channels=3, seed=1, frontal=True), seed=1)
    assert len(load(model_path).read(frame)) == 2
    assert load(model_path, min_face=300).read(frame) == []


def test_the_hash_must_be_that_of_the_file(model_path):
    right = hashlib.sha256(Path(model_path).read_bytes()).hexdigest()
    assert load(model_path, sha256=right).card
    with pytest.raises(InputError, match=r"SHA-256"):
        load(model_path, sha256="0" * 64)
