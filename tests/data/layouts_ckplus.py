"""Small CK+ in the three layouts that people have it in: drawn faces, the set's own names, codes and dirt.

Each writer returns what a reader should make of it: the record's key to what the record says. What is in an
official sequence and what should be read of it stand side by side in `Clip`, each written out.
"""

from __future__ import annotations

import csv
import dataclasses
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from mien.data.synthetic import PROTOTYPES, DrawnFaces, draw_faces, paste_faces

SUBJECTS = ("S005", "S010")
DIRTY = "S999"
"""The subject whose official sequences are out of the ordinary."""
CODES = {"anger": 1, "contempt": 2, "disgust": 3, "fear": 4, "happiness": 5, "sadness": 6, "surprise": 7}
"""Emotion to the code of CK+; it is the number of the sequence here too."""
CSV_CODES = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral", "contempt")


class Expected(NamedTuple):
    """What a record says; `landmarks` are 10 numbers in pixels."""

    label: str | None
    action_units: dict[int, float] | None = None
    landmarks: tuple[float, ...] | None = None
    split: str | None = None
    drop_reason: str | None = None


class Clip(NamedTuple):
    """One official sequence, frames 1 to `length`, and what should be read of it."""

    subject: str
    number: str
    length: int
    shows: str
    """What the last three frames show; the others are neutral."""
    read: Mapping[int, str | None]
    """Frame to label, of those that should be read."""
    emotion: bytes | None = None
    """The emotion file; None: there is none."""
    facs: bytes | None = None
    units: dict[int, float] | None = None
    reason: str | None = None
    labelled: int | None = None
    """The frame that the emotion file names; None: the last one."""
    landmarks: Mapping[int, bytes | None] = {}
    """Frames whose landmark file is not as it should be: what it holds, None for none. They have none."""
    colour: bool = False
    windows: bool = False
    """Text files with a byte order mark and Windows line ends."""


def emotion_text(code: float | str) -> bytes:
    return f"   {code:.7e} \n".encode() if isinstance(code, float) else str(code).encode()


def facs_text(units: Mapping[int, float]) -> bytes:
    return "".join(f"   {unit:.7e}   {strength:.7e}\n" for unit, strength in units.items()).encode()


def landmarks_text(five: npt.NDArray[np.float32]) -> bytes:
    """68 lines whose eye centres, nose tip and mouth corners are `five` [5, 2]; the others lie between."""
    points = np.repeat(five.mean(0, keepdims=True, dtype=np.float64), 68, axis=0)
    around = 4.0 * np.stack([np.cos(np.arange(6) * np.pi / 3), np.sin(np.arange(6) * np.pi / 3)], axis=1)
    points[36:42], points[42:48] = five[0] + around, five[1] + around
    points[30], points[48], points[54] = five[2:]
    return "".join(f"   {x:.7e}   {y:.7e} \n" for x, y in points).encode()


def last_three(length: int, emotion: str | None) -> dict[int, str | None]:
    """The usual reading of a sequence of four frames or more."""
    return {1: "neutral", **dict.fromkeys((length - 2, length - 1, length), emotion)}


def clean_clips(subjects: Sequence[str]) -> Iterator[Clip]:
    """One sequence an emotion and subject. One unit each is present with unknown strength, so 0."""
    for subject in subjects:
        for emotion, code in CODES.items():
            strengths = {unit: float(round(5 * s)) for unit, s in PROTOTYPES[emotion].items()}
            units = {**strengths, min(strengths): 0.0}
            length = 5 + code % 3
            yield Clip(
                subject=subject,
                number=f"{code:03d}",
                length=length,
                shows=emotion,
                read=last_three(length, emotion),
                emotion=emotion_text(float(code)),
                facs=facs_text(units),
                units=units,
            )


def dirty_clips() -> tuple[Clip, ...]:
    """What the official tree holds besides, and what broken copies of it hold."""
    four, none = last_three(4, "happiness"), last_three(4, None)
    units, facs = {6: 3.0, 12: 5.0}, facs_text({6: 3.0, 12: 5.0})

    def clip(number: int, length: int, read: Mapping[int, str | None], **rest: object) -> Clip:
        return Clip(DIRTY, f"{number:03d}", length, "happiness", read, **rest)  # type: ignore[arg-type]

    def garbled(number: int, text: bytes) -> Clip:
        return clip(number, 4, none, emotion=text, facs=facs, units=units, reason="garbled label")

    def happy(number: int, length: int, read: Mapping[int, str | None], **rest: object) -> Clip:
        return clip(number, length, read, emotion=emotion_text(5.0), **rest)

    return (
        clip(1, 5, {1: "neutral", 5: None}, facs=facs, units=units),
        clip(2, 5, {1: "neutral"}),
        clip(3, 5, {1: "neutral", 5: None}, facs=b"", units={}),
        clip(4, 1, {1: None}, facs=facs, units=units),
        clip(5, 1, {}),
        happy(6, 1, {1: "happiness"}),
        happy(7, 2, {1: "neutral", 2: "happiness"}, facs=facs, units=units),
        happy(8, 3, {1: "neutral", 2: "happiness", 3: "happiness"}),
        happy(9, 4, four, facs=facs, units=units, colour=True, windows=True),
        happy(10, 4, four, facs=b"\n  \n", units={}),
        happy(11, 4, four, facs=b"   6.0000000e+00 \n"),
        happy(12, 4, four, facs=b"6.5 1\n"),
        happy(13, 4, four, facs=b"6 1\n6 2\n"),
        happy(14, 4, four, facs=b"6 -1\n"),
        happy(15, 4, four, landmarks={2: b"", 3: b"1 2\n" * 67, 4: None}),
        happy(16, 4, four, landmarks={2: b"1 2\n" * 67 + b"1 nan\n", 3: b"1 2 3\n" * 68, 4: b"\xff\xfe1\0"}),
        happy(17, 4, four, facs=b"0 1\n"),
        happy(18, 4, none, labelled=6, reason="label of another frame"),
        garbled(20, b""),
        garbled(21, b"happy\n"),
        garbled(22, emotion_text(9.0)),
        garbled(23, emotion_text(-1.0)),
        garbled(24, emotion_text(3.5)),
        garbled(25, b"3 5\n"),
        garbled(26, b"3\n5\n"),
        garbled(27, b"nan"),
        garbled(28, "\ufeff   5.0".encode("utf-16")),
        clip(30, 0, {}),
    )


def _drawn(subject: str, emotion: str, count: int, size: int, channels: int) -> list[DrawnFaces]:
    faces = draw_faces(
        count,
        size=size,
        channels=channels,
        seed=int(subject[1:]),
        emotions=(emotion,),
        frontal=True,
        subjects=1,
    )
    names = [field.name for field in dataclasses.fields(faces)]
    return [DrawnFaces(**{name: getattr(faces, name)[i : i + 1] for name in names}) for i in range(count)]


def _write(path: Path, content: bytes, windows: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\xef\xbb\xbf" + content.replace(b"\n", b"\r\n") if windows else content)


def _mac_dirt(file: Path) -> None:
    """What a Mac leaves in archives: hidden files, one of the picture's or label's name."""
    _write(file.with_name(".DS_Store"), b"\0\0\0\1Bud1")
    _write(file.with_name(f"._{file.name}"), b"\0\5\26\7")


def _write_clip(
    clip: Clip, trees: Mapping[str, Path], picture: tuple[int, int], face: int
) -> dict[str, Expected]:
    name = f"{clip.subject}_{clip.number}"
    folders = {tree: root / clip.subject / clip.number for tree, root in trees.items()}
    folders["images"].mkdir(parents=True)
    neutral, peak = (_drawn(clip.subject, emotion, 3, face, 3) for emotion in ("neutral", clip.shows))
    shown = (neutral[:1] * max(1, clip.length - 3) + peak)[: clip.length]
    expected = {}
    for frame, faces in enumerate(shown, start=1):
        file = folders["images"] / f"{name}_{frame:08d}.png"
        seed = int(clip.number)
        background = np.full((*picture, 3), 118, dtype=np.uint8)
        pixels, _, points = paste_faces(faces, seed=seed, background=background)
        if 1 < frame <= clip.length - 3:
            shutil.copy(folders["images"] / f"{name}_{1:08d}.png", file)
        else:
            image = Image.fromarray(pixels)
            (image if clip.colour else image.convert("L")).save(file, compress_level=1)
        text = clip.landmarks.get(frame, landmarks_text(points[0]))
        if text is not None:
            _write(folders["landmarks"] / f"{file.stem}_landmarks.txt", text, clip.windows)
        if frame in clip.read:
            expected[f"{clip.subject}/{clip.number}/{file.stem}"] = Expected(
                label=clip.read[frame],
                action_units=clip.units if frame == clip.length else None,
                landmarks=None if frame in clip.landmarks else tuple(map(float, points[0].ravel())),
                drop_reason=clip.reason,
            )
    if clip.emotion is not None:
        last = f"{name}_{clip.labelled or clip.length:08d}"
        _write(folders["emotions"] / f"{last}_emotion.txt", clip.emotion, clip.windows)
    if clip.facs is not None:
        _write(folders["facs"] / f"{name}_{clip.length:08d}_facs.txt", clip.facs, clip.windows)
    return expected


def write_ckplus_official(
    root: Path,
    *,
    subjects: Sequence[str] = SUBJECTS,
    dirt: bool = True,
    nested: bool = False,
    picture: tuple[int, int] = (490, 640),
    face: int = 200,
) -> dict[str, Expected]:
    """The authors' four trees in `root`, with 7 sequences of 5 to 7 frames a subject.

    Args:
        root: where they go.
        subjects: who is shown, `S` and three digits each.
        dirt: add the sequences of `dirty_clips`, and files that are no part of the set.
        nested: each tree within a folder of its archive's name.
        picture: height and width in pixels.
        face: side of the drawn portrait in it, in pixels; the face takes about half of it.
    """
    archives = {
        "images": ("extended-cohn-kanade-images", "cohn-kanade-images"),
        "emotions": ("Emotion_labels", "Emotion"),
        "facs": ("FACS_labels", "FACS"),
        "landmarks": ("Landmarks", "Landmarks"),
    }
    trees = {
        tree: root / archive / name if nested else root / name for tree, (archive, name) in archives.items()
    }
    expected: dict[str, Expected] = {}
    for clip in (*clean_clips(subjects), *(dirty_clips() if dirt else ())):
        expected.update(_write_clip(clip, trees, picture, face))
    if dirt:
        first = "S999_001_00000001"
        _mac_dirt(trees["images"] / "S999" / "001" / f"{first}.png")
        _mac_dirt(trees["images"] / "S999" / "030" / f"{first}.png")
        _mac_dirt(trees["images"] / "S999" / "S999")
        _mac_dirt(trees["emotions"] / "S999" / "002" / "S999_002_00000005_emotion.txt")
        _write(trees["images"] / "S999" / "001" / "Thumbs.db", b"\xd0\xcf\x11\xe0")
        _write(trees["images"] / "S999" / "001" / "S998_001_00000009.png", b"a picture of another sequence")
        _write(trees["images"] / "S999" / "spare" / "S999_001_00000001.png", b"no sequence")
        _write(trees["images"] / "ReadMe" / "001" / "S999_001_00000001.png", b"no subject")
    return expected


def write_ck48(
    root: Path, *, subjects: Sequence[str] = SUBJECTS, per_class: int = 3, dirt: bool = True
) -> dict[str, Expected]:
    """Kaggle's class folders in `root`, of the sequences that `write_ckplus_official` has for these subjects.

    Args:
        root: the folder of class folders.
        subjects: who is shown, `S` and three digits each.
        per_class: frames a class and subject, the last ones of the sequence; 1 to 3.
        dirt: add a name of another form, one that stands in two classes, and what a Mac leaves.
    """
    expected = {}
    for clip in clean_clips(subjects):
        folder = root / {"happiness": "happy"}.get(clip.shows, clip.shows)
        folder.mkdir(parents=True, exist_ok=True)
        faces = _drawn(clip.subject, clip.shows, 3, 48, 1)
        for number in range(3 - per_class, 3):
            stem = f"{clip.subject}_{clip.number}_{clip.length - 2 + number:08d}"
            Image.fromarray(faces[number].images[0, :, :, 0]).save(folder / f"{stem}.png")
            expected[f"{clip.subject}/{clip.number}/{stem}"] = Expected(clip.shows)
    if dirt:
        picture = next((root / "anger").glob("S*.png"))
        _mac_dirt(picture)
        _write(root / ".DS_Store", b"\0\0\0\1Bud1")
        shutil.copy(picture, root / "anger" / "face (1).png")
        expected["anger/face (1).png"] = Expected("anger", drop_reason="odd name")
        for name in ("fear", "sadness"):
            shutil.copy(picture, root / name / "S999_050_00000012.png")
        expected["S999/050/S999_050_00000012"] = Expected(None, drop_reason="name in two classes")
    return expected


def write_ckextended(
    root: Path,
    *,
    name: str = "ckextended.csv",
    per_class: int = 1,
    wrong_rows: Sequence[tuple[int | str, str, str]] = (),
) -> dict[str, Expected]:
    """`ckextended.csv` in `root`: `per_class` faces of each of the eight classes in each of the three parts.

    Args:
        root: the folder of the csv.
        name: of the csv.
        per_class: faces of each class and part.
        wrong_rows: rows (emotion, pixels, Usage) to add at the end.
    """
    root.mkdir(parents=True, exist_ok=True)
    expected: dict[str, Expected] = {}
    with (root / name).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["emotion", "pixels", "Usage"])
        parts = (("Training", "train"), ("PublicTest", "validation"), ("PrivateTest", "test"))
        for part, (usage, split) in enumerate(parts):
            for code, emotion in enumerate(CSV_CODES):
                for faces in _drawn(f"S{100 + part}", emotion, per_class, 48, 1):
                    writer.writerow([code, " ".join(map(str, faces.images.ravel())), usage])
                    expected[f"ckextended/{len(expected):05d}"] = Expected(emotion, split=split)
        writer.writerows(wrong_rows)
    return expected
