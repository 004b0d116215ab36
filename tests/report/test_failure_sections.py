"""Where a model fails: one that cannot read dark faces, and faces whose answers are known."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from scipy.special import softmax
from tests.planted import CLASSES, blot, prepared_of

from mien.evaluate.calibration import fit_temperature
from mien.evaluate.metrics import score
from mien.evaluate.split import SplitPredictions, write_evaluation
from mien.report.document import Gallery, Picture, Section, Table, Text
from mien.report.face_sections import FACES
from mien.report.failure_figures import FACE_SIDE, MOST_DRAWN, face_png, gap_drawing
from mien.report.failure_sections import failure_sections
from mien.report.report_data import ReportData
from mien.report.runs import read_runs
from mien.report.tables import Column, columns_of

from .conftest import MakeRun, run_config

COUNTS = {"train": 2, "validation": 40, "test": 80}
DARK = 20
"""The first test pictures, which are darker than any other."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ReportData:
    first = COUNTS["train"] + COUNTS["validation"]
    dark = {f"test-{i}": blot(first + i) // 4 for i in range(DARK)}
    prepared = prepared_of(tmp_path_factory.mktemp("dark") / "raw", copied=dark, counts=COUNTS)
    return ReportData(prepared, prepared.manifest.target().only("test"), prepared.manifest.hash())


def numbers_of(data: ReportData) -> list[int]:
    """Which test picture each row is: 3 for test-3.png."""
    files = dict(
        zip(data.prepared.manifest.frame["id"], data.prepared.manifest.frame["source_file"], strict=True)
    )
    return [int(Path(files[name]).stem.split("-")[1]) for name in data.targets.ids]


def blind_in_the_dark(data: ReportData) -> npt.NDArray[np.float32]:
    """Logits that are wrong on the dark pictures alone, the surer the smaller a picture's number."""
    numbers, labels = np.array(numbers_of(data)), data.targets.labels
    answers = np.where(numbers < DARK, 1 - labels, labels)
    logits = np.zeros((len(labels), 2), dtype=np.float32)
    logits[np.arange(len(labels)), answers] = 4 - numbers / 32
    return logits


def write_run(
    make_run: MakeRun,
    data: ReportData,
    name: str,
    logits: npt.NDArray[np.float32],
    *,
    order: npt.NDArray[np.int64] | None = None,
    validation: float | None = None,
    **config: Any,
) -> Path:
    """A run with these logits of the test split, in an order of its own, and an accuracy on validation."""
    folder = make_run(
        name, run_config(**config), [True] * 4, classes=CLASSES, manifest_hash=data.manifest_hash
    )
    order = np.arange(len(data.targets)) if order is None else order
    targets = data.targets
    parts = {"test": (targets.labels[order], logits[order], targets.pack_rows[order])}
    if validation is not None:
        labels = np.arange(40, dtype=np.int64) % 2
        wrong = np.arange(40) >= 40 * validation
        held = np.zeros((40, 2), dtype=np.float32)
        held[np.arange(40), np.where(wrong, 1 - labels, labels)] = 3.0
        parts["validation"] = (labels, held, np.arange(40, dtype=np.int64))
    for split, (labels, answers, rows) in parts.items():
        scored = {"split": split, "rule": "label", **score(answers, labels, CLASSES)}
        votes = np.eye(2, dtype=np.float32)[labels]
        write_evaluation(folder, SplitPredictions(split, labels, votes, answers, rows), [scored])
    return folder


def columns_from(*folders: Path) -> tuple[Column, ...]:
    return columns_of(read_runs(folders))


def tables_of(section: Section) -> list[Table]:
    return [block for block in section.blocks if isinstance(block, Table)]


def galleries_of(section: Section) -> list[Gallery]:
    return [block for block in section.blocks if isinstance(block, Gallery)]


def pictures_of(gallery: Gallery) -> list[Picture]:
    return [picture for picture in gallery.drawings if isinstance(picture, Picture)]


def test_a_model_that_fails_in_the_dark_is_told_so(make_run: MakeRun, data: ReportData) -> None:
    slices, faces = failure_sections(
        columns_from(write_run(make_run, data, "a", blind_in_the_dark(data))), data
    )
    assert (slices.heading, faces.heading) == ("Where it fails", "Faces to look at")
    (table,) = tables_of(slices)
    assert table.rows[0][0].startswith("brightness: below")
    assert table.rows[0][1:3] == ("20", "0.0 %")
    assert table.rows[0][5] == "−100.00"
    assert table.rows[0][7] == "worse"
    gaps = [float(row[5].replace("−", "-")) for row in table.rows]
    assert gaps == sorted(gaps)
    assert isinstance(slices.blocks[0], Text)
    assert "75.0 % of 80 test images. It is worse on brightness: below" in slices.blocks[0].text


def test_the_drawing_has_its_numbers(make_run: MakeRun, data: ReportData) -> None:
    (section, _) = failure_sections(
        columns_from(write_run(make_run, data, "a", blind_in_the_dark(data))), data
    )
    (drawing,) = galleries_of(section)[0].drawings
    told = getattr(drawing, "data", None)
    assert isinstance(told, Table)
    assert section.values is not None
    entries = {f"{one['column']}: {one['value']}": one for one in section.values["a"]["slices"]}
    assert {row[0] for row in told.rows} == set(entries)
    for row in told.rows:
        assert float(row[2]) == pytest.approx(entries[row[0]]["gap"], rel=1e-3, abs=1e-9)


def test_of_many_slices_the_clearest_are_drawn() -> None:
    base = {"column": "c", "count": 30, "gap_low": -0.2, "gap_high": 0.2, "verdict": "no difference"}
    tested = [
        {**base, "value": f"v{i}", "gap": i / 100, "p_value": i / 100, "p_adjusted": 1.0} for i in range(30)
    ]
    rare = {
        **base,
        "value": "rare",
        "gap": -1.0,
        "p_value": None,
        "p_adjusted": None,
        "verdict": "not tested",
    }
    drawing = gap_drawing("m", [rare, *tested], key="k")
    assert drawing.data is not None
    assert [row[0] for row in drawing.data.rows] == [f"c: v{i}" for i in range(MOST_DRAWN)]


def test_the_surest_errors_come_first_with_their_face(make_run: MakeRun, data: ReportData) -> None:
    logits, numbers = blind_in_the_dark(data), np.array(numbers_of(data))
    skipped = 5
    shuffled = np.random.default_rng(0).permutation(np.flatnonzero(numbers >= skipped))
    run = write_run(make_run, data, "a", logits, order=shuffled)
    errors, doubtful, uncertain = galleries_of(failure_sections(columns_from(run), data)[-1])
    place = int(np.flatnonzero(numbers == skipped)[0])
    label, answer = CLASSES[data.targets.labels[place]], CLASSES[1 - data.targets.labels[place]]
    sure = 100 * float(softmax(logits[place].astype(np.float16).astype(float)).max())
    first = pictures_of(errors)[0]
    assert first.caption == f"labelled {label}, answered {answer} {sure:.0f} %"
    assert data.targets.ids[place] in first.alt
    shown = np.asarray(Image.open(io.BytesIO(first.png)))
    np.testing.assert_array_equal(shown, data.prepared.pack[data.targets.pack_rows[place], 0])
    assert [len(one.drawings) for one in (errors, doubtful, uncertain)] == [DARK - skipped, FACES, FACES]
    last = int(np.flatnonzero(numbers == COUNTS["test"] - 1)[0])
    assert data.targets.ids[last] in pictures_of(uncertain)[0].alt
    assert pictures_of(doubtful)[0] == first


def test_confidences_are_at_the_temperature_of_validation(make_run: MakeRun, data: ReportData) -> None:
    run = write_run(make_run, data, "a", blind_in_the_dark(data), validation=0.6)
    section = failure_sections(columns_from(run), data)[-1]
    (read,) = read_runs([run])
    assert read.validation is not None
    temperature = fit_temperature(
        read.validation["logits"].astype(np.float32), read.validation["labels"].astype(np.int64)
    ).value
    assert section.values is not None
    assert section.values["temperature"] == pytest.approx(temperature)
    first = section.values["Most confident errors"][0]
    assert first["confidence"] == pytest.approx(softmax([4 / temperature, 0])[0])
    assert first["label_probability"] == pytest.approx(1 - first["confidence"])


def test_votes_decide_which_labels_are_doubtful(make_run: MakeRun, data: ReportData) -> None:
    soft = np.eye(2, dtype=np.float32)[data.targets.labels]
    place = numbers_of(data).index(50)
    soft[place] = (0.625, 0.375)
    voted = replace(data, targets=replace(data.targets, name="own.votes", soft=soft))
    run = write_run(make_run, data, "a", blind_in_the_dark(data))
    slices, faces = failure_sections(columns_from(run), voted)
    doubtful = galleries_of(faces)[1]
    assert "votes" in doubtful.caption
    assert data.targets.ids[place] in pictures_of(doubtful)[0].alt
    assert pictures_of(doubtful)[0].caption.endswith("; votes happiness 62 %, sadness 38 %")
    assert any(row[0].startswith("agreement") for row in tables_of(slices)[0].rows)


def test_the_faces_are_of_the_model_that_validation_ranks_best(make_run: MakeRun, data: ReportData) -> None:
    better_on_test = np.eye(2, dtype=np.float32)[data.targets.labels] * 3
    better_on_test[0] = better_on_test[0, ::-1]
    folders = [
        write_run(make_run, data, "plain", better_on_test, validation=0.6),
        write_run(make_run, data, "excited", blind_in_the_dark(data), validation=0.9, se="pooled"),
    ]
    first, others, faces = failure_sections(columns_from(*folders), data)
    assert first.values is not None
    assert list(first.values) == ["excited"]
    assert others.folded
    assert others.values is not None
    assert list(others.values) == ["plain"]
    assert faces.values is not None
    assert faces.values["run"] == "excited"


def test_without_pictures_tables_name_the_faces(make_run: MakeRun, data: ReportData) -> None:
    columns = columns_from(write_run(make_run, data, "a", blind_in_the_dark(data)))
    faces = failure_sections(columns, data, pictures=False)[-1]
    assert galleries_of(faces) == []
    errors = tables_of(faces)[0]
    assert errors.rows[0][0] == data.targets.ids[numbers_of(data).index(0)]
    assert len(errors.rows) == DARK
    warned = "licence may forbid"
    assert not any(warned in block.text for block in faces.blocks if isinstance(block, Text))
    shown = failure_sections(columns, data)[-1]
    assert any(warned in block.text for block in shown.blocks if isinstance(block, Text))


def test_a_model_without_errors_has_no_gallery_of_them(make_run: MakeRun, data: ReportData) -> None:
    right = np.eye(2, dtype=np.float32)[data.targets.labels] * 3
    slices, faces = failure_sections(columns_from(write_run(make_run, data, "a", right)), data)
    assert "Most confident errors: none." in [b.text for b in faces.blocks if isinstance(b, Text)]
    assert isinstance(slices.blocks[0], Text)
    assert slices.blocks[0].text.endswith("No slice differs from the other images beyond chance.")


def test_large_colour_faces_are_reduced() -> None:
    face = np.random.default_rng(0).integers(0, 256, (3, 200, 100), dtype=np.uint8)
    shown = Image.open(io.BytesIO(face_png(face)))
    assert (shown.mode, shown.size) == ("RGB", (FACE_SIDE // 2, FACE_SIDE))


def test_without_the_data_or_answers_nothing_is_said(make_run: MakeRun, data: ReportData) -> None:
    run = write_run(make_run, data, "a", blind_in_the_dark(data))
    assert failure_sections(columns_from(run), None) == ()
    (run / "evaluation" / "test.safetensors").unlink()
    assert failure_sections(columns_from(run), data) == ()
