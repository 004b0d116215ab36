"""Tracks become people by their embeddings, and never two that were seen together."""

import numpy as np
import pytest

from mien.runtime.people import join_tracks, unit_rows


def vectors(people, tracks_each, noise, seed=0, size=64):
    random = np.random.default_rng(seed)
    centres = unit_rows(random.normal(size=(people, size)))
    rows = np.repeat(centres, tracks_each, axis=0)
    return unit_rows(rows + noise * random.normal(size=rows.shape) / np.sqrt(size))


def test_tracks_of_one_person_are_joined():
    rows = vectors(5, 4, 0.5)
    order = np.random.default_rng(1).permutation(20)
    embeddings = {int(track) + 1: 10 * rows[track] for track in order}
    spans = {track: (float(track), track + 0.5) for track in embeddings}
    people = join_tracks(embeddings, spans)
    groups = {tuple(sorted(t for t in people if people[t] == p)) for p in people.values()}
    assert groups == {tuple(range(4 * p + 1, 4 * p + 5)) for p in range(5)}
    assert [people[track] for track in (1, 5, 9, 13, 17)] == [1, 2, 3, 4, 5]


def test_tracks_seen_together_stay_apart_however_alike():
    row = vectors(1, 1, 0)[0]
    spans = {1: (0.0, 5.0), 2: (5.0, 9.0), 3: (6.0, 7.0), 4: (10.0, 11.0)}
    people = join_tracks(dict.fromkeys(spans, row), spans)
    assert people[1] != people[2] != people[3]
    for a in spans:
        for b in spans:
            together = a != b and spans[a][0] <= spans[b][1] and spans[b][0] <= spans[a][1]
            assert not (together and people[a] == people[b])
    assert people[4] in {people[1], people[2], people[3]}


@pytest.mark.parametrize(("threshold", "count"), [(0.75, 2), (0.85, 3)])
def test_the_threshold_is_a_cosine(threshold, count):
    angles = np.arccos([1.0, 0.8])
    rows = [np.array([np.cos(a), np.sin(a), 0.0]) for a in angles] + [np.array([0.0, 0, 1])]
    embeddings = dict(enumerate(rows, 1))
    spans = {track: (float(track), track + 0.5) for track in embeddings}
    assert len(set(join_tracks(embeddings, spans, threshold=threshold).values())) == count


def test_a_long_track_weighs_more():
    """What a third track is compared with is the sum of the first two, which points to the longer one."""
    spans = {1: (0.0, 1.0), 2: (2.0, 3.0), 3: (4.0, 5.0)}
    first, second, third = (np.array([np.cos(a), np.sin(a)]) for a in (0.0, 0.6, 1.3))
    for weight, joined in ((1.0, False), (20.0, True)):
        people = join_tracks({1: first, 2: weight * second, 3: third}, spans, threshold=np.cos(0.8))
        assert people[1] == people[2]
        assert (people[3] == people[1]) is joined


def slowly(embeddings, spans, threshold):
    """The same by looking at every pair of groups each time."""
    groups = [[track] for track in embeddings]

    def cosine(one, other):
        if any(spans[a][0] <= spans[b][1] and spans[b][0] <= spans[a][1] for a in one for b in other):
            return -1
        a, b = (sum(embeddings[track] for track in group) for group in (one, other))
        return a @ b / np.linalg.norm(a) / np.linalg.norm(b)

    while True:
        pairs = [(cosine(groups[i], groups[j]), i, j) for i in range(len(groups)) for j in range(i)]
        best, i, j = max(pairs, default=(-1, 0, 0))
        if best < threshold:
            return {frozenset(group) for group in groups}
        groups[j] += groups.pop(i)


@pytest.mark.parametrize("seed", range(4))
def test_groups_are_those_of_a_plain_search(seed):
    random = np.random.default_rng(seed)
    rows = vectors(4, 7, 1.2, seed=seed)
    embeddings = {track: rows[track] * random.uniform(1, 9) for track in range(28)}
    starts = random.uniform(0, 60, 28)
    spans = {track: (starts[track], starts[track] + random.uniform(0, 4)) for track in range(28)}
    people = join_tracks(embeddings, spans, threshold=0.45)
    groups = {frozenset(t for t in people if people[t] == p) for p in people.values()}
    assert groups == slowly(embeddings, spans, 0.45)
    assert 4 <= len(groups) < 28


def test_nobody():
    assert join_tracks({}, {}) == {}
    assert join_tracks({7: np.ones(3)}, {7: (0.0, 1.0)}) == {7: 1}
