"""Tracks through crossings, gaps and absences."""

import json

import numpy as np
import pytest

from mien.faces.detector import Detections
from mien.runtime.tracking import GAP, Tracker

SIDE = 40.0


def found(*centres, side=SIDE):
    boxes = np.array([[x - side / 2, y - side / 2, x + side / 2, y + side / 2] for x, y in centres])
    count = len(centres)
    return Detections(
        boxes.reshape(-1, 4).astype(np.float32),
        np.ones(count, np.float32),
        np.zeros((count, 5, 2), np.float32),
    )


def run(tracker, steps, every=0.15):
    return [tracker.update(found(*centres), round(i * every, 6)) for i, centres in enumerate(steps)]


def test_two_faces_that_cross_keep_their_numbers():
    left_to_right = [(20.0 * i, 100.0) for i in range(20)]
    right_to_left = [(380.0 - 20 * i, 104.0) for i in range(20)]
    steps = [
        [a, b] if i % 2 else [b, a] for i, (a, b) in enumerate(zip(left_to_right, right_to_left, strict=True))
    ]
    numbers = run(Tracker(), steps)
    first = [pair[0] if i % 2 else pair[1] for i, pair in enumerate(numbers)]
    assert len(set(first)) == 1
    assert {number for pair in numbers for number in pair} == {1, 2}


def test_a_face_hidden_while_another_passes_is_found_again():
    steps = []
    for i in range(20):
        front, back = (20.0 * i, 100.0), (380.0 - 20 * i, 100.0)
        hidden = abs(front[0] - back[0]) < SIDE
        steps.append([front] if hidden else [front, back])
    assert any(len(step) == 1 for step in steps)
    numbers = run(Tracker(), steps)
    assert {pair[0] for pair in numbers} == {1}
    assert {pair[1] for pair in numbers if len(pair) == 2} == {2}


@pytest.mark.parametrize(("away", "number"), [(GAP - 0.2, 1), (GAP + 0.2, 2)])
def test_a_track_ends_after_the_gap(away, number):
    tracker = Tracker()
    assert tracker.update(found((50, 50)), 0.0) == [1]
    assert tracker.update(found(), 0.1) == []
    assert tracker.update(found((50, 50)), away) == [number]


def test_a_face_that_turns_round_stays_one():
    xs = [*range(0, 200, 20), *range(200, 0, -20)]
    assert set(map(tuple, run(Tracker(), [[(float(x), 50.0)] for x in xs]))) == {(1,)}


def test_far_or_other_sized_faces_are_others():
    tracker = Tracker()
    tracker.update(found((50, 50)), 0.0)
    assert tracker.update(found((250, 50)), 0.1) == [2]
    assert tracker.update(found((50, 50), side=3 * SIDE), 0.2) == [3]


def test_a_tracker_goes_on_from_its_state():
    steps = [[(15.0 * i, 60.0), (300.0 - 15 * i, 70.0)] for i in range(16)]
    whole = Tracker()
    expected = run(whole, steps)
    first = Tracker()
    run(first, steps[:9])
    second = Tracker()
    second.go_on(json.loads(json.dumps(first.to_dict())))
    rest = [second.update(found(*steps[i]), round(i * 0.15, 6)) for i in range(9, 16)]
    assert rest == expected[9:]
    assert second.to_dict() == whole.to_dict()


def test_a_face_found_twice_is_one():
    tracker = Tracker()
    assert tracker.update(found((100, 100), (110, 102), (160, 100)), 0.0) == [1, None, 2]
    assert tracker.update(found((112, 100), (100, 100), (160, 100)), 0.15) == [None, 1, 2]
    assert [track.number for track in tracker.tracks] == [1, 2]


def test_a_still_face_stays_one_when_frames_are_far_apart():
    tracker = Tracker()
    assert [tracker.update(found((50, 50)), 10.0 * i) for i in range(3)] == [[1]] * 3
    assert tracker.update(found(), 40.0) == []
    assert tracker.update(found((50, 50)), 50.0) == [2]


@pytest.mark.parametrize(("shift", "number"), [(19, None), (21, 2)])
def test_twice_is_by_the_share_of_the_smaller_box(shift, number):
    """Boxes of 40 that are `shift` apart share (40 - shift) / 40."""
    assert Tracker().update(found((100, 100), (100 + shift, 100)), 0.0) == [1, number]
