"""Small prepared folders in whose splits leaks are planted."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from mien.config import PrepareConfig
from mien.data.prepare import prepare
from mien.data.prepared import Prepared, load_prepared

CLASSES = ("happiness", "sadness")
COUNTS = {"train": 24, "validation": 8, "test": 16}


def blot(seed: int) -> npt.NDArray[np.uint8]:
    """A 48 px picture unlike that of any other seed, uint8 [48, 48]."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(20, 200, (6, 6), dtype=np.uint8)).resize((48, 48))
    return (np.asarray(small, dtype=np.float64) + rng.uniform(0, 50, (48, 48))).astype(np.uint8)


def prepared_of(
    folder: Path,
    *,
    copied: dict[str, npt.NDArray[np.uint8]] | None = None,
    subjects: dict[str, str] | None = None,
    counts: Mapping[str, int] = COUNTS,
) -> Prepared:
    """Distinct pictures of two classes in three splits, some replaced, some of named persons.

    Args:
        folder: to work in.
        copied: picture, such as `test-3`, to the pixels that stand in its place.
        subjects: picture to who is shown.
        counts: pictures a split.
    """
    names = [f"{split}-{i}" for split, count in counts.items() for i in range(count)]
    folder.mkdir(parents=True)
    with (folder / "faces.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "split", "subject"])
        for number, name in enumerate(names):
            Image.fromarray((copied or {}).get(name, blot(number))).save(folder / f"{name}.png")
            writer.writerow(
                [f"{name}.png", CLASSES[number % 2], name.split("-")[0], (subjects or {}).get(name, "")]
            )
    out = folder.parent / f"{folder.name}-prepared"
    prepare({"folder": folder / "faces.csv"}, out, PrepareConfig(jobs=1))
    return load_prepared(out)
