"""Drawn faces as a source: no download, no licence, everything about each face known.

Annotation `drawn` is what training sees, `drawn_clean` the emotion that was drawn. They differ only where
label noise was asked for, and only in the training split: a noisy test label would measure nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Final

import numpy as np

from mien.config import PrepareConfig
from mien.data.sources.record import Record, SetFacts
from mien.data.synthetic import ACTION_UNITS, draw_faces
from mien.errors import InputError
from mien.labels import EMOTIONS

FACTS: Final = SetFacts(
    title="Drawn faces", licence="MIT, as mien", source="drawn by mien itself: mien data prepare drawn"
)
NAME: Final = "drawn"
SMALLEST: Final = 24
"""Side below which `draw_faces` has no room for a mouth, in pixels."""


def readers(config: PrepareConfig) -> Callable[[], Iterable[Record]]:
    """The records of `read`, drawn once and given as often as they are asked for."""
    return lru_cache(maxsize=1)(lambda: tuple(read(config)))


def read(config: PrepareConfig) -> Iterator[Record]:
    """Draw `config.drawn.count` faces at the pack's size and channels; labels are clean, splits are left to
    be drawn.

    Raises:
        InputError: fewer faces than classes, faces too small, or a label noise outside 0..1.
    """
    if not 0 <= config.drawn.label_noise <= 1:
        raise InputError(f"drawn.label_noise is {config.drawn.label_noise}; it is a share, 0..1.")
    if config.drawn.count < len(EMOTIONS):
        raise InputError(
            f"drawn.count is {config.drawn.count}; {len(EMOTIONS)} classes need at least as many faces."
        )
    if config.size < SMALLEST:
        raise InputError(f"size is {config.size}; faces are drawn at {SMALLEST} pixels a side or more.")
    faces = draw_faces(config.drawn.count, size=config.size, channels=config.channels, seed=config.seed)
    for i, image in enumerate(faces.images):
        name = EMOTIONS[int(faces.clean_labels[i])]
        x0, y0, x1, y1 = (float(v) for v in faces.boxes[i])
        yield Record(
            image=image[..., 0] if image.shape[-1] == 1 else image,
            set=NAME,
            key=f"{i:06d}",
            source_file=NAME,
            source_row=i,
            labels={NAME: name, f"{NAME}_clean": name},
            subject=f"{int(faces.subjects[i]):05d}",
            valence=float(faces.valence[i]),
            arousal=float(faces.arousal[i]),
            action_units=dict(zip(ACTION_UNITS, map(float, faces.action_units[i]), strict=True)),
            face_box=(x0, y0, x1, y1),
            landmarks=tuple(float(v) for v in faces.landmarks[i].ravel()),
        )


def noisy_labels(
    labels: Sequence[str | None],
    splits: Sequence[str | None],
    *,
    noise: float,
    seed: int,
    classes: Sequence[str],
) -> list[str | None]:
    """The labels with a share of the training ones replaced by another class, evenly drawn; the others
    untouched.

    Args:
        labels: clean names.
        splits: the split of each; only `train` gets noise.
        noise: share of training labels to replace, 0..1.
        seed: chooses which, and by what.
        classes: the names to draw from.
    """
    rng = np.random.default_rng([seed, 0xD1CE])
    train = [i for i, split in enumerate(splits) if split == "train"]
    out = list(labels)
    for i in rng.permutation(np.asarray(train, dtype=np.int64))[: round(noise * len(train))]:
        others = [name for name in classes if name != labels[i]]
        out[i] = others[int(rng.integers(len(others)))]
    return out
