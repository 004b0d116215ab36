"""How many twins `mien.data.duplicates` finds, how fast, and how it grows.

    OMP_NUM_THREADS=1 taskset -c 0 .venv/bin/python benchmarks/duplicates.py --data PATH

PATH is the folder with FER-2013 as parquet shards (columns row, usage, png). The reference compares every
face with every other: half a minute for the faces as they are, about five minutes more with `--transforms`,
for the shifts and mirrors. Scaling runs on blends of warped faces, kept in a temporary folder: 1 GB for
450,000.
"""

from __future__ import annotations

import argparse
import cProfile
import hashlib
import io
import pstats
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from PIL import Image, ImageEnhance

from mien.config import AuditConfig
from mien.data.duplicates import Transform, TwinPairs, correlate, find_twins, twin_groups

Faces = npt.NDArray[np.uint8]
Index = npt.NDArray[np.int64]

ISSUE = {"PrivateTest": (288, 328), "PublicTest": (279, None)}
BLOCK = 2048


def read_faces(data: Path) -> tuple[Faces, list[str]]:
    """FER-2013 in its official order, uint8 [N, 48, 48], and the official split of each face."""
    frame = pl.concat([pl.read_parquet(path) for path in sorted(data.glob("*.parquet"))]).sort("row")
    faces = np.stack([np.asarray(Image.open(io.BytesIO(png))) for png in frame["png"]])
    return faces, frame["usage"].to_list()


def hashes_of(faces: Faces) -> list[str]:
    return [hashlib.sha256(face.tobytes()).hexdigest() for face in faces]


def normalised(windows: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Windows [N, h, w] as rows of zero mean and unit norm, [N, h * w]."""
    flat = windows.reshape(len(windows), -1).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)
    return flat


def all_plain(faces: Faces, threshold: float) -> tuple[Index, Index]:
    """Every pair of faces that correlates more than `threshold` as it stands, by the whole matrix."""
    rows, found = normalised(faces), []
    for i in range(0, len(rows), BLOCK):
        for j in range(i, len(rows), 2 * BLOCK):
            a, b = np.nonzero(rows[i : i + BLOCK] @ rows[j : j + 2 * BLOCK].T > threshold)
            found.append(np.stack([a + i, b + j])[:, a + i < b + j])
    a, b = np.concatenate(found, axis=1)
    return a, b


def all_transformed(faces: Faces, config: AuditConfig) -> Iterator[tuple[Transform, Index, Index]]:
    """For every transform, every pair of faces that it makes twins.

    Each pair is looked at in 80 principal directions and what is left of either face beside them, which gives
    an upper bound of its correlation; where this exceeds the threshold the pixels decide.
    """
    shifts = range(-config.shift, config.shift + 1)
    for mirror, dx, dy in product((False, True), shifts, shifts):
        other = faces[:, :, ::-1] if mirror else faces
        one = normalised(faces[:, max(-dy, 0) : 48 - max(dy, 0), max(-dx, 0) : 48 - max(dx, 0)])
        two = normalised(other[:, max(dy, 0) : 48 + min(dy, 0), max(dx, 0) : 48 + min(dx, 0)])
        basis = np.linalg.eigh(one[::7].T @ one[::7])[1][:, -80:]
        left, right = (with_rest(side @ basis) for side in (one, two))
        found = []
        for i in range(0, len(faces), BLOCK // 2):
            a, b = np.nonzero(left[i : i + BLOCK // 2] @ right[i:].T > config.correlation - 1e-4)
            found.append(np.stack([a, b])[:, a < b] + i)
        pairs = np.concatenate(found, axis=1)
        true = [
            correlate(a, b, (mirror, dx, dy)) > config.correlation
            for a, b in (faces[pairs[:, i : i + 512]].astype(np.int32) for i in range(0, pairs.shape[1], 512))
        ]
        a, b = pairs[:, np.concatenate([np.empty(0, dtype=bool), *true])]
        yield (mirror, dx, dy), a, b


def with_rest(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    rest = np.sqrt(np.maximum(1 - (rows**2).sum(axis=1, keepdims=True), 0))
    return np.concatenate([rows, rest], axis=1)


def share(found: int, of: int) -> str:
    return f"{found} of {of} ({found / of:.2%})" if of else "none there are"


def timed(name: str, work: Callable[[], Any]) -> Any:
    start, cpu = time.perf_counter(), time.process_time()
    result = work()
    print(f"  {name}: {time.perf_counter() - start:.1f} s, processor {time.process_time() - cpu:.1f} s")
    return result


def phases(faces: Faces, config: AuditConfig) -> None:
    """What the parts of the search take."""
    profile = cProfile.Profile()
    profile.runcall(find_twins, faces[:, None], None, config)
    rows = pstats.Stats(profile).get_stats_profile().func_profiles
    for name in ("describe", "look_up", "_hash", "_best"):
        print(f"  {name}: {rows[name].cumtime:.1f} s in all")


def against_reference(faces: Faces, usage: list[str], config: AuditConfig, transforms: bool) -> None:
    print(f"FER-2013, {len(faces)} faces; searched with {config}")
    hashes = hashes_of(faces)
    phases(faces, config)
    pairs = timed("find_twins", lambda: find_twins(faces[:, None], hashes, config))
    first = {value: i for i, value in reversed(list(enumerate(hashes)))}
    stands_for = np.asarray([first[value] for value in hashes])
    found = set(zip(pairs.a.tolist(), pairs.b.tolist(), strict=True))
    where = np.asarray(usage)

    def across(a: Index, b: Index, split: str, other: str = "Training") -> int:
        sides = ((a, b), (b, a))
        return len({i for x, y in sides for i in x[(where[x] == split) & (where[y] == other)].tolist()})

    a, b = timed("reference", lambda: all_plain(faces, config.correlation))
    equal = stands_for[a] == stands_for[b]
    one, other = np.sort(np.stack([stands_for[a], stands_for[b]]), axis=0)
    hit = equal | np.fromiter(
        ((x, y) in found for x, y in zip(one.tolist(), other.tolist(), strict=True)), bool
    )
    print(f"plain pairs that are not equal: {share(int((hit & ~equal).sum()), int((~equal).sum()))}")
    for split, (exact, near) in ISSUE.items():
        print(
            f"{split} with a twin in Training: exact {across(a[equal], b[equal], split)} (issue {exact}), "
            f"found plain {across(a[hit], b[hit], split)}, by the reference {across(a, b, split)} "
            f"(issue {near})"
        )
    print(f"PrivateTest with a twin in PublicTest: {across(a[hit], b[hit], 'PrivateTest', 'PublicTest')}")
    if transforms:
        by_kind(faces, stands_for, found, config)
    sizes(len(faces), pairs)


def by_kind(faces: Faces, stands_for: Index, found: set[tuple[int, int]], config: AuditConfig) -> None:
    """Recall of every kind of twins, and precision over all that are reported."""
    rows = np.flatnonzero(stands_for == np.arange(len(faces)))
    kinds: dict[tuple[int, int], set[Transform]] = {}
    for transform, a, b in all_transformed(faces[rows], config):
        for pair in zip(rows[a].tolist(), rows[b].tolist(), strict=True):
            kinds.setdefault(pair, set()).add(transform)
    names: dict[str, Callable[[set[Transform]], bool]] = {
        "plain": lambda t: (False, 0, 0) in t,
        "only shifted": lambda t: (False, 0, 0) not in t and any(not mirror for mirror, _, _ in t),
        "only mirrored": lambda t: all(mirror for mirror, _, _ in t),
    }
    for name, is_kind in names.items():
        pairs = {pair for pair, t in kinds.items() if is_kind(t)}
        print(f"pairs of distinct faces, {name}: {share(len(pairs & found), len(pairs))}")
    near = {(a, b) for a, b in found if stands_for[a] != stands_for[b]}
    print(f"reported near pairs that are twins by the definition: {share(len(near & set(kinds)), len(near))}")


def sizes(count: int, pairs: TwinPairs) -> None:
    plain = ~pairs.mirrored & (pairs.shift == 0).all(axis=1)
    for name, chosen in (("exact", pairs.exact), ("plain", plain), ("all", np.ones_like(plain))):
        groups = twin_groups(count, pairs.a[chosen], pairs.b[chosen])
        members = np.bincount(groups[groups >= 0])
        print(
            f"groups of {name} twins: {np.count_nonzero(members)} of {members.sum()} faces, largest "
            f"{np.sort(members)[-5:][::-1].tolist()}"
        )


def shifted(face: Faces, dx: int, dy: int) -> Faces:
    return np.roll(np.pad(face, 2, mode="edge"), (dy, dx), axis=(0, 1))[2:-2, 2:-2]


def brightened(face: Faces) -> Faces:
    image = ImageEnhance.Contrast(ImageEnhance.Brightness(Image.fromarray(face)).enhance(1.15)).enhance(0.9)
    return np.asarray(image)


def recompressed(face: Faces, quality: int) -> Faces:
    file = io.BytesIO()
    Image.fromarray(face).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


COPIES: Mapping[str, tuple[Callable[[Faces], Faces], Transform]] = {
    "mirrored": (lambda face: face[:, ::-1], (True, 0, 0)),
    "shifted by 2": (lambda face: shifted(face, 2, 0), (False, 2, 0)),
    "shifted by (-2, 2)": (lambda face: shifted(face, -2, 2), (False, -2, 2)),
    "brightened": (brightened, (False, 0, 0)),
    "JPEG, quality 75": (lambda face: recompressed(face, 75), (False, 0, 0)),
    "JPEG, quality 40": (lambda face: recompressed(face, 40), (False, 0, 0)),
    "mirrored, shifted, brightened, JPEG 75": (
        lambda face: recompressed(brightened(shifted(face[:, ::-1], 1, -2)), 75),
        (True, -1, -2),
    ),
}


def planted(faces: Faces, config: AuditConfig, count: int = 1000) -> None:
    """Copies of some faces appended to all."""
    chosen = np.random.default_rng(0).permutation(len(faces))[:count]
    print(f"{count} copies planted into {len(faces)} faces")
    for name, (copy, transform) in COPIES.items():
        copies = np.stack([copy(face) for face in faces[chosen]])
        both = np.concatenate([faces, copies])
        pairs = find_twins(both[:, None], hashes_of(both), config)
        groups = twin_groups(len(both), pairs.a, pairs.b)
        found = (groups[chosen] == groups[len(faces) :]) & (groups[chosen] >= 0)
        correlation = correlate(faces[chosen].astype(np.int32), copies.astype(np.int32), transform)
        true = correlation > config.correlation
        print(
            f"  {name}: {share(int(found.sum()), count)}; of those that are twins by the definition "
            f"{share(int((found & true).sum()), int(true.sum()))}"
        )


def blends(path: Path, faces: Faces, count: int) -> Faces:
    """A memory map of faces much like FER-2013's: two of them, warped at random, laid over each other."""
    rng = np.random.default_rng(0)
    out = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(count, 1, 48, 48))
    for i in range(count):
        one, other = (Image.fromarray(faces[j]) for j in rng.integers(0, len(faces), 2))
        out[i, 0] = np.asarray(Image.blend(warp(one, rng), warp(other, rng), rng.uniform(0.2, 0.45)))
    # One in fifty is a copy of an earlier one.
    copies = list(COPIES.values())
    for i in range(49, count, 50):
        out[i, 0] = copies[i // 50 % len(copies)][0](out[i - 1 - i // 2, 0])
    out.flush()
    whole: Faces = np.load(path, mmap_mode="r")
    return whole


def warp(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    angle, scale = rng.normal(0, 0.15), rng.uniform(0.75, 1)
    c, s, (x, y) = scale * np.cos(angle), scale * np.sin(angle), rng.normal(24, 2, 2)
    return image.transform(
        (48, 48),
        Image.Transform.AFFINE,
        (c, -s, x - 24 * (c - s), s, c, y - 24 * (s + c)),
        Image.Resampling.BILINEAR,
    )


def own_megabytes() -> float:
    """Memory of this process that belongs to no file."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


class MemoryWatch:
    """The most memory that a block takes on top of what was there before, looked at every 50 ms."""

    def __enter__(self) -> MemoryWatch:
        self.before = self.most = own_megabytes()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def _look(self) -> None:
        while not self._ended.wait(0.05):
            self.most = max(self.most, own_megabytes())

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()


def scaling(faces: Faces, counts: list[int], config: AuditConfig) -> None:
    print("blends of two warped faces, every fiftieth a copy")
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        whole = blends(Path(folder) / "faces.npy", faces, max(counts))
        for count in counts:
            start, cpu = time.perf_counter(), time.process_time()
            with MemoryWatch() as memory:
                pairs = find_twins(whole[:count], None, config)
            seconds.append(time.process_time() - cpu)
            copies = np.arange(49, count, 50)
            groups = twin_groups(count, pairs.a, pairs.b)
            found = (groups[copies] == groups[copies - 1 - copies // 2]) & (groups[copies] >= 0)
            print(
                f"  {count}: {time.perf_counter() - start:.0f} s, processor {seconds[-1]:.0f} s, "
                f"{memory.most - memory.before:.0f} MB, {len(pairs.a)} pairs, "
                f"copies {share(int(found.sum()), len(copies))}",
                flush=True,
            )
    if len(counts) > 1:
        exponent = np.polyfit(np.log(counts), np.log(seconds), 1)[0]
        print(f"time grows with the number of faces to the power of {exponent:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Recall, precision and speed of the search for twins.")
    parser.add_argument("--data", type=Path, required=True, help="folder with FER-2013 as parquet shards")
    parser.add_argument(
        "--transforms", action="store_true", help="also every shift and mirror by brute force"
    )
    parser.add_argument("--counts", type=int, nargs="*", default=[50_000, 100_000, 200_000])
    arguments = parser.parse_args()
    faces, usage = read_faces(arguments.data)
    against_reference(faces, usage, AuditConfig(), arguments.transforms)
    planted(faces, AuditConfig())
    if arguments.counts:
        scaling(faces, arguments.counts, AuditConfig())


if __name__ == "__main__":
    main()
