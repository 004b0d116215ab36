"""Perceptual hashes of faces: the look-alikes among many, without comparing each with each.

A face is described by the 63 lowest frequencies of its discrete cosine transform (the idea of pHash: Zauner,
"Implementation and Benchmarking of Perceptual Image Hash Functions", 2010, section 3.2.1), and hashed to the
signs of random projections of them (Charikar, "Similarity Estimation Techniques from Rounding Algorithms",
STOC 2002, section 3) into several tables (Indyk and Motwani, STOC 1998).

Every sum is over whole numbers that its floating-point type holds exactly. So no result depends on the order
of summation, nor thereby on the number of threads or on how the faces are sliced.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import acos, ceil, log, log2, pi
from typing import Final

import numpy as np
import numpy.typing as npt

from mien.images import to_grey

Grey = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Index = npt.NDArray[np.int64]

SIDE: Final = 48
"""Faces are compared at this side, in pixels."""
FLAT: Final = 5.0
"""A picture whose grey levels have a smaller standard deviation is not compared: there, rounding and
compression move the correlation by more than a twin differs. The flattest face of FER-2013 has 9.1."""
UNIT: Final = 2.0**11
"""Length of a description. Any sum of products of two of them stays below 2^24, where float32 is exact."""

_FREQUENCIES: Final = 8
DIMENSIONS: Final = _FREQUENCIES**2
"""Numbers that describe a face."""
_BASIS: Final = 2.0**14
_PLANE: Final = 2.0**13 - 32
"""Length of a hyperplane's normal before rounding; times UNIT it must stay below 2^24."""
_RECALL: Final = 0.95
_BUCKET: Final = 16
"""Most members of a bucket that one query looks at; in a larger one, its neighbours in sorted order."""
_SPARE_BITS: Final = 3
_MOST_BUCKETS: Final = 1 << 24
"""Over all tables; each takes four bytes."""
_GATHERED: Final = 1 << 15
_HASHED: Final = 1 << 12
_TIE_BITS: Final = 26


def grey48(faces: npt.NDArray[np.uint8]) -> Grey:
    """Packed faces as grey ones of 48x48.

    Args:
        faces: uint8 [B, C, H, W], C 1 (grey) or 3 (RGB); any other size is averaged over areas.

    Returns:
        uint8 [B, 48, 48]; grey by ITU-R BT.601, rounded to whole levels.
    """
    grey = faces[:, 0] if faces.shape[1] == 1 else to_grey(np.moveaxis(faces, 1, -1))
    height, width = grey.shape[1:]
    if (height, width) == (SIDE, SIDE):
        return np.ascontiguousarray(grey)
    sums = _areas(height) @ grey.astype(np.float64) @ _areas(width).T
    reduced: Grey = np.floor(sums / (height * width) + 0.5).astype(np.uint8)
    return reduced


def _areas(length: int) -> npt.NDArray[np.float64]:
    """How much of each of `length` pixels lies in each of 48, in 48ths of a pixel, [48, length]."""
    low, high = np.arange(SIDE)[:, None] * length, np.arange(length)[None] * SIDE
    shared = np.minimum(low + length, high + SIDE) - np.maximum(low, high)
    areas: npt.NDArray[np.float64] = np.maximum(shared, 0).astype(np.float64)
    return areas


def describe(grey: Grey, *, margin: int, right: Sequence[int] = (0,), down: Sequence[int] = (0,)) -> Floats:
    """Descriptions of the pictures less a margin, and of windows of this size moved from there.

    A description is the window with zero mean and unit norm, in an orthonormal basis: 63 cosine coefficients
    and the length of all that they leave out. So the scalar product of two is an upper bound of the
    correlation of the windows.

    Args:
        grey: uint8 [B, 48, 48].
        margin: pixels left out on each side.
        right: how far windows are moved to the right, in pixels, -margin..margin.
        down: how far down.

    Returns:
        Whole numbers, float32 [B, len(down), len(right), 64], of length about `UNIT`; all zero for a window
        that is flat.
    """
    size = SIDE - 2 * margin
    (basis_x, box_x), (basis_y, box_y) = (_windows(margin, shifts) for shifts in (right, down))
    pixels = grey.astype(np.float64)
    products = (basis_y.T @ (pixels @ basis_x)).reshape(-1, len(down), _FREQUENCIES, len(right), _FREQUENCIES)
    products = np.swapaxes(products, 2, 3).reshape(-1, len(down), len(right), DIMENSIONS)
    squares = box_y.T @ (pixels * pixels @ box_x)
    variance = squares / size**2 - (products[..., 0] / size**2) ** 2
    norm = np.sqrt(np.where(variance < FLAT**2, np.inf, variance)) * size
    scale = np.full(_FREQUENCIES, 1 / _BASIS)
    scale[0] = 1 / np.sqrt(size)
    out = np.rint(products * (np.outer(scale, scale).ravel() * UNIT) / norm[..., None])
    rest = UNIT**2 - (out[..., 1:] ** 2).sum(axis=-1)
    out[..., 0] = np.where(np.isinf(norm), 0, np.rint(np.sqrt(np.maximum(rest, 0))))
    descriptions: Floats = out.astype(np.float32)
    return descriptions


def _windows(margin: int, shifts: Sequence[int]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Along one side, the cosines in whole numbers [48, S * 8] and ones [48, S] at each place of a window."""
    size = SIDE - 2 * margin
    cosines = np.cos(pi / size * (np.arange(size)[:, None] + 0.5) * np.arange(_FREQUENCIES))
    cosines = np.rint(cosines * np.sqrt(2 / size) * _BASIS)
    # The mean is taken off by this one: a plain sum is exact, where a rounded 1 / sqrt(size) is not.
    cosines[:, 0] = 1
    basis, box = np.zeros((SIDE, len(shifts), _FREQUENCIES)), np.zeros((SIDE, len(shifts)))
    for i, shift in enumerate(shifts):
        basis[margin + shift : margin + shift + size, i] = cosines
        box[margin + shift : margin + shift + size, i] = 1
    return basis.reshape(SIDE, -1), box


def mirrored(descriptions: Floats) -> Floats:
    """Descriptions [..., 64] of the same windows, mirrored left to right."""
    signs = np.where(np.arange(_FREQUENCIES) % 2, np.float32(-1), np.float32(1))
    flipped: Floats = descriptions * np.tile(signs, _FREQUENCIES)
    return flipped


def _tables(bits: int, correlation: float) -> int:
    agree = (1 - acos(correlation) / pi) ** bits
    return ceil(log(1 - _RECALL) / log(1 - agree))


class HashTables:
    """Hash tables of descriptions, and the look-up in them.

    A key has as many bits as give a few buckets for every described face. There are as many tables as find
    95 % of the pairs whose scalar product is just `correlation`, by Charikar's collision probability.

    Args:
        descriptions: float32 [N, 64], whole numbers.
        correlation: of the twins that are looked for, 0..1.
        seed: of the hyperplanes.
    """

    def __init__(self, descriptions: Floats, *, correlation: float, seed: int = 0) -> None:
        count = max(len(descriptions), 1)
        self.bits = ceil(log2(count)) + _SPARE_BITS
        while (tables := _tables(self.bits, correlation)) << self.bits > _MOST_BUCKETS:
            self.bits -= 1
        self.tables = tables
        self._planes = self._hyperplanes(seed)
        self._descriptions = descriptions
        self._places = np.empty((self.tables, len(descriptions)), dtype=np.int64)
        self._members = np.empty((self.tables, len(descriptions)), dtype=np.int32)
        self._starts = np.zeros((self.tables, (1 << self.bits) + 1), dtype=np.int32)
        for i in range(0, len(descriptions), _HASHED):
            self._places[:, i : i + _HASHED] = self._hash(descriptions[i : i + _HASHED])
        for table, places in enumerate(self._places):
            self._members[table] = np.argsort(places, kind="stable")
            places[:] = places[self._members[table]]
            sizes = np.bincount(places >> _TIE_BITS, minlength=1 << self.bits)
            np.cumsum(sizes, out=self._starts[table, 1:])

    def _hyperplanes(self, seed: int) -> Floats:
        normals = np.random.default_rng(seed).standard_normal((DIMENSIONS, self.tables * (self.bits + 1)))
        rows, columns = np.divmod(np.arange(DIMENSIONS), _FREQUENCIES)
        # Amplitudes in pictures fall as one over the frequency: unweighted, the few lowest would decide.
        weight = np.hypot(rows, columns)
        weight[(rows + columns >= 7) | (rows + columns == 0)] = 0
        normals *= weight[:, None]
        normals *= _PLANE / np.linalg.norm(normals, axis=0)
        return np.rint(normals).astype(np.float32)

    def _hash(self, descriptions: Floats) -> Index:
        """Bucket and place in it, as one number, [tables, Q]."""
        # Not centred on the data: were most of them copies of one picture, their signs would be chance.
        above = (descriptions @ self._planes).reshape(len(descriptions), self.tables, self.bits + 1)
        powers = (2 ** np.arange(self.bits)).astype(np.float32)
        keys = (above[..., :-1] > 0).astype(np.float32) @ powers
        ties = above[..., -1].astype(np.int64) + (1 << _TIE_BITS - 1)
        return np.ascontiguousarray(((keys.astype(np.int64) << _TIE_BITS) + ties).T)

    def look_up(self, queries: Floats, owners: Index, bound: float) -> Iterator[tuple[Index, Index]]:
        """Members of the queries' buckets whose scalar product with the query exceeds a bound.

        Args:
            queries: float32 [Q, 64], whole numbers.
            owners: position in the described faces that each query belongs to, int64 [Q].
            bound: of the scalar product of unit vectors, -1..1.

        Yields:
            For each table and slice of queries, the owners and the members, both int64 and aligned; a member
            is never its own owner. A pair may come again.
        """
        for table, places in enumerate(self._hash(queries)):
            low, high = self._range(table, places)
            ends = np.cumsum(high - low)
            begin = 0
            while begin < len(queries):
                done = int(ends[begin - 1]) if begin else 0
                end = max(int(np.searchsorted(ends, done + _GATHERED)), begin + 1)
                sizes = high[begin:end] - low[begin:end]
                query = np.repeat(np.arange(begin, end), sizes)
                within = np.arange(len(query)) - np.repeat(ends[begin:end] - sizes - done, sizes)
                member = self._members[table, np.repeat(low[begin:end], sizes) + within].astype(np.int64)
                other = member != owners[query]
                query, member = query[other], member[other]
                product = np.einsum("ij,ij->i", queries[query], self._descriptions[member])
                near = product > bound * UNIT**2
                yield owners[query[near]], member[near]
                begin = end

    def _range(self, table: int, places: Index) -> tuple[Index, Index]:
        keys = places >> _TIE_BITS
        low, high = (self._starts[table, keys + i].astype(np.int64) for i in (0, 1))
        large = np.flatnonzero(high - low > _BUCKET)
        middle = np.searchsorted(self._places[table], places[large])
        low[large] = np.clip(middle - _BUCKET // 2, low[large], high[large] - _BUCKET)
        high[large] = low[large] + _BUCKET
        return low, high
