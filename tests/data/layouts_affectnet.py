"""Small AffectNets in the layouts that people have: drawn faces, the set's own names, codes and dirt.

Each writer returns what a reader should make of it: the record's key to what the record says. Codes, names
and column order are written out here, so that no mistake of the package can hide in them.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from mien.data.synthetic import DrawnFaces, draw_faces, paste_faces

EMOTIONS = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt")
"""In the order of AffectNet's codes, 0 to 7."""
NO_EMOTION = {8: "none", 9: "uncertain", 10: "no-face"}
FOLDER_NAMES = ("Neutral", "Happy", "Sad", "Surprise", "Fear", "Disgust", "Anger", "Contempt")
"""Of Kaggle's copies, in the order of the codes."""
HEADER = (
    "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal"
)
ENDINGS = (".jpg", ".png", ".JPG", ".bmp", ".tif")
GARBLED = "garbled annotation"


class Expected(NamedTuple):
    """What a record says; `readable` is False for a file that is no picture, which a reader cannot know."""

    label: str | None
    split: str | None
    valence: float | None = None
    arousal: float | None = None
    face_box: tuple[float, ...] | None = None
    landmarks: tuple[float, ...] | None = None
    drop_reason: str | None = None
    readable: bool = True


def points_around(five: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """68 points [68, 2] whose eye centres, nose tip and mouth corners are `five` [5, 2]; the others lie
    in the middle."""
    points = np.repeat(five.mean(0, keepdims=True, dtype=np.float64), 68, axis=0)
    angles = np.arange(6) * np.pi / 3
    around = 3.0 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    points[36:42], points[42:48] = five[0] + around, five[1] + around
    points[30], points[48], points[54] = five[2:]
    return points


def save(path: Path, pixels: npt.NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def faces_of(emotion: str, count: int, size: int, seed: int) -> DrawnFaces:
    """Frontal colour faces that all show one emotion."""
    return draw_faces(count, size=size, channels=3, seed=seed, emotions=[emotion], frontal=True)


class _Photographs:
    """Rows of one list of 2017, each with its photograph: a face somewhere in a larger picture."""

    def __init__(self, images: Path, split: str, size: int, seed: int) -> None:
        self.images, self.split, self.size, self.seed = images, split, size, seed
        self.rows: list[list[Any]] = []
        self.expected: dict[str, Expected] = {}

    def add(
        self,
        code: int,
        label: str,
        *,
        valence: Any = -2,
        arousal: Any = -2,
        affect: tuple[float | None, float | None] = (None, None),
        box: Sequence[Any] | None = None,
        landmarks: str | None = None,
        picture: bool = True,
        ending: str = ".jpg",
    ) -> str:
        """One row; `box` and `landmarks` replace the true ones and are then expected to come out as None."""
        number = len(self.rows)
        shown = label if label in EMOTIONS else "neutral"
        faces = faces_of(shown, 1, self.size, self.seed * 1000 + number)
        width, height = self.size * 2, self.size * 3 // 2
        frame, boxes, five = paste_faces(faces, width=width, height=height, seed=number)
        x0, y0, x1, y1 = (int(v) for v in boxes[0])
        key = f"{number % 3 + 1}/{self.seed:08x}{number:024x}{ending}"
        if picture:
            save(self.images / key, frame)
        points = points_around(five[0])
        text = ";".join(f"{value:.2f}" for value in points.ravel()) if landmarks is None else landmarks
        cells = [x0, y0, x1 - x0, y1 - y0] if box is None else list(box)
        self.rows.append([key, *cells, text, code, valence, arousal])
        self.expected[key] = Expected(
            label=label,
            split=self.split,
            valence=affect[0],
            arousal=affect[1],
            face_box=(x0, y0, x1, y1) if box is None else None,
            landmarks=tuple(five[0].astype(float).ravel()) if landmarks is None else None,
            drop_reason=None if picture else "missing file",
        )
        return key

    def add_usual(self, per_class: int) -> None:
        """Every emotion, and one row of each code that is none."""
        for code, emotion in enumerate(EMOTIONS):
            for i in range(per_class):
                valence, arousal = round(0.9 - 0.2 * code, 4), round(0.1 * i - 0.5, 4)
                ending = ENDINGS[(code + i) % len(ENDINGS)]
                affect = (valence, arousal)
                self.add(code, emotion, valence=valence, arousal=arousal, affect=affect, ending=ending)
        self.add(8, "none")
        self.add(9, "uncertain")
        self.add(10, "no-face", box=["NULL"] * 4, landmarks="NULL")

    def add_dirt(self) -> None:
        """Rows that break the rules in ways a reader must survive."""
        self.add(1, "happiness", picture=False)
        self.add(1, "happiness", valence=1.7, arousal=-1, affect=(None, -1.0))
        self.add(1, "happiness", valence=0, arousal="", affect=(0.0, None))
        self.add(1, "happiness", valence="nan", arousal="NULL")
        self.add(2, "sadness", box=["", "", "", ""], landmarks="")
        self.add(2, "sadness", box=[10, 10, 0, 20], landmarks=";".join(["7"] * 135))
        self.add(2, "sadness", box=[10, 10, 20, "inf"], landmarks=";".join(["7"] * 136))
        self.add(2, "sadness", box=[10, "x", 20, 20], landmarks=";".join(["x"] * 136))
        self.add(2, "sadness", landmarks=";".join(["nan"] * 136))
        key = self.add(0, "neutral")
        self.rows.append(self.rows[-1])
        again = "training" if self.split == "train" else "validation"
        self.expected[f"{key}#{again}-{len(self.rows) - 1}"] = self.expected[key]

    def write(self, table: Path, *, header: bool) -> None:
        table.parent.mkdir(parents=True, exist_ok=True)
        with table.open("w", newline="") as file:
            file.write(f"{HEADER}\n" if header else "")
            csv.writer(file).writerows(self.rows)


def write_affectnet_2017(
    root: Path,
    *,
    per_class: int = 1,
    size: int = 48,
    lists: str = ".",
    headers: tuple[bool, bool] = (True, True),
    dirt: bool = True,
) -> dict[str, Expected]:
    """The release of 2017.

    Args:
        root: the set's folder, made here.
        per_class: rows of each emotion in each list, besides one of each other code and the dirt.
        size: of the faces in pixels; the photographs are larger.
        lists: where the csv files lie, relative to `root`.
        headers: whether training.csv and validation.csv begin with the names of their columns.
        dirt: also write rows that break the rules, into training.csv.
    """
    images = root / "Manually_Annotated_Images"
    expected: dict[str, Expected] = {}
    for number, (name, split) in enumerate((("training", "train"), ("validation", "validation"))):
        photographs = _Photographs(images, split, size, seed=number + 1)
        photographs.add_usual(per_class)
        if dirt and split == "train":
            photographs.add_dirt()
        photographs.write(root / lists / f"{name}.csv", header=headers[number])
        expected |= photographs.expected
    return expected


def write_affectnet_2021(
    root: Path, *, per_class: int = 1, size: int = 48, text: bool = False, dirt: bool = True
) -> dict[str, Expected]:
    """The release of 2021.

    Args:
        root: the set's folder, made here.
        per_class: pictures of each emotion in each part.
        size: of the crops in pixels; 224 in the set.
        text: write the numbers as strings, as some copies have them.
        dirt: also write pictures with missing and damaged annotations, into train_set.
    """
    expected: dict[str, Expected] = {}
    for part, split, seed in (("train_set", "train", 1), ("val_set", "validation", 2)):
        crops = _Crops(root / part, split, size, text)
        for code, emotion in enumerate(EMOTIONS):
            faces = faces_of(emotion, per_class, size, seed * 100 + code)
            for i in range(per_class):
                crops.add(faces, i, code, emotion)
        if dirt and split == "train":
            crops.add_dirt()
        expected |= crops.expected
    return expected


class _Crops:
    """Pictures and annotations of one part of 2021."""

    def __init__(self, folder: Path, split: str, size: int, text: bool) -> None:
        self.folder, self.split, self.size, self.text = folder, split, size, text
        self.expected: dict[str, Expected] = {}
        (folder / "annotations").mkdir(parents=True)

    def add(self, faces: DrawnFaces, i: int, code: int, label: str) -> Path:
        """One crop; returns the path of its annotations up to `_exp.npy` and the like."""
        number = len(self.expected)
        save(self.folder / "images" / f"{number}.jpg", faces.images[i])
        note = self.folder / "annotations" / f"{number}"
        valence, arousal = round(float(faces.valence[i]), 6), round(float(faces.arousal[i]), 6)
        points = points_around(faces.landmarks[i]).ravel()
        for kind, value in (("exp", code), ("val", valence), ("aro", arousal), ("lnd", points)):
            array = np.asarray(value)
            np.save(f"{note}_{kind}.npy", array.astype(str) if self.text else array)
        five = tuple(faces.landmarks[i].astype(float).ravel())
        self._expect(number, Expected(label, self.split, valence, arousal, None, five))
        return note

    def _expect(self, number: int | str, what: Expected) -> None:
        self.expected[f"{self.folder.name}/images/{number}.jpg"] = what

    def _last(self, **changes: Any) -> None:
        key = list(self.expected)[-1]
        self.expected[key] = self.expected[key]._replace(**changes)

    def add_dirt(self) -> None:
        """Annotations missing, damaged, out of range, or only for pickle; a label without its picture."""
        faces = faces_of("fear", 12, self.size, seed=9)

        def note(i: int) -> str:
            return str(self.add(faces, i, 4, "fear"))

        Path(f"{note(0)}_exp.npy").unlink()
        self._last(label=None, drop_reason="missing annotation")
        np.save(f"{note(1)}_exp.npy", np.array([{"exp": 4}], dtype=object), allow_pickle=True)
        self._last(label=None, valence=None, arousal=None, landmarks=None, drop_reason=GARBLED)
        Path(f"{note(2)}_exp.npy").write_bytes(b"")
        self._last(label=None, valence=None, arousal=None, landmarks=None, drop_reason=GARBLED)
        np.save(f"{note(3)}_exp.npy", np.array("fear"))
        self._last(label=None, valence=None, arousal=None, landmarks=None, drop_reason=GARBLED)
        path = Path(f"{note(4)}_val.npy")
        path.write_bytes(path.read_bytes()[:70])
        self._last(valence=None, arousal=None, landmarks=None, drop_reason=GARBLED)
        np.save(f"{note(5)}_lnd.npy", np.zeros(134))
        self._last(landmarks=None, drop_reason=GARBLED)
        path = Path(note(6))
        for kind in ("val", "aro", "lnd"):
            path.with_name(f"{path.name}_{kind}.npy").unlink()
        self._last(valence=None, arousal=None, landmarks=None)
        path = Path(note(7))
        np.save(f"{path}_val.npy", np.array(-2.0))
        np.save(f"{path}_aro.npy", np.array("-2"))
        np.save(f"{path}_lnd.npy", np.full((68, 2), np.nan))
        self._last(valence=None, arousal=None, landmarks=None)
        np.save(f"{note(8)}_exp.npy", np.array([9]))
        self._last(label="uncertain")
        np.save(f"{note(9)}_exp.npy", np.array(4.5))
        self._last(label=None, valence=None, arousal=None, landmarks=None, drop_reason=GARBLED)
        for i in (10, 11):
            number = Path(note(i)).name
            (self.folder / "images" / f"{number}.jpg").unlink()
            self._last(drop_reason="missing file")
        (self.folder / "annotations" / f"{number}_val.npy").write_bytes(b"\0")
        self._last(valence=None, arousal=None, landmarks=None)
        (self.folder / "images" / ".DS_Store").write_bytes(b"\0")
        (self.folder / "annotations" / f"._{number}_exp.npy").write_bytes(b"\0")


def write_affectnet_folders(
    root: Path,
    by: str = "number",
    *,
    splits: Sequence[str] = ("train", "val", "test"),
    per_class: int = 1,
    size: int = 96,
    dirt: bool = True,
) -> dict[str, Expected]:
    """A copy of Kaggle's kind: a folder a class.

    Args:
        root: the set's folder, made here.
        by: `number`, the code, or `name`.
        splits: names of the split folders; none puts the class folders into `root`.
        per_class: pictures of each emotion in each split.
        size: of the crops in pixels.
        dirt: also write litter, a broken link and files that are no pictures.
    """
    known = {"train": "train", "val": "validation", "test": "test", "": None}
    expected: dict[str, Expected] = {}
    for number, part in enumerate(splits or [""]):
        for code, emotion in enumerate(EMOTIONS):
            folder = Path(part) / (str(code) if by == "number" else FOLDER_NAMES[code])
            faces = faces_of(emotion, per_class, size, number * 100 + code)
            for i, pixels in enumerate(faces.images):
                save(root / folder / f"image{i:07d}.jpg", pixels)
                expected[f"{folder.as_posix()}/image{i:07d}.jpg"] = Expected(emotion, known[part])
    if dirt:
        expected |= add_dirty_files(root, folder.as_posix(), Expected(emotion, known[part]))
    return expected


def add_dirty_files(root: Path, folder: str, usual: Expected) -> dict[str, Expected]:
    """Litter, which is not read; a broken link, an empty file and a text, which are."""
    for name in (".DS_Store", "Thumbs.db", "desktop.ini"):
        (root / folder / name).write_bytes(b"\0\1")
    (root / folder / "broken.jpg").symlink_to(root / "nowhere.jpg")
    (root / folder / "empty.jpg").write_bytes(b"")
    (root / folder / "text.jpg").write_text("no picture")
    return {
        f"{folder}/broken.jpg": usual._replace(drop_reason="missing file"),
        f"{folder}/empty.jpg": usual._replace(readable=False),
        f"{folder}/text.jpg": usual._replace(readable=False),
    }
