"""Every format holds what was read; a run that breaks leaves the old file."""

import csv
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from mien.errors import InputError
from mien.labels import SEVEN
from mien.runtime import parquet_parts
from mien.runtime.classifier import load
from mien.runtime.pipeline import PredictedFile
from mien.runtime.tables import columns, open_writers, rows_of


@pytest.fixture
def model(model_path):
    return load(model_path, detector="none")


@pytest.fixture
def results(model):
    """A bad file, an empty picture, a picture of two faces under the 7-class view."""
    crops = np.random.default_rng(0).integers(0, 256, (2, 12, 12, 3), dtype=np.uint8)
    faces = tuple(model.read(crop, view="7")[0] for crop in crops)
    return [
        PredictedFile(Path("bad, file.jpg"), error="it is broken"),
        PredictedFile(Path("nobody.jpg")),
        PredictedFile(Path("语.jpg"), faces=faces),
    ]


def write(results, model, *targets):
    with open_writers(targets, model.card) as writers:
        for result in results:
            for one in writers:
                one(result)


def test_csv_has_a_row_a_face_and_a_row_a_failure(model, results, tmp_path):
    out = tmp_path / "out" / "faces.csv"
    write(results, model, ("csv", out))
    rows = list(csv.DictReader(out.read_text(encoding="utf-8").splitlines()))
    assert list(rows[0]) == columns(model.card.labels)
    assert [row["path"] for row in rows] == ["bad, file.jpg", "nobody.jpg", "语.jpg", "语.jpg"]
    assert [row["face"] for row in rows] == ["", "", "0", "1"]
    assert [row["faces"] for row in rows] == ["", "0", "2", "2"]
    assert [bool(row["error"]) for row in rows] == [True, False, False, False]
    for row in rows[2:]:
        shares = {name: float(row[f"p.{name}"]) for name in SEVEN}
        assert row["p.contempt"] == ""
        assert sum(shares.values()) == pytest.approx(1, abs=1e-4)
        assert row["emotion"] == max(shares, key=shares.get)
        assert float(row["x0"]) < float(row["x1"])


def test_rows_have_the_columns(model, results):
    for result in results:
        for row in rows_of(result, model.card.labels):
            assert list(row) == columns(model.card.labels)


def test_json_and_jsonl_hold_everything(model, results, tmp_path):
    whole, lines = tmp_path / "faces.json", tmp_path / "faces.jsonl"
    write(results, model, ("json", whole), ("jsonl", lines))
    value = json.loads(whole.read_text(encoding="utf-8"))
    assert value["labels"] == list(model.card.labels)
    assert value["licence"] == model.card.licence
    assert value["files"] == [result.to_dict() for result in results]
    told = [json.loads(line) for line in lines.read_text(encoding="utf-8").splitlines()]
    assert told == value["files"]


def test_json_of_nothing_is_json(model, tmp_path):
    write([], model, ("json", tmp_path / "none.json"))
    assert json.loads((tmp_path / "none.json").read_text())["files"] == []


@pytest.mark.parametrize("rows_of_a_part", [1, 50_000])
def test_parquet_is_the_csv(model, results, tmp_path, monkeypatch, rows_of_a_part):
    monkeypatch.setattr(parquet_parts, "ROWS_OF_A_PART", rows_of_a_part)
    write(results, model, ("parquet", tmp_path / "f.parquet"), ("csv", tmp_path / "f.csv"))
    frame = pl.read_parquet(tmp_path / "f.parquet")
    assert frame.columns == columns(model.card.labels)
    assert frame["path"].to_list() == ["bad, file.jpg", "nobody.jpg", "语.jpg", "语.jpg"]
    assert frame.schema["abstained"] == pl.Boolean
    rows = list(csv.DictReader((tmp_path / "f.csv").read_text(encoding="utf-8").splitlines()))
    for name in ("confidence", "p.anger", "x1"):
        there = [float(row[name]) if row[name] else np.nan for row in rows]
        np.testing.assert_allclose(frame[name].fill_null(np.nan).to_numpy(), there, rtol=1e-6)


def test_a_run_that_breaks_leaves_the_old_files(model, results, tmp_path):
    names = ("csv", "json", "jsonl", "parquet")
    folder = tmp_path / "out"
    folder.mkdir()
    for name in names:
        (folder / name).write_text("old")

    def breaks():
        yield results[2]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(breaks(), model, *((name, folder / name) for name in names))
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)
    assert {path.read_text() for path in folder.iterdir()} == {"old"}


def test_one_file_cannot_hold_two_formats(model, tmp_path):
    targets = [("csv", tmp_path / "a"), ("json", tmp_path / "." / "a")]
    with pytest.raises(InputError, match="named twice"), open_writers(targets, model.card):
        pass
