import json

import numpy as np
import pytest

from mien.card import CropTemplate
from mien.data.synthetic import draw_faces
from mien.errors import InputError
from mien.evaluate.corruptions import CORRUPTIONS, corrupt
from mien.evaluate.face_corruptions import corrupt_face
from mien.evaluate.metrics import score
from mien.evaluate.robustness import PART, robustness
from mien.labels import EMOTIONS

NAMES = ("dark", "light", "grey")


def _faces(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Textured pictures whose mean says their class."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, count)
    texture = random.integers(-40, 40, size=(count, 48, 48, 1))
    mean = np.array([60, 190, 125])[labels] + random.integers(-45, 45, count)
    return (mean[:, None, None, None] + texture).clip(0, 255).astype(np.uint8), labels


def _by_brightness(faces: np.ndarray) -> np.ndarray:
    mean = faces.mean((1, 2, 3), dtype=np.float32)[:, None]
    return -np.abs(mean - np.array([60, 190, 125], np.float32)) / 20


def test_figures_are_those_of_scoring_corrupted_faces() -> None:
    faces, labels = _faces(PART + 30)
    table = robustness(_by_brightness, faces, labels, NAMES, corruptions=["brightness", "left_half"])
    clean = score(_by_brightness(faces), labels, NAMES)
    assert table.count == PART + 30
    assert table.clean_accuracy == clean["accuracy"]
    assert 0.6 < table.clean_accuracy < 0.99
    assert table.clean_macro_recall == clean["macro_recall"]
    assert [(row.corruption, row.severity) for row in table.rows] == [
        *(("brightness", severity) for severity in (1, 2, 3, 4, 5)), ("left_half", None),
    ]  # fmt: skip
    for row in table.rows:
        changed = (
            corrupt_face(faces, "left_half")
            if row.severity is None
            else corrupt(faces, "brightness", row.severity)
        )
        figures = score(_by_brightness(changed), labels, NAMES)
        assert row.accuracy == figures["accuracy"]
        assert row.macro_recall == pytest.approx(figures["macro_recall"])
        assert row.drop == pytest.approx(clean["accuracy"] - figures["accuracy"])
        assert row.relative_accuracy == pytest.approx(figures["accuracy"] / clean["accuracy"])
        assert row.drop_low <= row.drop <= row.drop_high
    assert table.rows[4].accuracy < table.rows[2].accuracy < table.clean_accuracy


def test_the_interval_is_paired() -> None:
    faces, labels = _faces(400, seed=1)
    weak = robustness(_by_brightness, faces, labels, NAMES, corruptions=["brightness"], severities=[1])
    (row,) = weak.rows
    before = _by_brightness(faces).argmax(1) == labels
    after = _by_brightness(corrupt(faces, "brightness", 1)).argmax(1) == labels
    change = before.astype(float) - after
    assert change.any()
    half = 1.96 * change.std() / len(change) ** 0.5
    assert (row.drop_high - row.drop_low) / 2 == pytest.approx(half, rel=0.1)
    # Of a corruption that changes no answer nothing is in doubt.
    (row,) = robustness(
        lambda part: np.eye(3, dtype=np.float32)[np.zeros(len(part), int)], faces, labels, NAMES,
        corruptions=["fog"], severities=[5],
    ).rows  # fmt: skip
    assert (row.drop_low, row.drop, row.drop_high) == (0, 0, 0)


def test_means_are_over_severities_first_and_leave_face_specific_ones_apart() -> None:
    faces, labels = _faces(120, seed=2)
    table = robustness(
        _by_brightness, faces, labels, NAMES,
        corruptions=["brightness", "contrast", "mouth_mask"], severities=(1, 5),
    )  # fmt: skip
    accuracy = {(row.corruption, row.severity): row.accuracy for row in table.rows}
    bright, flat = (
        np.mean([accuracy[name, severity] for severity in (1, 5)]) / table.clean_accuracy
        for name in ("brightness", "contrast")
    )
    assert table.relative_accuracies()["brightness"] == pytest.approx(bright)
    assert table.mean_relative_accuracy() == pytest.approx((bright + flat) / 2)
    assert table.mean_relative_accuracy("digital") == pytest.approx(flat)
    assert table.mean_relative_accuracy("noise") is None
    told = json.loads(json.dumps(table.to_dict(), allow_nan=False))
    assert told["mean_relative_accuracy_by_family"]["face"] == pytest.approx(
        accuracy["mouth_mask", None] / table.clean_accuracy
    )
    assert told["rows"][0]["corruption"] == "brightness"
    assert told["count"] == 120


def test_a_view_leaves_images_out_and_masks_logits() -> None:
    faces = draw_faces(60, size=48, seed=3)
    projection = np.random.default_rng(0).normal(size=(48 * 48, 8)).astype(np.float32)
    contempt = EMOTIONS.index("contempt")
    seen = []

    def classify(part: np.ndarray) -> np.ndarray:
        seen.append(len(part))
        logits = part.reshape(len(part), -1) @ projection
        logits[:, contempt] = 1e6
        return logits

    table = robustness(classify, faces.images, faces.labels, EMOTIONS, view="7", corruptions=["contrast"])
    assert table.count == np.sum(faces.labels != contempt)
    assert "contempt" not in table.labels
    assert seen == [60, *[table.count] * 5]
    in_view = faces.labels != contempt
    kept, labels = faces.images[in_view], faces.labels[in_view]
    for row in table.rows:
        logits = classify(corrupt(kept, "contrast", row.severity))
        figures = score(logits, labels, EMOTIONS, view="7")
        assert row.accuracy == pytest.approx(figures["accuracy"])


def test_it_is_deterministic_and_says_how_far_it_is() -> None:
    faces, labels = _faces(PART + 5, seed=4)
    told: list[tuple[int, int, str]] = []
    arguments = {"corruptions": ["gaussian_noise", "sunglasses"], "severities": (2, 4), "seed": 3}
    first = robustness(
        _by_brightness, faces, labels, NAMES, **arguments, progress=lambda *step: told.append(step)
    )
    assert first == robustness(_by_brightness, faces, labels, NAMES, **arguments)
    count = len(faces)
    assert told == [
        (count, 3 * count, "gaussian_noise 2"), (2 * count, 3 * count, "gaussian_noise 4"),
        (3 * count, 3 * count, "sunglasses"),
    ]  # fmt: skip


def test_parts_have_draws_of_their_own() -> None:
    faces = np.full((PART + 1, 48, 48, 1), 128, np.uint8)
    parts: list[np.ndarray] = []

    def classify(part: np.ndarray) -> np.ndarray:
        parts.append(part.copy())
        return np.zeros((len(part), 3), np.float32)

    robustness(
        classify, faces, np.zeros(len(faces), int), NAMES, corruptions=["gaussian_noise"], severities=[1]
    )
    assert [len(part) for part in parts] == [PART, 1, PART, 1]
    assert not np.array_equal(parts[2][0], parts[3][0])


def test_template_and_landmarks_place_the_objects() -> None:
    faces = np.full((2, 48, 48, 1), 255, np.uint8)
    template = CropTemplate(left_eye=(0.2, 0.8), right_eye=(0.5, 0.8), detected=1, spread=0, count=1)
    landmarks = np.tile(np.array([[30, 10], [42, 10], [36, 18], [31, 24], [41, 24]], float), (2, 1, 1))
    shown: list[np.ndarray] = []

    def classify(part: np.ndarray) -> np.ndarray:
        shown.append(part)
        return np.zeros((len(part), 3), np.float32)

    for places in ({"template": template}, {"landmarks": landmarks}):
        robustness(classify, faces, np.zeros(2, int), NAMES, corruptions=["sunglasses"], **places)
        assert np.array_equal(shown[-1], corrupt_face(faces, "sunglasses", **places))


def test_all_corruptions_that_apply_are_taken() -> None:
    faces, labels = _faces(6)
    table = robustness(_by_brightness, faces, labels, NAMES, severities=(1,))
    names = [row.corruption for row in table.rows]
    assert names[: len(CORRUPTIONS)] == list(CORRUPTIONS)
    assert "grey" not in names
    assert "low_resolution_12" in names


def test_what_cannot_be_measured_is_refused() -> None:
    faces, labels = _faces(6)
    for changes, message in (
        ({"corruptions": ["snow"]}, "corruption 'snow' is not one of"),
        ({"corruptions": ["grey"]}, "grey does not change faces"),
        ({"severities": [6]}, "severity must be 1, 2, 3, 4 or 5, not 6"),
        ({"labels": labels[:2]}, "2 labels do not fit 6 faces"),
        ({"view": "7"}, "label view '7' wants"),
        ({"classify": lambda part: np.full((len(part), 3), np.nan)}, "not finite"),
    ):
        arguments = {"classify": _by_brightness, "faces": faces, "labels": labels, "names": NAMES} | changes
        with pytest.raises(InputError, match=message):
            robustness(**arguments)
