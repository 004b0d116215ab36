"""Tiny raw sets of the shapes that people have, and the real one where it lies beside the checkout."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import settings
from PIL import Image

from mien.config import AuditConfig, PrepareConfig
from mien.data.manifest import Manifest
from mien.labels import FERPLUS_COLUMNS

# A time limit an example fails on a machine that is busy with something else.
settings.register_profile("mien", deadline=None, max_examples=50)
settings.load_profile("mien")

REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "fer2013"


def picture(seed: int, height: int = 48, width: int = 48, channels: int = 1) -> npt.NDArray[np.uint8]:
    """Blots with noise, distinct for each seed and no twin of another's, uint8 [H, W] or [H, W, 3]."""
    rng = np.random.default_rng(seed)
    shape = (height, width) if channels == 1 else (height, width, 3)
    blots = Image.fromarray(rng.integers(20, 200, (6, 6), dtype=np.uint8)).resize((width, height))
    smooth = np.asarray(blots, dtype=np.float64)
    return ((smooth if channels == 1 else smooth[..., None]) + rng.uniform(0, 50, shape)).astype(np.uint8)


def save(path: Path, pixels: npt.NDArray[np.uint8]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


FerRow = tuple[int | str, str, str]


def fer_rows(
    per_class: int = 2, usages: Sequence[str] = ("Training", "PublicTest", "PrivateTest")
) -> list[FerRow]:
    """Rows (emotion, pixels, usage) of a small fer2013.csv: every class in every split, pictures distinct."""
    rows: list[FerRow] = []
    for usage in usages:
        for code in range(7):
            for _ in range(per_class):
                pixels = picture(len(rows)).ravel()
                rows.append((code, " ".join(map(str, pixels)), usage))
    return rows


def write_fer(path: Path, rows: Sequence[FerRow], header: str = "emotion,pixels,Usage") -> Path:
    """A fer2013.csv; with the header of icml_face_data.csv its columns and blanks."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        file.write(header + "\n")
        writer = csv.writer(file)
        for emotion, pixels, usage in rows:
            cells = {"emotion": emotion, "pixels": pixels, "Usage": usage}
            writer.writerow([cells[name.strip()] for name in header.split(",")])
    return path


def votes(**counts: int) -> list[int]:
    """Ten counts in FER+'s column order."""
    return [counts.get(name, 0) for name in FERPLUS_COLUMNS]


def write_ferplus(path: Path, rows: Sequence[tuple[str, str, list[int]]]) -> Path:
    """A fer2013new.csv from (usage, image name, ten counts)."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["Usage", "Image name", *FERPLUS_COLUMNS])
        writer.writerows([usage, name, *counts] for usage, name, counts in rows)
    return path


@pytest.fixture(scope="session")
def raw() -> SimpleNamespace:
    """The writers above; tests cannot import this file."""
    return SimpleNamespace(
        picture=picture,
        save=save,
        fer_rows=fer_rows,
        write_fer=write_fer,
        votes=votes,
        write_ferplus=write_ferplus,
    )


@pytest.fixture(scope="session")
def real_fer2013() -> Path:
    if not REAL.is_dir():
        pytest.skip("FER-2013 does not lie beside the checkout (../shared/data/fer2013)")
    return REAL


@pytest.fixture(scope="session")
def real_prepared(real_fer2013: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    """FER-2013 with FER+, prepared once; no template and no near twins, which have tests of their own."""
    from mien.data.prepare import prepare

    out = tmp_path_factory.mktemp("real") / "prepared"
    return out, prepare(
        {"fer2013": real_fer2013}, out, PrepareConfig(template_sample=0, audit=AuditConfig(near=False))
    )


@pytest.fixture
def small_fer(tmp_path: Path) -> Path:
    """A folder with a fer2013.csv of 42 rows."""
    write_fer(tmp_path / "raw" / "fer2013.csv", fer_rows())
    return tmp_path / "raw"


Make = Callable[..., Path]


@pytest.fixture
def class_folders(tmp_path: Path) -> Make:
    """Write `count` pictures for each named class folder under `root`, and return the root."""

    def make(classes: Sequence[str], count: int, root: str = "photos", side: int = 60, seed: int = 0) -> Path:
        for number, name in enumerate(classes):
            for i in range(count):
                pixels = picture(seed + number * 1000 + i, side, side + 10, channels=3)
                save(tmp_path / root / name / f"{i:03d}.png", pixels)
        return tmp_path / root

    return make
