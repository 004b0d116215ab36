"""Teachers against the evaluation path: a teacher must see what it would see of the same face there."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import save_file
from torch import Tensor, nn

from mien.card import CARD_KEY, ModelCard
from mien.config import DistillConfig, LoopConfig, ModelConfig, RunConfig, SEConfig, to_dict
from mien.errors import CheckpointError, InputError
from mien.evaluate.predict import predict_logits
from mien.files import sha256_of, write_json
from mien.models.build import build_model
from mien.models.saved import SavedRun
from mien.models.weights import load_weights
from mien.preprocess import to_input
from mien.train.teacher import Teacher, load_teacher

LABELS = ("anger", "fear", "joy")
STUDENT = ModelConfig(size=24, embed_dim=8, depths=(1,), num_heads=(2,), se=SEConfig("none"))


def _run(folder: Path, labels: tuple[str, ...] = LABELS, *, seed: int = 1, **changes: Any) -> Path:
    """The folder of a finished run that nobody has trained, with answers that hang on every pixel."""
    config = dataclasses.replace(STUDENT, **changes)
    torch.manual_seed(seed)
    model = build_model(config, len(labels))
    nn.init.normal_(model.head.weight)
    folder.mkdir()
    save_file(model.state_dict(), folder / "best.safetensors")
    write_json(folder / "config.json", to_dict(RunConfig(model=config, train=LoopConfig(epochs=1))))
    write_json(folder / "run.json", {"labels": list(labels), "sets": ["drawn"]})
    (folder / "history.jsonl").write_text('{"epoch": 1}\n')
    return folder


def _network(folder: Path, labels: int = len(LABELS), **changes: Any) -> nn.Module:
    model = build_model(dataclasses.replace(STUDENT, **changes), labels)
    load_weights(model, folder / "best.safetensors")
    return model.eval()


def _teacher(
    *paths: Path,
    labels: tuple[str, ...] = LABELS,
    student: ModelConfig = STUDENT,
    temperature: float = 1.0,
    prior: np.ndarray | None = None,
) -> Teacher:
    config = DistillConfig(tuple(map(str, paths)), temperature=temperature)
    teacher = load_teacher(config, student, labels, prior=prior)
    assert teacher is not None
    return teacher


def _faces(channels: int, size: int = 24, count: int = 4) -> np.ndarray:
    """Smooth noise, uint8 [N,H,W,C]."""
    coarse = torch.rand(count, channels, 5, 5, generator=torch.Generator().manual_seed(0))
    smooth = F.interpolate(coarse, size=(size, size), mode="bicubic").clamp(0, 1)
    return (255 * smooth).round().byte().permute(0, 2, 3, 1).numpy()


def _seen_by(model: ModelConfig, faces: np.ndarray) -> Tensor:
    return torch.from_numpy(
        to_input(faces, size=model.size, channels=model.channels, mean=model.mean, std=model.std)
    )


def test_it_answers_as_its_run_is_evaluated(tmp_path: Path) -> None:
    folder = _run(tmp_path / "t")
    faces = _faces(1)
    logits = predict_logits(_network(folder), faces.transpose(0, 3, 1, 2), np.arange(4), STUDENT)
    answers = _teacher(folder, temperature=2.0)(_seen_by(STUDENT, faces))
    assert answers.dtype == torch.float32
    torch.testing.assert_close(answers, (torch.from_numpy(logits) / 2).softmax(1))
    # The logits are far enough apart for a wrong input to show.
    assert float(answers.std(0).mean()) > 0.05


@pytest.mark.parametrize(
    ("student", "teacher"),
    [
        ({}, {"mean": 0.4, "std": 0.25}),
        ({"mean": 0.3, "std": 0.2}, {}),
        ({}, {"mean": 0.4}),
        ({}, {"channels": 3}),
        ({"channels": 3}, {"channels": 1}),
        ({}, {"size": 32}),
        ({}, {"size": 16}),
        ({"channels": 3, "mean": 0.4}, {"channels": 1, "size": 40, "std": 0.3}),
    ],
)
def test_the_students_batch_becomes_what_the_teacher_was_trained_on(
    tmp_path: Path, student: dict[str, Any], teacher: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Recorder(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(x)
            return torch.zeros(len(x), len(LABELS))

    seen: list[Tensor] = []
    monkeypatch.setattr(SavedRun, "model", lambda _: Recorder())
    own, theirs = dataclasses.replace(STUDENT, **student), dataclasses.replace(STUDENT, **teacher)
    faces = _faces(own.channels)
    _teacher(_run(tmp_path / "t", **teacher), student=own)(_seen_by(own, faces))
    expected = _seen_by(theirs, faces)
    # The evaluation path rounds grey and resized pixels to whole numbers, each time by half a level at most.
    levels = 0.5 * ((own.channels, theirs.channels) == (3, 1)) + 1.0 * (own.size != theirs.size)
    torch.testing.assert_close(seen[0], expected, rtol=0, atol=levels / 255 / theirs.std + 1e-5)


def test_classes_are_matched_by_name_and_those_the_student_lacks_left_out(tmp_path: Path) -> None:
    folder = _run(tmp_path / "t", ("joy", "contempt", "anger", "fear"))
    x = _seen_by(STUDENT, _faces(1))
    with torch.no_grad():
        joy, _, anger, fear = _network(folder, 4)(x).T
    expected = torch.stack([anger, fear, joy], 1).softmax(1)
    torch.testing.assert_close(_teacher(folder)(x), expected)


def test_several_teachers_give_the_mean_of_their_probabilities(tmp_path: Path) -> None:
    one, two = _run(tmp_path / "one"), _run(tmp_path / "two", LABELS[::-1], seed=2, channels=3)
    x = _seen_by(STUDENT, _faces(1))
    both = _teacher(one, two, temperature=2.0)(x)
    apart = [_teacher(path, temperature=2.0)(x) for path in (one, two)]
    torch.testing.assert_close(both, (apart[0] + apart[1]) / 2)
    assert not torch.allclose(*apart, atol=0.05)


def test_a_teacher_is_moved_to_the_prior_that_the_students_labels_follow(tmp_path: Path) -> None:
    folder = _run(tmp_path / "t")
    x = _seen_by(STUDENT, _faces(1))
    own, wanted = np.array([0.2, 0.3, 0.5]), np.array([0.6, 0.3, 0.1])
    plain = _teacher(folder)(x).numpy()
    # A run that does not say its prior, or has the student's, is left as it is.
    np.testing.assert_array_equal(_teacher(folder, prior=wanted)(x), plain)
    shares = {"prior": dict(zip(LABELS, own.tolist(), strict=True))}
    write_json(folder / "run.json", {"labels": list(LABELS), **shares})
    np.testing.assert_allclose(_teacher(folder, prior=own)(x), plain, rtol=1e-5)
    # Bayes' rule: the likelihood stays, the prior is exchanged.
    moved = plain / own * wanted
    expected = moved / moved.sum(1, keepdims=True)
    np.testing.assert_allclose(_teacher(folder, prior=wanted)(x), expected, rtol=1e-5)


def test_a_class_that_either_side_never_saw_keeps_its_logit(tmp_path: Path) -> None:
    folder = _run(tmp_path / "t")
    prior = {"anger": 0.5, "fear": 0.5, "joy": 0.0}
    write_json(folder / "run.json", {"labels": list(LABELS), "prior": prior})
    x = _seen_by(STUDENT, _faces(1))
    with torch.no_grad():
        logits = _network(folder)(x)
    answers = _teacher(folder, prior=np.array([0.0, 0.25, 0.75]))(x)
    torch.testing.assert_close(answers, (logits + torch.tensor([1.0, 0.5, 1.0]).log()).softmax(1))


def test_a_batch_norm_teacher_learns_nothing_from_its_pupils(tmp_path: Path) -> None:
    folder = _run(tmp_path / "t", drop_path=0.5, depths=(2,), stem="conv")
    teacher = _teacher(folder)
    x = _seen_by(STUDENT, _faces(1))
    state = torch.get_rng_state()
    first = teacher(x)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(teacher(x), first)
    assert not first.requires_grad
    # Its answers serve in a loss that is differentiated.
    logits = torch.zeros(4, 3, requires_grad=True)
    F.kl_div(logits.log_softmax(1), first, reduction="batchmean").backward()


def test_loading_a_teacher_moves_no_random_draw(tmp_path: Path) -> None:
    folder = _run(tmp_path / "t")
    state = torch.get_rng_state()
    _teacher(folder)
    assert torch.equal(torch.get_rng_state(), state)


def test_it_follows_the_callers_autocast_and_answers_in_fp32(tmp_path: Path) -> None:
    teacher = _teacher(_run(tmp_path / "t"))
    x = _seen_by(STUDENT, _faces(1))
    exact = teacher(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        answers = teacher(x)
    assert answers.dtype == torch.float32
    assert not torch.equal(answers, exact)
    torch.testing.assert_close(answers, exact, rtol=0, atol=0.1)
    torch.testing.assert_close(answers.sum(1), torch.ones(4))


def test_what_run_json_needs_of_a_teacher(tmp_path: Path) -> None:
    folder = _run(tmp_path / "t")
    expected = {"source": "t", "sha256": sha256_of(folder / "best.safetensors"), "sets": ["drawn"]}
    assert _teacher(folder).records == [expected]
    assert load_teacher(DistillConfig(), STUDENT, LABELS) is None


def test_what_cannot_teach_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no run there"):
        _teacher(tmp_path / "nowhere")
    folder = _run(tmp_path / "t", ("anger", "fear"))
    with pytest.raises(InputError, match="t does not know joy; its classes are anger, fear; name a teacher"):
        _teacher(folder)
    (folder / "history.jsonl").write_text("")
    with pytest.raises(InputError, match="t is not trained to its end; run mien train --resume"):
        _teacher(folder, labels=("anger",))
    other = _run(tmp_path / "other")
    save_file({"head.weight": torch.zeros(3, 8)}, other / "best.safetensors")
    with pytest.raises(CheckpointError, match="weights are of another model"):
        _teacher(other)


# ---------------------------------------------------------------- exported models


def _exported(path: Path, labels: tuple[str, ...], size: int = 12, **changes: Any) -> tuple[Path, np.ndarray]:
    """An ONNX file: logits are one matrix over the pixels of RGB faces at 12 px; its card tells `size`."""
    card = ModelCard(name="linear", labels=labels, size=size, channels=3, **changes)
    weights = np.random.default_rng(0).normal(size=(3 * 12 * 12, len(labels))).astype(np.float32) / 10
    nodes = [
        helper.make_node("Flatten", ["faces"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("faces", TensorProto.FLOAT, ["batch", 3, 12, 12])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(labels)])],
        [numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    helper.set_model_props(model, {CARD_KEY: card.to_json()})
    onnx.save(model, path)
    return path, weights


def test_an_exported_model_teaches_too(tmp_path: Path) -> None:
    path, weights = _exported(
        tmp_path / "model.onnx",
        ("joy", "fear", "anger"),
        mean=0.25,
        std=0.2,
        prior={"joy": 0.5, "fear": 0.25, "anger": 0.25},
        training_data=[{"sets": ["fer2013", "ferplus"]}, {"sets": ["fer2013"]}],
    )
    student = dataclasses.replace(STUDENT, size=12)
    x = _seen_by(student, _faces(1, 12))
    teacher = _teacher(path, student=student, temperature=2.0, prior=np.array([0.5, 0.25, 0.25]))
    intensities = (0.5 * x + 0.5).expand(-1, 3, -1, -1).flatten(1).numpy()
    joy, fear, anger = (((intensities - 0.25) / 0.2) @ weights).T
    logits = np.stack([anger + np.log(0.5 / 0.25), fear, joy + np.log(0.25 / 0.5)], 1)
    expected = torch.from_numpy(logits / 2).softmax(1).float()
    torch.testing.assert_close(teacher(x), expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(teacher(x), expected)
    assert teacher.records == [
        {"source": "model.onnx", "sha256": sha256_of(path), "sets": ["fer2013", "ferplus"]}
    ]


def test_an_exported_model_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such model file"):
        _teacher(tmp_path / "none.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"not this")
    with pytest.raises(InputError, match="cannot open this as an ONNX model"):
        _teacher(tmp_path / "bad.onnx")
    with pytest.raises(InputError, match=r"its card asks for floats \[N, 3, 13, 13\]"):
        _teacher(_exported(tmp_path / "other.onnx", LABELS, size=13)[0])
