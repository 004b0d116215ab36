"""The light half where only its own dependencies are installed: it works there, and torch is absent."""

import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
BLOCKED = (
    "torch",
    "timm",
    "torchvision",
    "polars",
    "matplotlib",
    "sklearn",
    "lightning_fabric",
    "av",
    "cv2",
    "onnx",
)

WALK = """
import importlib, json, pkgutil, sys

blocked = set(json.loads(sys.argv[1]))

class Wall:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in blocked:
            raise ImportError(f"{name} is not there in a light install")

sys.meta_path.insert(0, Wall())
import mien
done = []
for name in ("runtime", "faces", "card", "images", "preprocess", "labels", "files", "config", "errors"):
    module = importlib.import_module(f"mien.{name}")
    done.append(module.__name__)
    for found in pkgutil.walk_packages(getattr(module, "__path__", ()), f"mien.{name}."):
        importlib.import_module(found.name)
        done.append(found.name)
for name in mien.__all__:
    getattr(mien, name)
print(json.dumps([done, sorted(blocked & {m.split(".")[0] for m in sys.modules})]))
"""

USE = """
import importlib.util, json, sys
import numpy as np
import mien

try:
    import torch
except ModuleNotFoundError:
    pass
else:
    sys.exit("torch is importable in the light install")
model = mien.load(sys.argv[1])
np.save(sys.argv[3], model.logits(np.load(sys.argv[2])))
faces = model.read(np.load(sys.argv[4]))
print(json.dumps({
    "home": mien.__file__,
    "faces": [face.to_dict() for face in faces],
    "present": [name for name in ("torch", "timm", "cv2", "polars") if importlib.util.find_spec(name)],
}))
"""


OFFLINE = """
import socket, sys

def refused(*args, **options):
    raise OSError("this test is offline")

socket.socket.connect = socket.create_connection = socket.getaddrinfo = refused
from mien.cli import run

sys.exit(run(sys.argv[1:]))
"""


def test_every_light_module_imports_behind_a_wall():
    finished = subprocess.run(
        [sys.executable, "-W", "error", "-c", WALK, json.dumps(BLOCKED)], capture_output=True, text=True
    )
    assert finished.returncode == 0, finished.stderr
    done, leaked = json.loads(finished.stdout)
    assert leaked == []
    assert {"mien.runtime.classifier", "mien.faces.mtcnn", "mien.card"} <= set(done)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    finished = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)],
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stdout[-2000:] + finished.stderr[-2000:]
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def bare_python(wheel, tmp_path_factory):
    """The interpreter of a new environment that holds the wheel and what it depends on."""
    folder = tmp_path_factory.mktemp("bare") / "venv"
    venv.create(folder, with_pip=True, symlinks=os.name != "nt")
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    finished = subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--retries", "1", str(wheel)],
        capture_output=True,
        text=True,
    )
    if finished.returncode != 0:
        # A wrong requirement must fail, so only an index that does not even give pip itself excuses.
        probe = [python, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, "pip"]
        if subprocess.run(probe, capture_output=True).returncode != 0:
            pytest.skip(f"the package index cannot be reached: {finished.stderr.strip().splitlines()[-1]}")
        pytest.fail(finished.stderr[-3000:])
    yield python
    # Two hundred megabytes that pytest would otherwise keep for three runs.
    shutil.rmtree(folder)


def test_the_wheel_serves_a_model_without_torch(bare_python, tmp_path):
    import torch
    from torch import nn

    from mien.card import ModelCard
    from mien.data.synthetic import draw_faces, paste_faces
    from mien.export.onnx import export_model
    from mien.preprocess import to_input

    torch.manual_seed(0)
    stem = nn.Sequential(nn.Conv2d(1, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.GELU())
    module = nn.Sequential(stem, nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(54, 3)).eval()
    card = ModelCard(name="tiny", labels=("a", "b", "c"), size=24, channels=1)
    export_model(module, card, tmp_path / "model.onnx")
    faces = np.random.default_rng(0).integers(0, 256, (7, 48, 48, 1), dtype=np.uint8)
    frame, _, _ = paste_faces(draw_faces(2, size=96, channels=3, seed=1, frontal=True), seed=1)
    np.save(tmp_path / "faces.npy", faces)
    np.save(tmp_path / "frame.npy", frame)

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    names = ("model.onnx", "faces.npy", "logits.npy", "frame.npy")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    finished = subprocess.run(
        [bare_python, "-W", "error", "-c", USE, *(tmp_path / name for name in names)],
        cwd=elsewhere,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stderr
    answer = json.loads(finished.stdout)
    assert not Path(answer["home"]).is_relative_to(ROOT)
    assert answer["present"] == []
    assert len(answer["faces"]) == 2
    with torch.inference_mode():
        expected = module(torch.from_numpy(to_input(faces, size=24, channels=1, mean=0.5, std=0.5))).numpy()
    assert np.abs(np.load(tmp_path / "logits.npy") - expected).max() <= 1e-4


def test_the_command_line_works_offline_from_another_folder(bare_python, tmp_path):
    from PIL import Image
    from tests.runtime.conftest import make_card, write_model

    from mien.data.synthetic import draw_faces, paste_faces

    write_model(tmp_path / "model.onnx", make_card())
    elsewhere = tmp_path / "else where"
    elsewhere.mkdir()
    for number in range(3):
        drawn = draw_faces(2, size=96, channels=3, seed=number, frontal=True)
        Image.fromarray(paste_faces(drawn, seed=number)[0]).save(elsewhere / f"{number}.png")
    command = ["predict", "*.png", "--model", "../model.onnx", "--csv", "out.csv", "--jsonl", "out.jsonl"]
    finished = subprocess.run(
        [bare_python, "-W", "error", "-c", OFFLINE, *command, "--annotate", "marked"],
        cwd=elsewhere,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stderr
    assert len(finished.stdout.splitlines()) == 6
    assert len((elsewhere / "out.csv").read_text().splitlines()) == 7
    lines = (elsewhere / "out.jsonl").read_text(encoding="utf-8").splitlines()
    assert [len(json.loads(line)["faces"]) for line in lines] == [2, 2, 2]
    assert len(list((elsewhere / "marked").glob("*.png"))) == 3
    refused = subprocess.run(
        [
            bare_python,
            "-c",
            OFFLINE,
            "predict",
            "0.png",
            "--model",
            "../model.onnx",
            "--parquet",
            "a.parquet",
        ],
        cwd=elsewhere,
        capture_output=True,
        text=True,
    )
    assert refused.returncode == 2
    assert 'pip install "mien[tables]"' in refused.stderr
