import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from scipy.special import log_softmax

from mien.card import CARD_KEY, CropTemplate, ModelCard
from mien.errors import InputError
from mien.evaluate.models import match_labels, open_model
from mien.evaluate.predict import predict_logits
from mien.labels import EMOTIONS
from mien.models.saved import read_run
from mien.preprocess import to_input

TEMPLATE = CropTemplate(left_eye=(0.3, 0.4), right_eye=(0.7, 0.4), detected=1, spread=0.1, count=9)
FACES = np.random.default_rng(0).integers(0, 256, size=(7, 20, 20, 1)).astype(np.uint8)


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a user's module changes in the interpreter is undone."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "mien_evaluated_mine", raising=False)


def _write_onnx(path: Path, card: ModelCard) -> np.ndarray:
    """One matrix over the pixels; returns it."""
    weights = np.random.default_rng(1).normal(size=(card.size**2, len(card.labels))).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["faces"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
        ],
        "linear",
        [helper.make_tensor_value_info("faces", TensorProto.FLOAT, ["batch", 1, card.size, card.size])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(card.labels)])],
        [numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    helper.set_model_props(model, {CARD_KEY: card.to_json()})
    onnx.save(model, path)
    return weights


def _card(**changes: object) -> ModelCard:
    values = {"name": "linear", "labels": ("Happy", "sad", "other"), "size": 12, "channels": 1}
    return ModelCard(**{**values, "template": TEMPLATE, "temperature": 2.0, **changes})  # type: ignore[arg-type]


def _write_function(folder: Path, body: str, name: str = "mine.py") -> str:
    (folder / name).write_text("import numpy as np\n" + body, encoding="utf-8")
    return f"{folder / name}:classify"


def test_an_onnx_file_answers_as_its_runtime_with_its_temperature(tmp_path: Path) -> None:
    path = tmp_path / "linear.onnx"
    weights = _write_onnx(path, _card())
    model = open_model(path)
    assert (model.name, model.kind, model.size, model.template) == ("linear", "onnx", 12, TEMPLATE)
    assert model.labels == ("happiness", "sadness", "other")
    assert model.network is None
    inputs = to_input(FACES, size=12, channels=1, mean=0.5, std=0.5).reshape(7, -1)
    answers = model.log_probabilities(FACES)
    assert answers.dtype == np.float32
    assert np.allclose(answers, log_softmax(inputs @ weights / 2, axis=1), atol=1e-4)
    assert model.log_probabilities(FACES[:0]).shape == (0, 3)


def test_a_folder_with_a_model_file_and_the_bundled_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write_onnx(tmp_path / "model.onnx", _card())
    expected = open_model(tmp_path / "model.onnx").log_probabilities(FACES)
    assert np.array_equal(open_model(tmp_path).log_probabilities(FACES), expected)
    monkeypatch.setattr("mien.evaluate.models.bundled_path", lambda: tmp_path / "model.onnx")
    bundled = open_model("bundled")
    assert (bundled.name, bundled.kind) == ("bundled", "onnx")
    assert np.array_equal(bundled.log_probabilities(FACES), expected)


def test_a_run_answers_as_its_network(trained: Path) -> None:
    model = open_model(trained)
    saved = read_run(trained)
    assert (model.kind, model.labels, model.size) == ("run", saved.labels, 48)
    assert model.network is not None
    assert model.config == saved.config.model
    logits = predict_logits(
        saved.model(), FACES.transpose(0, 3, 1, 2), np.arange(len(FACES)), saved.config.model
    )
    assert saved.card is not None
    assert saved.card.temperature != 1
    expected = log_softmax(logits / saved.card.temperature, axis=1)
    assert np.allclose(model.log_probabilities(FACES), expected, atol=1e-5)
    assert model.log_probabilities(FACES[:0]).shape == (0, 8)


def test_a_function_of_a_file_gives_probabilities_of_named_labels(tmp_path: Path) -> None:
    (tmp_path / "beside_mine.py").write_text("LEVEL = 0.25\n", encoding="utf-8")
    spec = _write_function(
        tmp_path,
        "from beside_mine import LEVEL\n"
        "def classify(faces):\n"
        "    assert faces.dtype == np.uint8 and len(faces) <= 250\n"
        "    light = faces.mean((1, 2, 3)) / 255\n"
        "    return np.stack([light * 0.75, (1 - light) * 0.75, 0 * light, LEVEL + 0 * light], 1)\n"
        "classify.labels = ['Happy', 'angry', 'NEUTRAL', 'joyless']\n",
    )
    model = open_model(spec)
    assert (model.name, model.kind, model.size) == ("mine:classify", "function", None)
    assert model.labels == ("happiness", "anger", "neutral", "joyless")
    many = np.concatenate([FACES] * 60)
    answers = np.exp(model.log_probabilities(many))
    light = many.mean((1, 2, 3)) / 255
    assert np.allclose(answers[:, 0], light * 0.75, atol=1e-6)
    assert np.allclose(answers[:, 3], 0.25, atol=1e-6)
    assert np.isfinite(model.log_probabilities(FACES)).all()
    assert np.allclose(answers.sum(1), 1, atol=1e-5)
    assert model.log_probabilities(FACES[:0]).shape == (0, 4)


def test_a_function_of_a_module_with_labels_and_logits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write_function(
        tmp_path,
        "LABELS = ('a', 'b')\n"
        "def classify(faces):\n"
        "    return np.array([[3.0, -1.0]] * len(faces))\n"
        "classify.output = 'logits'\n",
        name="module_of_mine.py",
    )
    monkeypatch.chdir(tmp_path)
    model = open_model("module_of_mine:classify")
    assert model.labels == ("a", "b")
    assert np.allclose(model.log_probabilities(FACES), log_softmax([3.0, -1.0]), atol=1e-6)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("np.full((len(faces), 3), 1 / 3)", r"answered 7 faces with \[7, 3\]; .* must be \[7,2\]"),
        ("np.full((2, 2), 0.5)", r"answered 7 faces with \[2, 2\]"),
        ("np.full((len(faces), 2), np.nan)", "not finite"),
        ("np.full((len(faces), 2), 0.6)", r"sum to 1.2. If these are logits, set classify.output"),
        ("np.array([[1.5, -0.5]] * len(faces))", "probabilities of 0 or more"),
    ],
)
def test_answers_that_are_no_probabilities_are_refused(tmp_path: Path, answer: str, message: str) -> None:
    spec = _write_function(tmp_path, f"LABELS = ('a', 'b')\ndef classify(faces):\n    return {answer}\n")
    with pytest.raises(InputError, match=message):
        open_model(spec).log_probabilities(FACES)


def test_a_function_that_fails_is_told_with_its_place(tmp_path: Path) -> None:
    body = 'LABELS = ("happy", "sad")\ndef classify(faces):\n    return faces @ np.zeros((3, 2))\n'
    spec = _write_function(tmp_path, body)
    with pytest.raises(
        InputError, match=r"mine:classify failed on 7 faces of shape \[20, 20, 1\] .*; mine\.py, line 4\)"
    ):
        open_model(spec).log_probabilities(FACES)


def test_sums_that_rounding_explains_are_taken(tmp_path: Path) -> None:
    spec = _write_function(
        tmp_path,
        "LABELS = ('a', 'b')\ndef classify(faces):\n    return np.full((len(faces), 2), 0.498)\n",
    )
    assert np.allclose(np.exp(open_model(spec).log_probabilities(FACES)), 0.5, atol=1e-6)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("def other(faces): ...\n", "mine.py has no function classify"),
        ("def classify(faces): ...\n", "does not say what it answers"),
        ("LABELS = 'ab'\ndef classify(faces): ...\n", "does not say what it answers"),
        ("LABELS = ('sad', 'Sadness')\ndef classify(faces): ...\n", "names a class twice: sadness"),
        ("LABELS = ('a', 'b')\ndef classify(faces): ...\nclassify.output = 'p'\n", "must be .probabilities."),
        ("import package_that_is_nowhere\n", r"cannot be imported \(ModuleNotFoundError: No module named"),
    ],
)
def test_files_that_hold_no_such_function_are_refused(tmp_path: Path, body: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_model(_write_function(tmp_path, body))
    assert "import package" not in body or "mien_evaluated_mine" not in sys.modules


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "nowhere",
            "nowhere: no such model; give a run's folder, an .onnx file, bundled, or module:function",
        ),
        ("nowhere.onnx", "there is no such model file"),
        ("nowhere.py:classify", "there is no such file"),
        ("no_module_of_this_name:classify", "cannot be imported"),
        ("a:b c", "no such model"),
    ],
)
def test_what_is_no_model_is_refused(spec: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_model(spec)


def test_an_empty_folder_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no run there"):
        open_model(tmp_path)


def test_classes_are_matched_by_name_whatever_their_order() -> None:
    match = match_labels(("surprised", "Angry", "happy"), ("anger", "contempt", "happiness", "surprise"))
    assert match.names == ("anger", "happiness", "surprise")
    assert match.unknown == ("contempt",)
    assert match.masked == ()
    answers = np.log(np.array([[0.2, 0.5, 0.3]], np.float32))
    assert np.allclose(np.exp(match.log_probabilities(answers)), [[0.5, 0.3, 0.2]])
    rows, labels = match.labels(np.array([3, 1, 0, 2]))
    assert rows.tolist() == [0, 2, 3]
    assert labels.tolist() == [2, 0, 1]
    assert match.sentences("fer") == ("fer does not know contempt; such images are left out.",)


def test_classes_that_the_data_lacks_are_masked() -> None:
    match = match_labels(EMOTIONS, ("happiness", "sadness"))
    assert match.unknown == ()
    assert len(match.masked) == 6
    logits = np.random.default_rng(0).normal(size=(5, 8)).astype(np.float32)
    answers = np.exp(match.log_probabilities(log_softmax(logits, axis=1)))
    kept = np.exp(logits[:, [EMOTIONS.index("happiness"), EMOTIONS.index("sadness")]])
    assert np.allclose(answers, kept / kept.sum(1, keepdims=True), atol=1e-5)
    assert match.sentences("swin")[0].startswith("anger, contempt, disgust, fear, neutral, surprise of swin")


def test_a_view_must_be_known_to_both() -> None:
    seven = tuple(name for name in EMOTIONS if name != "contempt")
    match = match_labels(seven[::-1], EMOTIONS, view="7")
    assert (match.names, match.unknown) == (seven, ())
    assert match_labels(EMOTIONS, EMOTIONS).sentences("x") == ()
    with pytest.raises(InputError, match="fer does not know contempt; its classes are"):
        match_labels(seven, EMOTIONS, view="anger,contempt", model="fer")
    with pytest.raises(InputError, match="share no class"):
        match_labels(("cat", "dog"), EMOTIONS)
    with pytest.raises(InputError, match="label view 'bored' wants bored"):
        match_labels(("bored",), EMOTIONS, view="bored")
