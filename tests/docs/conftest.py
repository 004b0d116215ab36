"""A folder with everything that the examples name: pictures, raw sets, a prepared folder, a run. All is drawn
but for one photograph, scikit-image's `astronaut` (NASA, public domain)."""

from __future__ import annotations

import csv
import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
from PIL import Image
from tests.apps.page_checks import Served, astronaut
from tests.data.layouts_affectnet import write_affectnet_2021
from tests.data.layouts_ckplus import write_ck48
from tests.data.layouts_rafdb import write_rafdb_kaggle

from mien.config import RunConfig, to_dict
from mien.data.synthetic import draw_faces
from mien.labels import EMOTIONS, FERPLUS_COLUMNS
from mien.progress import Reporter
from mien.runtime.model_file import bundled_path

from .pages import ROOT

FACE = (178, 58, 268, 173)
"""Where the face is in the photograph, in pixels."""
FER2013 = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
USAGES = ("Training", "PublicTest", "PrivateTest")
SUBJECTS = tuple(f"S{number:03}" for number in range(1, 8))


@pytest.fixture(scope="session")
def everything(drawn_folder: Path, tiny: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder itself; a test takes a copy."""

    root = tmp_path_factory.mktemp("documentation") / "here"
    root.mkdir()
    _write_pictures(root)
    _write_sets(root)
    _write_configs(root, tiny)
    shutil.copy(bundled_path(), root)
    for name in ("drawn", "hybrid"):
        shutil.copytree(drawn_folder, root / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)  # a run remembers its data by the path that was typed
        _train_a_run(tiny)
    shutil.copytree(root / "runs" / "a", root / "runs" / "b")
    return root


@pytest.fixture
def here(everything: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of `everything`, which is the working folder."""
    folder = tmp_path / "here"
    shutil.copytree(everything, folder)
    monkeypatch.chdir(folder)
    # Examples leave the number of processes to mien; starting one costs more than all they do.
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    return folder


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    """Host and port of a `mien serve` with the bundled model."""
    served = Served()
    yield served.address.removeprefix("http://").rstrip("/")
    served.kill()


def _train_a_run(tiny: RunConfig) -> None:
    from mien.export.run import export_run
    from mien.train.run import train_run

    run = Path("runs/a")
    train_run(_quick(tiny), Path("hybrid"), run, reporter=Reporter(quiet=True))
    export_run(run, run / "model.onnx")


def _quick(tiny: RunConfig) -> RunConfig:
    return dataclasses.replace(tiny, train=dataclasses.replace(tiny.train, epochs=1))


def _write_pictures(root: Path) -> None:
    import av

    photo = astronaut()
    for name in ("photo.jpg", "holiday/beach.jpg", "holiday/day 2/boat.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo).save(root / name)
    (root / "crops").mkdir()
    x0, y0, x1, y1 = FACE
    for name in ("face.png", "crops/1.png", "crops/2.png"):
        Image.fromarray(photo[y0:y1, x0:x1]).save(root / name)
    with av.open(root / "talk.mp4", "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 256
        stream.pix_fmt = "yuv420p"
        for move in range(10):
            moved = np.ascontiguousarray(np.roll(photo, move, axis=1)[::2, ::2])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(moved, format="rgb24")))
        container.mux(stream.encode())


def _write_sets(root: Path) -> None:
    """Small sets in the layouts that people have them in; every emotion in every split."""
    rows = []
    for code, emotion in enumerate(FER2013):
        faces = draw_faces(6, emotions=(emotion,), seed=code).images.reshape(6, -1)
        rows += [(code, " ".join(map(str, face)), USAGES[number % 3]) for number, face in enumerate(faces)]
    with (root / "fer2013.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("emotion", "pixels", "Usage"), *rows])
    with (root / "fer2013new.csv").open("w", newline="") as file:
        votes = csv.writer(file)
        votes.writerow(("Usage", "Image name", *FERPLUS_COLUMNS))
        for number, (code, _, usage) in enumerate(rows):
            counts = {FER2013[code]: 8, "neutral": 2} if code < 6 else {"neutral": 10}
            votes.writerow(
                (usage, f"fer{number:07d}.png", *(counts.get(name, 0) for name in FERPLUS_COLUMNS))
            )
    (root / "FER2013").mkdir()
    for name in ("fer2013.csv", "fer2013new.csv"):
        shutil.copy(root / name, root / "FER2013" / name)
    write_ck48(root / "CK+48", subjects=SUBJECTS, per_class=1, dirt=False)
    write_affectnet_2021(root / "AffectNet", per_class=2, dirt=False)
    write_rafdb_kaggle(root / "RAF-DB", per_class=2, dirt=False)
    for folder, classes in (("photos", EMOTIONS), ("moods", ("happiness", "sadness", "surprise"))):
        for number, emotion in enumerate(classes):
            (root / folder / emotion).mkdir(parents=True)
            drawn = draw_faces(8, size=64, channels=3, emotions=(emotion,), seed=100 + number)
            for count, face in enumerate(drawn.images):
                Image.fromarray(face).save(root / folder / emotion / f"{count}.png")


def _write_configs(root: Path, tiny: RunConfig) -> None:
    """The shipped configs' names with a run of seconds in each."""
    for shipped in sorted((ROOT / "configs").rglob("*.toml")):
        values = to_dict(_quick(tiny))
        if "se" not in shipped.stem.split("_") and shipped.stem != "smoke":
            values["model"]["se"]["position"] = "none"
        if "sam" not in shipped.stem.split("_") and shipped.stem != "smoke":
            values["optim"]["sam"]["rho"] = 0.0
        path = root / shipped.relative_to(ROOT)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(tomli_w.dumps(_without_none(values)))


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    """TOML has no null; what is not written takes its default."""
    return {
        name: _without_none(value) if isinstance(value, dict) else value
        for name, value in values.items()
        if value is not None
    }
