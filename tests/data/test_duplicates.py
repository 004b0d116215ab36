"""Twins planted among drawn patterns are found, nothing else is, and crowds do not go quadratic."""

from __future__ import annotations

import io
from itertools import combinations

import numpy as np
import pytest
from PIL import Image
from threadpoolctl import threadpool_limits

from mien.config import AuditConfig
from mien.data import duplicates, perceptual_hash
from mien.data.duplicates import TwinPairs, correlate, find_twins, twin_groups
from mien.data.perceptual_hash import UNIT, describe, grey48, mirrored
from mien.errors import InputError

PLAIN = AuditConfig(shift=0, mirror=False)


def patterns(count, seed=0, side=48):
    """Smooth random pictures with some grain, uint8 [count, side, side]."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(20, 235, (count, 7, 7)).astype(np.uint8)
    fine = [np.asarray(Image.fromarray(c).resize((side, side), Image.Resampling.BICUBIC)) for c in coarse]
    return np.clip(np.stack(fine) + rng.normal(0, 4, (count, side, side)), 0, 255).astype(np.uint8)


def search(faces, config=None, hashes=None):
    return find_twins(faces[:, None], hashes, config or AuditConfig())


def as_set(pairs):
    return set(zip(pairs.a.tolist(), pairs.b.tolist(), strict=True))


def rows(pairs):
    """Everything that is known of each pair, comparable."""
    return [pairs.a, pairs.b, pairs.exact, pairs.correlation, pairs.mirrored, pairs.shift]


def moved(face, x, y):
    """The face moved to the right and down, its edges drawn out."""
    return np.roll(np.pad(face, 4, mode="edge"), (y, x), axis=(0, 1))[4:-4, 4:-4]


def jpeg(face, quality=75):
    file = io.BytesIO()
    Image.fromarray(face).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def noisy(face, correlation, rng):
    """The face with as much noise as leaves it about this correlation."""
    sigma = face.std() * np.sqrt(1 / correlation**2 - 1)
    return np.clip(face + rng.normal(0, sigma, face.shape), 0, 255).round().astype(np.uint8)


COPIES = {
    "mirrored": (lambda f: f[:, ::-1], True, (0, 0)),
    "right": (lambda f: moved(f, 2, 0), False, (2, 0)),
    "up": (lambda f: moved(f, 0, -2), False, (0, -2)),
    "left and down": (lambda f: moved(f, -1, 2), False, (-1, 2)),
    "brightened": (lambda f: (f * 0.8 + 40).astype(np.uint8), False, (0, 0)),
    "recompressed": (jpeg, False, (0, 0)),
    "mirrored, then moved": (lambda f: moved(f[:, ::-1], 2, 1), True, (-2, 1)),
    "all at once": (lambda f: jpeg((moved(f[:, ::-1], -1, 0) * 0.8 + 40).astype(np.uint8)), True, (1, 0)),
}


@pytest.mark.parametrize("kind", COPIES)
@pytest.mark.parametrize("copies_first", [False, True])
def test_planted_copies_are_found_with_their_transform(kind, copies_first):
    copy, is_mirrored, shift = COPIES[kind]
    faces = patterns(120)
    sources = np.arange(0, 120, 3)
    copies = np.stack([copy(faces[i]) for i in sources])
    if copies_first:
        pairs = search(np.concatenate([copies, faces]))
        wanted = {(i, 40 + int(source)) for i, source in enumerate(sources)}
        # Of two mirror images moved apart, each is moved alike against the other; otherwise oppositely.
        shift = shift if is_mirrored else (-shift[0], -shift[1])
        shift = (shift[0], -shift[1]) if is_mirrored else shift
    else:
        pairs = search(np.concatenate([faces, copies]))
        wanted = {(int(source), 120 + i) for i, source in enumerate(sources)}
    assert as_set(pairs) == wanted
    assert (pairs.mirrored == is_mirrored).all()
    np.testing.assert_array_equal(pairs.shift, np.tile(shift, (40, 1)))
    assert (pairs.correlation > 0.98).all()
    assert not pairs.exact.any()


def test_plain_twins_are_exactly_those_of_the_correlation_matrix():
    rng = np.random.default_rng(1)
    faces = patterns(150)
    levels = rng.uniform(0.96, 0.999, 100)
    faces = np.concatenate([faces, [noisy(faces[i % 150], c, rng) for i, c in enumerate(levels)]])
    matrix = np.corrcoef(faces.reshape(len(faces), -1).astype(np.float64))
    pairs = search(faces, PLAIN)
    wanted = {(a, b) for a, b in combinations(range(len(faces)), 2) if matrix[a, b] > 0.98}
    assert 20 < len(wanted) < 100
    assert as_set(pairs) == wanted
    np.testing.assert_allclose(pairs.correlation, matrix[pairs.a, pairs.b], atol=1e-6)


@pytest.mark.parametrize("difference", ["grain", "smooth"])
def test_twins_at_the_threshold_are_found_among_many(difference):
    rng = np.random.default_rng(2)
    faces = patterns(2000)
    if difference == "grain":
        copies = np.stack([noisy(face, 0.983, rng) for face in faces[:500]])
    else:
        # What differs is in the hash itself; grain is not.
        copies = np.clip(faces[:500] + (patterns(500, 9) - 128.0) * 0.18, 0, 255).astype(np.uint8)
    matched = correlate(faces[:500].astype(np.int32), copies.astype(np.int32), (False, 0, 0)) > 0.98
    wanted = {(i, 2000 + i) for i in np.flatnonzero(matched).tolist()}
    assert len(wanted) > 150
    found = as_set(search(np.concatenate([faces, copies]), PLAIN))
    assert found <= wanted
    assert len(found) >= 0.95 * len(wanted)


def test_the_settings_decide_what_a_twin_is():
    rng = np.random.default_rng(3)
    face, *others = patterns(4)
    copies = [face[:, ::-1], moved(face, 2, 0), moved(face, 0, 4), noisy(face, 0.95, rng)]
    faces = np.stack([face, *copies, *others])

    def twins(**settings):
        return {int(b) for a, b in as_set(search(faces, AuditConfig(**settings))) if a == 0}

    assert twins() == {1, 2}
    assert twins(mirror=False) == {2}
    assert twins(shift=0) == {1}
    assert twins(shift=4) == {1, 2, 3}
    assert twins(shift=0, mirror=False, correlation=0.93) >= {4}
    assert twins(near=False) == set()


def test_a_pair_that_is_twins_as_it_stands_is_reported_plain():
    coarse = Image.fromarray(patterns(1)[0]).resize((5, 5))
    smooth = np.asarray(coarse.resize((49, 48), Image.Resampling.BICUBIC))
    faces = np.stack([smooth[:, 1:], smooth[:, :-1]])
    pairs = search(faces)
    plain = np.corrcoef(faces.reshape(2, -1).astype(float))[0, 1]
    assert 0.98 < plain < 0.9999
    assert correlate(*faces[:, None].astype(np.int32), (False, 1, 0)) == pytest.approx(1)
    np.testing.assert_array_equal(pairs.shift, [[0, 0]])
    np.testing.assert_allclose(pairs.correlation, plain, atol=1e-6)


def test_equal_pictures_are_a_star_around_the_first():
    faces = patterns(6)
    faces[[2, 3, 5]] = faces[0]
    faces[4] = jpeg(faces[0])
    hashes = ["same", "other", "same", "same", None, "same"]
    pairs = search(faces, hashes=hashes)
    assert as_set(pairs) == {(0, 2), (0, 3), (0, 5), (0, 4)}
    np.testing.assert_array_equal(pairs.exact, pairs.b != 4)
    assert (pairs.correlation[pairs.exact] == 1).all()
    assert as_set(search(faces, AuditConfig(near=False), hashes)) == {(0, 2), (0, 3), (0, 5)}


def test_hashes_decide_what_is_exact_and_pixels_what_is_near():
    faces = patterns(4)
    faces[2] = faces[0]
    pairs = search(faces, hashes=["a", "b", "c", "b"])
    assert as_set(pairs) == {(0, 2), (1, 3)}
    np.testing.assert_array_equal(pairs.exact, [False, True])
    np.testing.assert_array_equal(pairs.correlation, [1, 1])


def test_pictures_with_one_hash_are_exact_however_they_were_cropped():
    face = patterns(1)[0]
    pairs = search(np.stack([face, face // 2, face // 3]), hashes=["same"] * 3)
    assert as_set(pairs) == {(0, 1), (0, 2)}
    assert pairs.exact.all()
    np.testing.assert_array_equal(pairs.correlation, [1, 1])


def test_flat_pictures_are_twins_only_when_they_are_equal():
    rng = np.random.default_rng(4)
    ramp = np.linspace(100, 110, 48).round()[None] + np.zeros((48, 1))
    flat = np.stack([ramp, ramp + 30, ramp[:, ::-1], np.zeros((48, 48)), np.full((48, 48), 200)])
    framed = np.full((48, 48), 128)
    framed[:2] = 255
    frames = [framed, np.clip(framed + rng.normal(0, 1, (48, 48)), 0, 255)]
    faces = np.concatenate([flat, frames, patterns(5)])
    faces[-1] = faces[0]
    hashes = [None] * len(faces)
    hashes[1] = hashes[3] = "equal"
    pairs = search(faces.astype(np.uint8), hashes=hashes)
    assert as_set(pairs) == {(1, 3)}


def test_a_crowd_of_near_twins_is_linked_without_comparing_each_with_each():
    rng = np.random.default_rng(5)
    faces = patterns(50)
    crowd = np.clip(faces[7] + rng.normal(0, 1, (600, 48, 48)), 0, 255).round().astype(np.uint8)
    pairs = search(np.concatenate([faces, crowd]), PLAIN)
    groups = twin_groups(650, pairs.a, pairs.b)
    assert (groups[50:] == 7).all()
    assert len(pairs.a) < 600 * 599 / 4


@pytest.mark.parametrize("count", [2, 10, 200])
def test_copies_of_one_picture_and_nothing_else_are_linked(count):
    rng = np.random.default_rng(8)
    faces = np.stack([noisy(patterns(1)[0], 0.995, rng) for _ in range(count)])
    pairs = search(faces, PLAIN)
    assert (twin_groups(count, pairs.a, pairs.b) == 0).all()
    assert len(pairs.a) >= 0.4 * min(count, 16) * (count - 1)


def test_slices_threads_and_a_memory_map_change_nothing(monkeypatch, tmp_path):
    faces = patterns(300)
    faces[200:] = np.stack([list(COPIES.values())[i % 8][0](face) for i, face in enumerate(faces[:100])])
    expected = search(faces)
    assert len(expected.a) >= 100
    np.save(tmp_path / "pack.npy", faces[:, None])
    monkeypatch.setattr(duplicates, "_SLICE", 37)
    monkeypatch.setattr(duplicates, "_BYTES", 10_000)
    monkeypatch.setattr(perceptual_hash, "_GATHERED", 50)
    with threadpool_limits(2):
        again = find_twins(np.load(tmp_path / "pack.npy", mmap_mode="r"), None, AuditConfig())
    for one, other in zip(rows(expected), rows(again), strict=True):
        np.testing.assert_array_equal(one, other)


def test_colour_packs_of_another_size_are_compared_by_their_grey_areas():
    faces = patterns(30, side=112)
    tinted = np.stack([faces, faces // 2 + 60, 255 - faces], axis=1)
    tinted[20] = moved(faces[3], 4, 0)
    tinted[3] = faces[3]
    pairs = find_twins(tinted, None, AuditConfig())
    assert as_set(pairs) == {(3, 20)}
    np.testing.assert_array_equal(pairs.shift, [[2, 0]])


@pytest.mark.parametrize("side", [24, 36, 56, 96])
def test_other_sizes_are_averaged_over_areas(side):
    face = patterns(1, side=side)
    fine = face[0].repeat(48, axis=0).repeat(48, axis=1)
    wanted = fine.reshape(48, side, 48, side).mean(axis=(1, 3))
    np.testing.assert_allclose(grey48(face[:, None])[0], wanted, atol=0.5001)


@pytest.mark.parametrize("transform", [(False, 0, 0), (False, 2, -1), (True, -1, 2), (True, 0, 0)])
def test_the_correlation_is_taken_over_the_overlap(transform):
    is_mirrored, dx, dy = transform
    a, b = patterns(10, 1), patterns(10, 2)
    measured = correlate(a.astype(np.int32), b.astype(np.int32), transform)
    turned = b[:, :, ::-1] if is_mirrored else b
    for i in range(10):
        pixels = [
            (a[i, y, x], turned[i, y + dy, x + dx])
            for y in range(48)
            for x in range(48)
            if 0 <= y + dy < 48 and 0 <= x + dx < 48
        ]
        assert measured[i] == pytest.approx(np.corrcoef(np.asarray(pixels, dtype=float).T)[0, 1], abs=1e-9)


@pytest.mark.parametrize("contrast", [0, 0.05])
def test_flat_pictures_correlate_with_nothing(contrast):
    face = patterns(1)
    flat = (face * contrast).round().astype(np.int32)
    for pair in ((flat, flat), (flat, face.astype(np.int32)), (face.astype(np.int32), flat)):
        assert correlate(*pair, (False, 0, 0)) == 0


def test_descriptions_bound_the_correlation_of_their_windows():
    rng = np.random.default_rng(6)
    faces = patterns(40)
    faces = np.concatenate([faces, [noisy(face, 0.97, rng) for face in faces]])
    right, down = (-2, 0, 1), (0, 2)
    described = describe(faces, margin=2, right=right, down=down) / UNIT
    assert described.shape == (80, 2, 3, 64)
    np.testing.assert_allclose(np.linalg.norm(described, axis=-1), 1, atol=2e-3)
    for j, y in enumerate(down):
        for i, x in enumerate(right):
            windows = faces[:, 2 + y : 46 + y, 2 + x : 46 + x].reshape(80, -1).astype(float)
            bound = described[:, j, i] @ described[:, 0, 1].T
            centre = faces[:, 2:46, 2:46].reshape(80, -1).astype(float)
            correlation = np.corrcoef(windows, centre)[:80, 80:]
            assert (bound >= correlation - 2e-3).all()
            # A bound that never tells faces apart would be useless.
            assert np.median(bound) < 0.5


def test_a_mirrored_description_is_that_of_the_mirrored_picture():
    faces = patterns(5)
    np.testing.assert_array_equal(
        mirrored(describe(faces, margin=2, right=(-1, 0, 1), down=(0, 1))),
        describe(faces[:, :, ::-1], margin=2, right=(1, 0, -1), down=(0, 1)),
    )


def test_groups_are_the_connected_components():
    rng = np.random.default_rng(7)
    a, b = rng.integers(0, 400, (2, 220))
    a, b = np.minimum(a, b)[a != b], np.maximum(a, b)[a != b]
    neighbours = {i: set() for i in range(400)}
    for i, j in zip(a.tolist(), b.tolist(), strict=True):
        neighbours[i].add(j)
        neighbours[j].add(i)
    wanted = np.full(400, -1)
    for start in range(400):
        reached, waiting = {start}, [start]
        while waiting:
            new = neighbours[waiting.pop()] - reached
            reached |= new
            waiting.extend(new)
        wanted[start] = min(reached) if len(reached) > 1 else -1
    np.testing.assert_array_equal(twin_groups(400, a, b), wanted)


def test_nothing_to_compare():
    for count in (0, 1):
        pairs = search(patterns(2)[:count])
        assert isinstance(pairs, TwinPairs)
        assert len(pairs.a) == 0
        assert pairs.shift.shape == (0, 2)
        assert twin_groups(count, pairs.a, pairs.b).tolist() == [-1] * count


def test_the_arrays_have_the_stated_types():
    faces = patterns(3)
    pairs = search(np.concatenate([faces, faces]))
    dtypes = [str(values.dtype) for values in rows(pairs)]
    assert dtypes == ["int64", "int64", "bool", "float32", "bool", "int8"]


@pytest.mark.parametrize("near", [False, True])
def test_progress_counts_every_face_once(near):
    counts = []
    find_twins(patterns(700)[:, None], None, AuditConfig(near=near), progress=counts.append)
    assert sum(counts) == 700


def test_what_cannot_be_searched_is_refused():
    faces = patterns(3)
    with pytest.raises(InputError, match=r"uint8 \[3, 48, 48\] cannot be searched"):
        find_twins(faces, None, AuditConfig())
    with pytest.raises(InputError, match="float32"):
        find_twins(faces[:, None].astype(np.float32), None, AuditConfig())
    with pytest.raises(InputError, match="2 hashes for 3 faces"):
        find_twins(faces[:, None], ["a", "b"], AuditConfig())
