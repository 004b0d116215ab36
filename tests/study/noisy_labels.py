"""Answers and labels made up, and a prepared folder with votes beside labels."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.special import softmax

from mien.data.manifest import Manifest, ManifestInfo
from mien.data.manifest_columns import schema_for
from mien.data.pack import write_pack
from mien.data.prepared import MANIFEST_FILE
from mien.data.targets import Targets
from mien.files import sha256_of

Float = npt.NDArray[np.float64]


def answers(truth: npt.NDArray[np.int64], classes: int, seed: int = 0) -> Float:
    """Probabilities of a decent model: three quarters of its answers are the true class, some closely."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1, (len(truth), classes))
    logits[np.arange(len(truth)), truth] += 2.5
    return softmax(logits, axis=1)


def planted(truth: npt.NDArray[np.int64], classes: int, share: float, seed: int = 1) -> npt.NDArray[np.int64]:
    """Labels of which a share names another class."""
    rng = np.random.default_rng(seed)
    wrong = rng.random(len(truth)) < share
    return np.where(wrong, (truth + rng.integers(1, classes, len(truth))) % classes, truth)


def drawn_emotion(manifest: Manifest, targets: Targets) -> npt.NDArray[np.int64]:
    clean = dict(manifest.frame.select("id", "labels.drawn_clean").iter_rows())
    return np.asarray([targets.classes.index(clean[name]) for name in targets.ids], dtype=np.int64)


def voted_folder(folder: Path) -> Path:
    """Two annotations of 60 noise pictures: FER-2013's label, and FER+'s with votes."""
    classes, faces = ("happiness", "sadness"), 60
    info = ManifestInfo(
        labels=classes,
        annotations={"fer2013": (), "ferplus": (*classes, "unknown")},
        target="ferplus.votes",
        size=24,
        channels=1,
        pack_file="pack-0.npy",
        pack_count=faces,
        pack_sha256="",
    )
    pixels = np.random.default_rng(0).integers(0, 256, (faces, 1, 24, 24), dtype=np.uint8)
    folder.mkdir()
    write_pack(folder / info.pack_file, pixels, size=24, channels=1)
    info = dataclasses.replace(info, pack_sha256=sha256_of(folder / info.pack_file))
    rows = [
        {
            "id": f"fer2013/{i:05d}",
            "set": "fer2013",
            "source_file": "fer2013.csv",
            "pack_row": i,
            "sha256": f"{i:064x}",
            "split": ("train", "train", "train", "train", "validation", "test")[i % 6],
            "crop": "came_cropped",
            "kept": True,
            "labels.fer2013": classes[i % 7 == 0],
            # One row is not in FER+.
            "labels.ferplus": None if i == 0 else classes[i % 2],
            "votes.ferplus": None if i == 0 else [7, 1, 2] if i % 2 == 0 else [2, 6, 2],
        }
        for i in range(faces)
    ]
    schema = schema_for(info.annotations)
    frame = pl.DataFrame(
        [pl.Series(name, [r.get(name) for r in rows], dtype=kind) for name, kind in schema.items()]
    )
    Manifest(frame, info).write(folder / MANIFEST_FILE)
    return folder
