"""CK+, the Extended Cohn-Kanade set (Lucey et al., CVPR workshops 2010): posed sequences, neutral to peak.

Three layouts:

- `official`: the authors' four archives unpacked side by side, `cohn-kanade-images`, `Emotion`, `FACS` and
  `Landmarks`, each with the tree `S005/001/S005_001_00000011*`, or inside a folder of its archive's name;
- `ck48`: Kaggle's `CK+48/<class>/S010_004_00000017.png`, faces cropped to 48x48, seven classes, no neutral;
- `ckextended`: Kaggle's `ckextended.csv`, 48x48 too, with neutral but without subjects, so that its own
  splits may show one person twice.

Which frames of an official sequence are read. An emotion is given once a sequence and belongs to its last
frame, the peak; the first frame is neutral by the set's design.

- With an emotion: the last three frames carry it, as is usual with this set, and the first one is neutral. A
  sequence of less than four frames has less than three that carry it: the first frame is never among them.
- Without an emotion file: the first frame is neutral, and the peak comes without a label if it has action
  units.
- Of a lone frame nobody can say that it is the first, so it is the peak and never neutral.
- An emotion file that is garbled, or that names a frame other than the last one (pictures are missing then),
  drops those same frames and lists them.

`Record.action_units` is what the FACS coders wrote for the peak, on their scale: 1 to 5 is the intensity
A to E, and 0 means present with unknown strength, not absent. No unit at all, {}, is a face at rest; None
means that there is no FACS file, or a garbled one.

Official pictures and those of `ck48` have the same keys, subject/sequence/frame, so that one can be joined to
the other.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mien.data.sources import pixel_csv
from mien.data.sources.folders import files_in, folders_in
from mien.data.sources.landmarks import five_points
from mien.data.sources.record import Record, SetFacts
from mien.errors import InputError
from mien.labels import CKEXTENDED_CODES, CKPLUS_CODES, canonical_name, decode

NAME: Final = "ckplus"
FACTS: Final = SetFacts(
    title="CK+, the Extended Cohn-Kanade set (Lucey et al., CVPR workshops 2010)",
    licence="research, under an agreement signed with the authors; a copy from elsewhere does not lift it",
    source="the Affect Analysis Group, University of Pittsburgh, on request; CK+48, ckextended.csv: Kaggle",
)
CSV_NAME: Final = "ckextended.csv"
CK48_CLASSES: Final = frozenset(CKPLUS_CODES.values()) - {"neutral"}
PEAK_FRAMES: Final = 3
"""How many frames at the end of a sequence carry its emotion: the usual protocol, 981 = 3 x 327 pictures."""

IMAGES: Final = ("cohn-kanade-images", "extended-cohn-kanade-images")
EMOTIONS: Final = ("Emotion", "Emotion_labels")
ACTION_UNITS: Final = ("FACS", "FACS_labels")
LANDMARKS: Final = ("Landmarks",)

_SUBJECT: Final = re.compile(r"S\d{3}")
_FRAME: Final = re.compile(r"(S\d{3})_(\d{3})_(\d{8})\.(?i:png|jpe?g|bmp|tiff?)")
_STRONGEST: Final = 5


def _tree(root: Path, names: Sequence[str]) -> Path | None:
    """The folder of subjects that has one of `names` in `root`, or lies in one that has."""
    outer = [root / name for name in names]
    for folder in (*outer, *(within / name for within in outer for name in names)):
        if folder.is_dir() and any(_SUBJECT.fullmatch(path.name) for path in folder.iterdir()):
            return folder
    return None


def _numbers(file: Path, columns: int) -> list[tuple[float, ...]]:
    """The lines of a file of numbers; ValueError: not text, or a line has not so many finite numbers."""
    lines = file.read_text(encoding="utf-8-sig").splitlines()
    rows = [tuple(map(float, line.split())) for line in lines if line.strip()]
    if any(len(row) != columns or not all(map(math.isfinite, row)) for row in rows):
        raise ValueError(f"a line has not {columns} numbers")
    return rows


def _action_units(file: Path) -> dict[int, float]:
    rows = _numbers(file, 2)
    units = {int(unit): intensity for unit, intensity in rows}
    if len(units) != len(rows):
        raise ValueError("a unit stands twice")
    if any(not unit.is_integer() or unit < 1 or not 0 <= strength <= _STRONGEST for unit, strength in rows):
        raise ValueError("a line is no unit with its intensity")
    return units


@dataclass(frozen=True, slots=True)
class _Official:
    """The four trees; `given` is the folder that source files are named from."""

    given: Path
    images: Path
    emotions: Path
    action_units: Path | None
    landmarks: Path | None

    def records(self) -> Iterator[Record]:
        for subject in folders_in(self.images):
            for sequence in folders_in(subject):
                yield from self._sequence(sequence)

    def _sequence(self, folder: Path) -> Iterator[Record]:
        frames = _frames(folder)
        if not frames:
            return
        emotion, reason = self._emotion(frames[-1])
        facs = self._beside(self.action_units, frames[-1], "facs")
        units, note = self._units(facs) if facs else (None, None)
        if len(frames) > 1:
            yield self._record(frames[0], "neutral", reason)
        shown = frames[1:][-PEAK_FRAMES:] or frames
        if emotion is None and reason is None:
            shown = frames[-1:] if facs else []
        for frame in shown:
            of_peak = (units, note) if frame == frames[-1] else (None, None)
            yield self._record(frame, emotion, reason, *of_peak)

    def _record(
        self,
        file: Path,
        label: str | None,
        reason: str | None,
        units: Mapping[int, float] | None = None,
        note: str | None = None,
    ) -> Record:
        subject, sequence, number = file.stem.split("_")
        landmarks, other_note = self._five_points(file)
        return Record(
            image=file,
            set=NAME,
            key=f"{subject}/{sequence}/{file.stem}",
            source_file=self._name(file),
            labels={NAME: label},
            subject=subject,
            sequence=sequence,
            frame=int(number),
            action_units=units,
            landmarks=landmarks,
            cropped=False,
            drop_reason=reason,
            note=" ".join(filter(None, (note, other_note))) or None,
        )

    def _name(self, file: Path) -> str:
        # Who gives the folder of pictures has the labels beside it, outside of what was given.
        return file.relative_to(self.given).as_posix() if file.is_relative_to(self.given) else file.name

    def _emotion(self, peak: Path) -> tuple[str | None, str | None]:
        """The emotion of the sequence, and why it cannot be used; both None where no file gives one."""
        folder = self.emotions / peak.parent.parent.name / peak.parent.name
        files = sorted(folder.glob("S*.txt"))
        if not files:
            return None, None
        if [file.name for file in files] != [f"{peak.stem}_emotion.txt"]:
            return None, "label of another frame"
        try:
            ((code,),) = _numbers(files[0], 1)
            return CKPLUS_CODES[int(code) if code.is_integer() else -1], None
        except (ValueError, KeyError):
            return None, "garbled label"

    def _units(self, file: Path) -> tuple[dict[int, float] | None, str | None]:
        """The action units, or what is wrong with them."""
        try:
            return _action_units(file), None
        except ValueError as error:
            return None, f"{self._name(file)} is garbled ({error}); its action units are left out."

    def _five_points(self, frame: Path) -> tuple[tuple[float, ...] | None, str | None]:
        """The landmarks, if there are any, or what is wrong with them."""
        file = self._beside(self.landmarks, frame, "landmarks")
        if file is None:
            return None, None
        try:
            return five_points(_numbers(file, 2)), None
        except ValueError as error:
            return None, f"{self._name(file)} is garbled ({error}); its landmarks are left out."

    def _beside(self, tree: Path | None, frame: Path, kind: str) -> Path | None:
        """What `tree` says about `frame`, if it says anything."""
        if tree is None:
            return None
        file = tree / frame.parent.parent.name / frame.parent.name / f"{frame.stem}_{kind}.txt"
        return file if file.is_file() else None


def _frames(folder: Path) -> list[Path]:
    """The pictures of a sequence in the order of time; files that do not belong to it are none."""
    frames: dict[str, Path] = {}
    # Numbers have eight digits, so that the order of names is theirs.
    for file in sorted(folder.iterdir()):
        name = _FRAME.fullmatch(file.name)
        if name and (name[1], name[2]) == (folder.parent.name, folder.name) and file.is_file():
            frames.setdefault(name[3], file)
    return list(frames.values())


def _read_official(root: Path, given: Path) -> Iterator[Record]:
    images, emotions = _tree(root, IMAGES), _tree(root, EMOTIONS)
    if images is None or emotions is None:
        raise InputError(
            f"{root} has the pictures of CK+ but not their emotions: looked for {' and '.join(EMOTIONS)} "
            "with folders such as S005; unpack Emotion_labels.zip there."
        )
    trees = _Official(given, images, emotions, _tree(root, ACTION_UNITS), _tree(root, LANDMARKS))
    return trees.records()


def _read_ck48(root: Path, given: Path) -> Iterator[Record]:
    pictures: dict[str, list[tuple[str, Path]]] = {}
    for folder in folders_in(root):
        label = canonical_name(folder.name)
        if label not in CK48_CLASSES:
            known = ", ".join(sorted(CK48_CLASSES))
            raise InputError(
                f"{folder.name} is no class of CK+48 ({known}); rename or remove that folder in {root}."
            )
        for file in files_in(folder):
            name = _FRAME.fullmatch(file.name)
            key = f"{name[1]}/{name[2]}/{file.stem}" if name else file.relative_to(root).as_posix()
            pictures.setdefault(key, []).append((label, file))
    for key, found in pictures.items():
        label, file = found[0]
        name = _FRAME.fullmatch(file.name)
        reason = None if name else "odd name"
        if any(other != label for other, _ in found):
            reason = "name in two classes"
        yield Record(
            image=file,
            set=NAME,
            key=key,
            source_file=file.relative_to(given).as_posix(),
            labels={NAME: None if reason == "name in two classes" else label},
            subject=name[1] if name else None,
            sequence=name[2] if name else None,
            frame=int(name[3]) if name else None,
            size=(pixel_csv.SIDE, pixel_csv.SIDE),
            drop_reason=reason,
        )


def _read_csv(path: Path, given: Path) -> Iterator[Record]:
    name = path.relative_to(given).as_posix() if path != given else path.name
    for row, where, code, pixels, usage in pixel_csv.read_rows(path):
        yield Record(
            image=pixels,
            set=NAME,
            key=f"ckextended/{row:05d}",
            source_file=name,
            source_row=row,
            split=pixel_csv.split_of(usage, where),
            labels={NAME: decode(code, CKEXTENDED_CODES, where=where)},
            size=(pixel_csv.SIDE, pixel_csv.SIDE),
        )


_READERS: Final = {"official": _read_official, "ck48": _read_ck48, "ckextended": _read_csv}
"""The layouts, the one that says most first."""


def _is_ck48(folder: Path) -> bool:
    classes = {canonical_name(path.name): path for path in folders_in(folder)}
    return classes.keys() >= CK48_CLASSES and any(
        _FRAME.fullmatch(file.name) for name in CK48_CLASSES for file in classes[name].iterdir()
    )


def _layout_at(folder: Path) -> tuple[str, Path] | None:
    if _tree(folder, IMAGES):
        return "official", folder
    if _is_ck48(folder):
        return "ck48", folder
    tables = (path for path in sorted(folder.iterdir()) if path.name.lower() == CSV_NAME and path.is_file())
    return next((("ckextended", table) for table in tables), None)


def find(path: Path) -> tuple[str, Path] | None:
    """The layout at `path`, and its root or csv; or None.

    Args:
        path: the set's folder, the one around it, the official folder of pictures, or `ckextended.csv`. A
            folder around several is taken for the layout that says most, and for none if it has that twice.
    """
    if path.is_file():
        return ("ckextended", path) if path.name.lower() == CSV_NAME else None
    # The labels lie beside the pictures: who gives these means the set.
    while path.name in IMAGES:
        path = path.parent
    if not path.is_dir():
        return None
    if here := _layout_at(path):
        return here
    below = [found for folder in folders_in(path) if (found := _layout_at(folder))]
    for layout in _READERS:
        roots = [root for name, root in below if name == layout]
        if roots:
            return (layout, roots[0]) if len(roots) == 1 else None
    return None


def read(path: Path) -> Iterator[Record]:
    """CK+ from any of its layouts (set and annotation `ckplus`).

    Args:
        path: as for `find`; a csv may have any name.

    Raises:
        InputError: none of the layouts is at `path`, the official pictures have no emotions beside them, a
            class folder is none of CK+48, or a row of the csv is broken.
    """
    found = ("ckextended", path) if path.is_file() else find(path)
    if found is None:
        raise InputError(
            f"{path} holds no CK+: looked for {IMAGES[0]}/S005/001/S005_001_00000001.png, the folders "
            f"{', '.join(sorted(CK48_CLASSES))} with names such as S010_004_00000017.png, and {CSV_NAME}; "
            "give one of them or the folder around it."
        )
    layout, root = found
    return _READERS[layout](root, path)
