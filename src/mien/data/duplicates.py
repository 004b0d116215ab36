"""The same picture standing in the data twice: exact twins by hash, near twins by correlation.

Two faces are near twins when their grey pixels at 48x48 correlate (Pearson) more than a threshold: as they
are, or, where that is asked for, with one of them shifted by whole pixels, mirrored, or both. A shift takes
the correlation over the overlap alone. The same threshold serves for all of these: on FER-2013, every pair
looked at that only a shift or a mirror brings above 0.98 was the same photograph.

Near twins are looked for among perceptual hashes (`mien.data.perceptual_hash`) and confirmed by the pixels.
So a reported pair is always true by this definition, and the time grows as about the power 1.3 of the number
of faces (`benchmarks/duplicates.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import product
from typing import Final

import numpy as np
import numpy.typing as npt

from mien.config import AuditConfig
from mien.data.perceptual_hash import DIMENSIONS, FLAT, SIDE, HashTables, describe, grey48, mirrored
from mien.errors import InputError

Faces = npt.NDArray[np.uint8]
Index = npt.NDArray[np.int64]
Transform = tuple[bool, int, int]
"""Whether the second face is mirrored, and by how much it is then moved against the first, in x and in y."""

_PLAIN: Final[Transform] = (False, 0, 0)
_MARGIN: Final = 0.02
"""How far the correlation of the central windows, which are hashed, may fall short of that of the overlap."""
_SLICE: Final = 512
_BYTES: Final = 1 << 24


@dataclass(frozen=True)
class TwinPairs:
    """Pairs of twins, sorted by `a` and then `b`; all arrays have length P.

    Equal pictures are a star: each is paired with the first of them, and only the first is paired with near
    twins. So the near twins of any picture are those of the first one equal to it.
    """

    a: Index
    """Position of the first face."""
    b: Index
    """Position of the second, above `a`."""
    exact: npt.NDArray[np.bool_]
    """Whether the hashes are equal."""
    correlation: npt.NDArray[np.float32]
    """Pearson correlation of the grey pixels at 48x48 over the overlap; 1 for exact twins."""
    mirrored: npt.NDArray[np.bool_]
    """Whether the second face is a mirror image of the first."""
    shift: npt.NDArray[np.int8]
    """[P, 2]: how far the second, mirrored where it is a mirror image, is moved to the right and down against
    the first, in pixels of 48."""


def find_twins(
    faces: Faces,
    hashes: Sequence[str | None] | None,
    config: AuditConfig,
    *,
    progress: Callable[[int], None] | None = None,
) -> TwinPairs:
    """All exact twins, and practically all near ones, without comparing each face with each.

    Besides the pairs it holds about 600 bytes a face, whatever the size of the pack.

    A pair that is twins as it stands (neither shifted nor mirrored) is reported so, any other with the
    transform of the highest correlation. Faces whose central window (48 less twice `config.shift` pixels) has
    a standard deviation below `mien.data.perceptual_hash.FLAT` grey levels have no near twins. Where more
    than 16 faces share a hash, each is compared with its neighbours in sorted order only, which links a crowd
    of twins as a chain instead of each with each. The result is the same on any number of threads.

    Args:
        faces: uint8 [N, C, H, W], C 1 (grey) or 3 (RGB), values 0..255; may be a memory map, it is read in
            slices.
        hashes: N hashes of the pictures' pixels; None for a picture, or for all, without one.
        config: what counts as a twin.
        progress: called with the number of faces that were finished since the last call, in all N.

    Raises:
        InputError: the faces are not such an array, or there are not as many hashes.
    """
    if faces.ndim != 4 or faces.dtype != np.uint8 or faces.shape[1] not in (1, 3) or 0 in faces.shape[2:]:
        raise InputError(
            f"faces of {faces.dtype} {list(faces.shape)} cannot be searched for twins; pass uint8 "
            "[N, 1 or 3, H, W]."
        )
    if hashes is not None and len(hashes) != len(faces):
        raise InputError(f"there are {len(hashes)} hashes for {len(faces)} faces; pass one for each.")
    codes = _codes(hashes, len(faces))
    found = [_star(codes)]
    if config.near:
        near = _near(faces, config, progress or (lambda _: None))
        found += [pairs.only(codes[pairs.a] != codes[pairs.b]) for pairs in near]
    elif progress:
        progress(len(faces))
    return _table(found, codes)


def twin_groups(count: int, a: Index, b: Index) -> Index:
    """Number of each face's group, where twins of twins are in one group.

    Args:
        count: how many faces there are.
        a: one position of each pair of twins, int64 [P].
        b: the other, aligned.

    Returns:
        int64 [count]: the smallest position in the group, -1 for a face without a twin.
    """
    root = np.arange(count)
    while True:
        one, other = root[a], root[b]
        apart = one != other
        if not apart.any():
            break
        np.minimum.at(root, np.maximum(one, other)[apart], np.minimum(one, other)[apart])
        while (root[root] != root).any():
            root = root[root]
    sizes = np.bincount(root, minlength=count)
    return np.where(sizes[root] > 1, root, -1)


@dataclass(frozen=True)
class _Found:
    """Pairs before they are put together."""

    a: Index
    b: Index
    correlation: npt.NDArray[np.float64]
    transform: npt.NDArray[np.int8]
    """[P, 3]: rows are `Transform`."""

    def only(self, chosen: npt.NDArray[np.bool_]) -> _Found:
        return _Found(self.a[chosen], self.b[chosen], self.correlation[chosen], self.transform[chosen])


def _codes(hashes: Sequence[str | None] | None, count: int) -> Index:
    """The position of the first face with an equal hash, [N]."""
    if hashes is None:
        return np.arange(count)
    first: dict[str, int] = {}
    codes = (i if value is None else first.setdefault(value, i) for i, value in enumerate(hashes))
    return np.fromiter(codes, dtype=np.int64, count=count)


def _star(first: Index) -> _Found:
    """Each position paired with the first one equal to it; -1 is equal to none."""
    others = np.flatnonzero((first != np.arange(len(first))) & (first >= 0))
    return _Found(first[others], others, np.ones(len(others)), np.zeros((len(others), 3), dtype=np.int8))


def _table(found: Sequence[_Found], codes: Index) -> TwinPairs:
    a, b = np.concatenate([p.a for p in found]), np.concatenate([p.b for p in found])
    transform = np.concatenate([p.transform for p in found])
    order = np.lexsort((b, a))
    # Either face of a pair may have found it.
    new = (np.diff(a[order], prepend=-1) != 0) | (np.diff(b[order], prepend=-1) != 0)
    order = order[new]
    return TwinPairs(
        a=a[order],
        b=b[order],
        exact=codes[a[order]] == codes[b[order]],
        correlation=np.concatenate([p.correlation for p in found])[order].astype(np.float32),
        mirrored=transform[order, 0].astype(bool),
        shift=transform[order, 1:],
    )


def _near(faces: Faces, config: AuditConfig, progress: Callable[[int], None]) -> Iterator[_Found]:
    first, descriptions = _described(faces, config.shift)
    yield _star(first)
    # A crowd of equal faces would fill its buckets; one stands for all.
    rows = np.flatnonzero(first == np.arange(len(faces)))
    tables = HashTables(descriptions[rows], correlation=config.correlation)
    del descriptions
    for begin in range(0, len(faces), _SLICE):
        end = min(begin + _SLICE, len(faces))
        owners = np.arange(*np.searchsorted(rows, (begin, end)))
        a, b = _look_alikes(faces, rows, owners, tables, config)
        for i in range(0, len(a), _SLICE):
            pairs = a[i : i + _SLICE], b[i : i + _SLICE]
            one, other = (_read(faces, side).astype(np.int32) for side in pairs)
            correlation, transform = _best(one, other, config)
            yield _Found(*pairs, correlation, transform).only(correlation > config.correlation)
        progress(end - begin)


def _described(faces: Faces, margin: int) -> tuple[Index, npt.NDArray[np.float32]]:
    """The position of the first equal face, -1 for a flat one, [N]; and what its hash is made of, [N, 64]."""
    first = np.empty(len(faces), dtype=np.int64)
    descriptions = np.empty((len(faces), DIMENSIONS), dtype=np.float32)
    seen: dict[bytes, int] = {}
    for begin in range(0, len(faces), _SLICE):
        grey = _read(faces, np.arange(begin, min(begin + _SLICE, len(faces))))
        descriptions[begin : begin + len(grey)] = describe(grey, margin=margin)[:, 0, 0]
        for i, face in enumerate(grey, begin):
            first[i] = seen.setdefault(blake2b(face, digest_size=16).digest(), i)
    return np.where(descriptions.any(axis=1), first, -1), descriptions


def _look_alikes(
    faces: Faces, rows: Index, owners: Index, tables: HashTables, config: AuditConfig
) -> tuple[Index, Index]:
    """Pairs of positions in `faces` that may be twins by their hashes, one of each in `rows[owners]`."""
    if len(owners) == 0:
        return owners, owners
    # Moved up is what the other face of the pair finds when it is moved down.
    right, down = range(-config.shift, config.shift + 1), range(config.shift + 1)
    queries = describe(_read(faces, rows[owners]), margin=config.shift, right=right, down=down)
    if config.mirror:
        queries = np.stack([queries, mirrored(queries)], axis=1)
    queries = queries.reshape(-1, DIMENSIONS)
    owners = np.repeat(owners, len(queries) // len(owners))
    usable = queries.any(axis=1)
    found = tables.look_up(queries[usable], owners[usable], config.correlation - _MARGIN)
    codes = [np.minimum(a, b) * len(rows) + np.maximum(a, b) for a, b in found]
    a, b = np.divmod(np.unique(np.concatenate(codes)), len(rows))
    return rows[a], rows[b]


def _best(
    a: npt.NDArray[np.int32], b: npt.NDArray[np.int32], config: AuditConfig
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int8]]:
    """Correlation of pairs of grey faces [P, 48, 48], and its transform [P, 3].

    It is the plain one if that makes them twins, else the highest; of equal ones the smallest shift.
    """
    best = correlate(a, b, _PLAIN)
    transforms = np.zeros((len(a), 3), dtype=np.int8)
    rest = np.flatnonzero(best <= config.correlation)
    shifts = range(-config.shift, config.shift + 1)
    every = product((False, True) if config.mirror else (False,), shifts, shifts)
    a, b = a[rest], b[rest]
    for transform in sorted(every, key=lambda t: (t[0], abs(t[1]) + abs(t[2]))):
        correlation = correlate(a, b, transform)
        better = correlation > best[rest]
        best[rest[better]] = correlation[better]
        transforms[rest[better]] = transform
    return best, transforms


def correlate(
    a: npt.NDArray[np.int32], b: npt.NDArray[np.int32], transform: Transform
) -> npt.NDArray[np.float64]:
    """Pearson correlation of pairs of faces over the overlap that a transform leaves them.

    Args:
        a: grey levels 0..255, [P, 48, 48].
        b: as `a`; `b[y + dy, x + dx]` is set against `a[y, x]`, after mirroring.
        transform: mirrored or not, dx and dy.

    Returns:
        [P], -1..1; 0 where either overlap is flat.
    """
    mirror, dx, dy = transform
    b = b[:, :, ::-1] if mirror else b
    a = a[:, max(-dy, 0) : SIDE - max(dy, 0), max(-dx, 0) : SIDE - max(dx, 0)]
    b = b[:, max(dy, 0) : SIDE + min(dy, 0), max(dx, 0) : SIDE + min(dx, 0)]
    # Sums of whole numbers are exact in any order; those of products stay below 2^28.
    size = a.shape[1] * a.shape[2]
    sum_a, sum_b = (np.einsum("pyx->p", side).astype(np.int64) for side in (a, b))

    def covariance(
        one: npt.NDArray[np.int32], sum_one: Index, two: npt.NDArray[np.int32], sum_two: Index
    ) -> Index:
        products: Index = size * np.einsum("pyx,pyx->p", one, two).astype(np.int64)
        return products - sum_one * sum_two

    shared = covariance(a, sum_a, b, sum_b)
    energy_a, energy_b = covariance(a, sum_a, a, sum_a), covariance(b, sum_b, b, sum_b)
    flat = np.minimum(energy_a, energy_b) < (FLAT * size) ** 2
    return np.where(flat, 0, shared / np.sqrt(np.where(flat, 1, energy_a.astype(float) * energy_b)))


def _read(faces: Faces, positions: Index) -> Faces:
    """Grey faces [P, 48, 48], reduced a few at a time where they are large."""
    step = max(1, _BYTES // faces[0].nbytes)
    slices = (positions[i : i + step] for i in range(0, len(positions), step))
    return np.concatenate([grey48(np.asarray(faces[part])) for part in slices])
