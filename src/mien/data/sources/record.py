"""What every reader yields: one picture of a raw set, with everything that the set says about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One picture of a raw set; what the set does not say is None, never zero.

    Attributes:
        image: a file, an encoded picture, or uint8 pixels, grey [H, W] or RGB [H, W, 3].
        set: the raw set's name; one picture annotated twice (FER-2013, FER+) is one record of one set.
        key: unique within the set, and the same on every machine.
        source_file: POSIX path relative to the folder that was given, never a path of the machine.
        source_row: 0-based row of the file, for sets that keep many pictures in one.
        split: the set's own split.
        labels: annotation to class name, in the taxonomy's spelling; None where annotators did not agree.
        votes: annotation to {class name: raw count}.
        subject: who is shown, unique within the set; never in two splits.
        sequence, frame: where a picture of a video comes from.
        valence, arousal: in [-1, 1].
        action_units: facial action unit to intensity, on the set's own scale.
        face_box: x0, y0, x1, y1 in pixels of the picture.
        landmarks: x and y in pixels of the eye on the picture's left, the eye on its right, the nose tip, the
            mouth corner on the left and the one on the right: 10 numbers.
        user: free columns of a user's own table.
        cropped: whether the picture is a face that came cropped; False has the face detected and cut out.
        size: (height, width) that the set's pictures have by definition; another size is dropped. None: any.
        drop_reason: set when the reader already knows that the picture cannot be used.
        note: what of the set's annotation had to be passed over although the picture can be used.
    """

    image: Path | bytes | Pixels
    set: str
    key: str
    source_file: str
    source_row: int | None = None
    split: Split | None = None
    labels: Mapping[str, str | None] = field(default_factory=dict)
    votes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    subject: str | None = None
    sequence: str | None = None
    frame: int | None = None
    valence: float | None = None
    arousal: float | None = None
    action_units: Mapping[int, float] | None = None
    face_box: tuple[float, float, float, float] | None = None
    landmarks: tuple[float, ...] | None = None
    user: Mapping[str, str] = field(default_factory=dict)
    cropped: bool = True
    size: tuple[int, int] | None = None
    drop_reason: str | None = None
    note: str | None = None

    @property
    def where(self) -> str:
        """File and row, for messages."""
        return self.source_file if self.source_row is None else f"{self.source_file}, row {self.source_row}"


@dataclass(frozen=True, slots=True)
class SetFacts:
    """What people should know about a set; shown in the data card and in docs/data.md."""

    title: str
    """Name and publication."""
    licence: str
    """Who may use it for what, in one line."""
    source: str
    """How to get it, in one line."""


class PublicSet(Protocol):
    """What each module of `mien.data.sets` offers."""

    FACTS: SetFacts

    def find(self, path: Path) -> object:
        """What is true where the set lies at `path`, which need not exist, and is so for no other set's
        layout.

        Raises:
            InputError: the set lies there more than once.
        """

    def read(self, path: Path) -> Iterator[Record]:
        """Every picture of the set, in the same order each time.

        Raises:
            InputError: the set is not at `path`, or what is there breaks its rules.
        """
