"""Tracks of one video joined into people by how their faces look: biometric, so only where a caller brings an
embedder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

SAME_PERSON: Final = 0.5
"""Least cosine of two tracks' mean embeddings that makes them one person. Embedders differ: measure it on
yours."""


class Embedder(Protocol):
    """Anything that turns faces into vectors that are near each other for one person."""

    def embed(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Crops of `mien.runtime.embedder.identity_crops`, uint8 RGB [N,H,W,3], to float32 [N,D]; only the
        directions of the vectors are compared."""
        ...


def join_tracks(
    embeddings: Mapping[int, NDArray[np.floating]],
    spans: Mapping[int, tuple[float, float]],
    *,
    threshold: float = SAME_PERSON,
) -> dict[int, int]:
    """The person of each track, from 1 in the order of appearance.

    Agglomerative: the two most similar groups are joined until none reach the threshold, and a group's
    embedding is the sum of its tracks'. Two tracks that were in the picture at the same time are never
    joined. Memory and time grow with the square of the tracks: a hundred megabytes for 5,000.

    Args:
        embeddings: track to the sum of its faces' unit vectors, [D]; longer for a track that was seen more.
        spans: track to the seconds when it was first and last seen.
        threshold: least cosine, -1..1.
    """
    tracks = sorted(embeddings, key=lambda track: (spans[track][0], track))
    if not tracks:
        return {}
    sums = np.stack([np.asarray(embeddings[track], dtype=np.float64) for track in tracks])
    first, last = np.array([spans[track] for track in tracks], dtype=np.float64).T
    apart = (first[:, None] <= last[None, :]) & (first[None, :] <= last[:, None])
    groups = [[track] for track in tracks]
    similar = _cosines(sums, sums)
    similar[apart] = -np.inf
    # The nearest of each is kept, so that a film with thousands of tracks is not searched whole each time.
    near = similar.argmax(1)
    every = np.arange(len(tracks))
    while len(tracks) > 1:
        one = int(similar[every, near].argmax())
        a, b = sorted((one, int(near[one])))
        if not similar[a, b] >= threshold:
            break
        groups[a] += groups[b]
        groups[b] = []
        sums[a] += sums[b]
        apart[a] |= apart[b]
        apart[:, a] = apart[a]
        row = _cosines(sums[a : a + 1], sums)[0]
        row[apart[a]] = -np.inf
        row[[not group for group in groups]] = -np.inf
        similar[a], similar[:, a] = row, row
        similar[b], similar[:, b] = -np.inf, -np.inf
        stale = np.flatnonzero((near == a) | (near == b) | (every == a) | (every == b))
        near[stale] = similar[stale].argmax(1)
        near[row > similar[every, near]] = a
    people = [group for group in groups if group]
    return {track: number for number, group in enumerate(people, 1) for track in group}


def unit_rows(vectors: NDArray[np.floating]) -> NDArray[np.float64]:
    """Vectors [N,D] at length 1, float64; a vector of zeros stays as it is."""
    rows = np.asarray(vectors, dtype=np.float64)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(length > 0, length, 1.0)


def _cosines(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float32]:
    cosines: NDArray[np.float32] = unit_rows(a).astype(np.float32) @ unit_rows(b).astype(np.float32).T
    return cosines
