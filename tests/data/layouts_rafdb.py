"""Small RAF-DBs in both layouts: drawn faces, the set's own names, codes and dirt.

Each writer returns what a reader should make of it: the record's key to what the record says. Codes and
names are written out here, so that no mistake of the package can hide in them.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from mien.data.synthetic import draw_faces

EMOTIONS = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")
"""In the order of RAF-DB's codes, 1 to 7."""
DIGITS = {"train": 5, "test": 4}
"""Of the numbers in the names: train_00001, test_0001."""


class Expected(NamedTuple):
    """What a record says; `readable` is False for a file that is no picture, which a reader cannot know."""

    label: str | None
    split: str | None
    drop_reason: str | None = None
    readable: bool = True


class Face(NamedTuple):
    """A picture of the set; `code` is the official one."""

    name: str
    code: int
    split: str
    pixels: npt.NDArray[np.uint8]


def _faces(per_class: int, size: int) -> list[Face]:
    """`per_class` faces of each emotion for each split, named as in the set."""
    faces = []
    for split, digits in DIGITS.items():
        number = 0
        for code, emotion in enumerate(EMOTIONS, start=1):
            seed = code if split == "train" else 100 + code
            drawn = draw_faces(
                per_class, size=size, channels=3, seed=seed, emotions=[emotion], frontal=True
            ).images
            for pixels in drawn:
                number += 1
                faces.append(Face(f"{split}_{number:0{digits}d}", code, split, pixels))
    return faces


def _save(path: Path, pixels: npt.NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def write_rafdb(
    root: Path,
    *,
    per_class: int = 1,
    size: int = 100,
    images: str = "aligned",
    spelling: str = "list_patition_label.txt",
    windows: bool = False,
    dirt: bool = True,
) -> dict[str, Expected]:
    """The authors' layout.

    Args:
        root: the set's folder, made here.
        per_class: pictures of each emotion in each split.
        size: of the pictures in pixels.
        images: `aligned` or `original`.
        spelling: the list's name.
        windows: write the list with a byte order mark and Windows line ends.
        dirt: also write files and lines that do not belong together.
    """
    folder, suffix = root / "Image" / images, "_aligned.jpg" if images == "aligned" else ".jpg"
    lines, expected = [], {}
    for face in _faces(per_class, size):
        _save(folder / f"{face.name}{suffix}", face.pixels)
        lines.append(f"{face.name}.jpg {face.code}")
        expected[face.name] = Expected(EMOTIONS[face.code - 1], face.split)
    if dirt:
        lines += ["train_09001.jpg 4", "test_9002.jpg 1", "", "train_09003.jpg 3", "train_09003.jpg 5"]
        lines += ["train_09004.jpg 7", "train_09004.jpg 7", "train_09005.jpg 2"]
        for name in ("train_09003", "train_09004", "train_09006"):
            _save(folder / f"{name}{suffix}", face.pixels)
        (folder / f"train_09005{suffix}").write_bytes(b"")
        (folder / "Thumbs.db").write_bytes(b"\0")
        (folder / "notes.txt").write_text("no picture")
        expected |= {
            "train_09001": Expected("happiness", "train", "missing file"),
            "test_9002": Expected("surprise", "test", "missing file"),
            "train_09003": Expected(None, "train", "two labels"),
            "train_09004": Expected("neutral", "train"),
            "train_09005": Expected("fear", "train", readable=False),
            "train_09006": Expected(None, "train", "no label"),
            f"Image/{images}/notes.txt": Expected(None, None, "no label", readable=False),
        }
    end = "\r\n" if windows else "\n"
    text = ("\ufeff" if windows else "") + "".join(f"{line}{end}" for line in lines)
    (root / "EmoLabel").mkdir(parents=True)
    (root / "EmoLabel" / spelling).write_bytes(text.encode())
    return expected


def write_rafdb_kaggle(
    root: Path, *, per_class: int = 1, size: int = 100, tables: bool = True, dirt: bool = True
) -> dict[str, Expected]:
    """Kaggle's copy: `DATASET` and, beside it, two csv files.

    Args:
        root: the folder around `DATASET`, made here.
        per_class: pictures of each emotion in each split.
        size: of the pictures in pixels.
        tables: write train_labels.csv and test_labels.csv.
        dirt: also write files and rows that do not belong together.
    """
    rows: dict[str, list[str]] = {split: ["image,label"] for split in DIGITS}
    expected: dict[str, Expected] = {}
    for face in _faces(per_class, size):
        _save(root / "DATASET" / face.split / str(face.code) / f"{face.name}_aligned.jpg", face.pixels)
        rows[face.split].append(f"{face.name}_aligned.jpg,{face.code}")
        expected[face.name] = Expected(EMOTIONS[face.code - 1], face.split)
    if dirt:
        train = root / "DATASET" / "train"
        for folder, name in (
            ("3", "train_09001_aligned"), ("3", "train_09002_aligned"), ("5", "train_09002_aligned"),
            ("6", "test_9003_aligned"), ("6", "smile"),
        ):  # fmt: skip
            _save(train / folder / f"{name}.jpg", face.pixels)
        (train / "1" / "train_09004_aligned.jpg").symlink_to(root / "nowhere.jpg")
        (train / "1" / "desktop.ini").write_text("")
        rows["train"] += ["train_09001_aligned.jpg,4", "train_09005_aligned.jpg,2"]
        expected |= {
            "train_09001": Expected(None, "train", "two labels") if tables else Expected("disgust", "train"),
            "train/3/train_09002_aligned.jpg": Expected(None, "train", "two labels"),
            "train/5/train_09002_aligned.jpg": Expected(None, "train", "two labels"),
            "test_9003": Expected("anger", "test"),
            "train/6/smile.jpg": Expected("anger", "train"),
            "train_09004": Expected("surprise", "train", "missing file"),
        }
        if tables:
            expected["train_09005"] = Expected("fear", "train", "missing file")
    for split, lines in rows.items():
        if tables:
            (root / f"{split}_labels.csv").write_text("\n".join(lines) + "\n")
    return expected
