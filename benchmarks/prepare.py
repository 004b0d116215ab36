"""How fast `mien data prepare` is, stage by stage, and how much memory it takes, at the size of AffectNet.

    python benchmarks/prepare.py draw  --out FOLDER --count 450000
    python benchmarks/prepare.py run   --data FOLDER --out PREPARED --jobs 2
    python benchmarks/prepare.py faces --data FER2013 --out PREPARED --count 5000

`draw` writes AffectNet's 2017 layout: faces drawn at 48 px and enlarged to 224, JPEG, with boxes and codes.
`run` prepares it with detection off and prints seconds and pictures a second of each stage, and the largest
resident memory of the process and of its children. `faces` does the same with detection on, on photos made by
pasting real faces into larger pictures; they are written to a temporary folder and removed.
"""

from __future__ import annotations

import argparse
import csv
import resource
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from PIL import Image

from mien.config import FacesConfig, PrepareConfig
from mien.data.pack import decode
from mien.data.prepare import audit, finish, read_sources
from mien.data.prepared import load_prepared
from mien.data.synthetic import draw_faces
from mien.labels import AFFECTNET_CODES, EMOTIONS
from mien.progress import Reporter

BATCH = 2000
SIDE = 224
CODES = {name: code for code, name in AFFECTNET_CODES.items()}
HEADER = (
    "subDirectory_filePath", "face_x", "face_y", "face_width", "face_height", "facial_landmarks",
    "expression", "valence", "arousal",
)  # fmt: skip


def draw(out: Path, count: int, jobs: int) -> None:
    """Write `count` pictures in AffectNet's 2017 layout; what is there already is not drawn again."""
    tables = {}
    for split, share in (("training", 1.0), ("validation", 0.01)):
        tables[split] = round(count * share) if split == "validation" else count - round(count * 0.01)
    batches = [
        (out, split, start, min(BATCH, size - start))
        for split, size in tables.items()
        for start in range(0, size, BATCH)
    ]
    began = time.monotonic()
    with ProcessPoolExecutor(jobs) as pool:
        for done, _ in enumerate(pool.map(_draw_batch, batches), 1):
            print(f"{done * BATCH:,} drawn, {done * BATCH / (time.monotonic() - began):,.0f}/s", flush=True)
    for split, size in tables.items():
        parts = [out / "parts" / f"{split}-{start}.csv" for start in range(0, size, BATCH)]
        with (out / f"{split}.csv").open("w", newline="") as file:
            file.write(",".join(HEADER) + "\n")
            for part in parts:
                file.write(part.read_text())


def _draw_batch(batch: tuple[Path, str, int, int]) -> None:
    out, split, start, size = batch
    part = out / "parts" / f"{split}-{start}.csv"
    if part.is_file():
        return
    part.parent.mkdir(parents=True, exist_ok=True)
    faces = draw_faces(size, size=48, channels=3, seed=start + (10**7 if split == "validation" else 0))
    rows: list[list[Any]] = []
    for i in range(size):
        name = f"{(start + i) // 1000}/{split}{start + i:07d}.jpg"
        path = out / "Manually_Annotated_Images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(faces.images[i]).resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(path, quality=85)
        emotion = EMOTIONS[int(faces.labels[i])]
        points = ";".join(["100.0"] * 136)
        rows.append(
            [
                name,
                20,
                20,
                180,
                180,
                points,
                CODES[emotion],
                round(float(faces.valence[i]), 3),
                round(float(faces.arousal[i]), 3),
            ]
        )
    with part.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def run(sources: list[tuple[str, Path]], out: Path, config: PrepareConfig) -> None:
    """Prepare, and print what each stage took."""
    with _timed("read (index, decode, crop, pack)") as done:
        done["count"] = len(read_sources(sources, out, config, reporter=Reporter()).rows())
    count = done["count"]
    with _timed("audit", count):
        audit(out, config, reporter=Reporter())
    with _timed("split, balance, manifest", count):
        manifest = finish(out, config, reporter=Reporter())
    with _timed("hash", count):
        load_prepared(out).manifest.hash()
    with _timed("everything a second time", count):
        read_sources(sources, out, config)
        again = finish(out, config)
    assert again.hash() == manifest.hash()
    for name, who in (("this process", resource.RUSAGE_SELF), ("largest child", resource.RUSAGE_CHILDREN)):
        print(f"largest resident memory, {name}: {resource.getrusage(who).ru_maxrss / 1e6:.2f} GB")
    print(f"kept {int(manifest.frame['kept'].sum()):,} of {len(manifest):,}; dropped {manifest.dropped()}")


@contextmanager
def _timed(stage: str, count: int | None = None) -> Iterator[dict[str, int]]:
    began, told = time.monotonic(), {} if count is None else {"count": count}
    yield told
    seconds = time.monotonic() - began
    print(f"{stage}: {seconds:,.1f} s, {told['count'] / seconds:,.0f} pictures/s", flush=True)


def faces(real: Path, out: Path, count: int, jobs: int) -> None:
    """Prepare `count` photos of 640x480, each a real face of FER-2013 pasted into it, with detection on."""
    rng = np.random.default_rng(0)
    shards = sorted(real.glob("*.parquet"))
    pngs = pl.concat([pl.read_parquet(shard, columns=["png", "emotion"]) for shard in shards]).sample(
        count, seed=0
    )
    with tempfile.TemporaryDirectory() as folder:
        for i, (png, emotion) in enumerate(pngs.select("png", "emotion").iter_rows()):
            side = int(rng.integers(120, 280))
            photo = Image.fromarray(np.full((480, 640, 3), rng.integers(40, 200, 3), np.uint8))
            face = Image.fromarray(decode(png)).resize((side, side), Image.Resampling.BICUBIC)
            photo.paste(
                face.convert("RGB"), (int(rng.integers(0, 640 - side)), int(rng.integers(0, 480 - side)))
            )
            path = (
                Path(folder)
                / ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")[emotion]
                / f"{i:05d}.jpg"
            )
            path.parent.mkdir(exist_ok=True)
            photo.save(path, quality=90)
        run([("photos", Path(folder))], out, PrepareConfig(jobs=jobs, faces=FacesConfig(detect="always")))


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("draw", "run", "faces"))
    parser.add_argument(
        "--data", type=Path, help="run: the drawn set; faces: the folder of FER-2013's shards"
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=450_000)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    if options.what == "draw":
        draw(options.out, options.count, options.jobs)
    elif options.what == "run":
        config = PrepareConfig(jobs=options.jobs, template_sample=0, faces=FacesConfig(detect="never"))
        run([("affectnet", options.data)], options.out, config)
    else:
        faces(options.data, options.out, options.count, options.jobs)


if __name__ == "__main__":
    main()
