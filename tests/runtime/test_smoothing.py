"""The moving mean against one written out by hand."""

import numpy as np
import pytest

from mien.runtime.sighting import SeenFrame, Sighting
from mien.runtime.smoothing import smooth


def frames_of(times, seen, seed=0):
    """`seen` [T, tracks] says which track is in which frame."""
    random = np.random.default_rng(seed)
    shares = random.dirichlet(np.ones(8), size=seen.shape)
    made = []
    for i, time in enumerate(times):
        faces = [
            Sighting(k + 1, (0.0, 0.0, 1.0, 1.0), 0.9, tuple(shares[i, k])) for k in np.flatnonzero(seen[i])
        ]
        made.append(SeenFrame(i, float(time), tuple(faces)))
    return made, shares


@pytest.mark.parametrize("window", [0.0, 0.2, 1.0, 30.0])
def test_means_are_those_of_numpy(window):
    random = np.random.default_rng(3)
    times = np.cumsum(random.uniform(0.02, 0.09, 120)).round(6)
    seen = random.random((120, 3)) < 0.7
    frames, shares = frames_of(times, seen)
    got = list(smooth(iter(frames), window))
    assert [frame for frame, _ in got] == frames
    for i, (frame, means) in enumerate(got):
        assert len(means) == len(frame.faces)
        for face, mean in zip(frame.faces, means, strict=True):
            k = face.track - 1
            near = (np.abs(times - times[i]) <= window / 2 + 1e-6) & seen[:, k]
            np.testing.assert_allclose(mean, shares[near, k].mean(0), atol=1e-12)
            assert mean.sum() == pytest.approx(1)


def test_only_a_window_of_frames_is_waited_for():
    times = np.arange(100) / 10
    frames, _ = frames_of(times, np.ones((100, 1), bool))
    taken = 0

    def counted():
        nonlocal taken
        for frame in frames:
            taken += 1
            yield frame

    for given, _ in enumerate(smooth(counted(), 1.0), 1):
        assert taken - given <= 6


def test_no_frames():
    assert list(smooth([], 1.0)) == []
