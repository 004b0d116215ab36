"""What the data card says of twins and leaks."""

from __future__ import annotations

import csv
from pathlib import Path

import polars as pl
import pytest
from tests.report.card_data import LEAK, prepared, some, text_of, twins_of

from mien.data.summary import summarise
from mien.errors import InputError
from mien.report.data_card import card_markdown, write_card


def test_every_dropped_picture_and_twin_is_in_a_csv_that_others_read(tmp_path: Path) -> None:
    folder = prepared(tmp_path / "data", some(), twins_of(LEAK, {"id_a": "喜,び", "id_b": "x"}))
    write_card(folder)
    with (folder / "dropped.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["id", "set", "source_file", "source_row", "drop_reason", "drop_detail"]
    assert len(rows) == 26
    assert rows[3]["drop_detail"] == 'of "a/2", no 3\nagain'
    assert (rows[25]["id"], rows[25]["source_row"], rows[25]["drop_detail"]) == ("a/50", "7", "")
    with (folder / "twins.csv").open(encoding="utf-8", newline="") as file:
        pairs = list(csv.DictReader(file))
    assert [pair["id_a"] for pair in pairs] == ["a/0", "喜,び"]
    assert pairs[0]["split_b"] == "test"


@pytest.mark.parametrize(
    ("policy", "told"),
    [
        ("official", "Test pictures with a twin: 1 in train. splits.policy=clean takes those twins out."),
        ("clean", "keeps the test split as it is and dropped 25 for “twin of a test image”."),
        ("balanced", "keeps twins together, in one split; it dropped 25"),
    ],
)
def test_what_the_policy_did_with_leaks(policy: str, told: str) -> None:
    manifest = some(splits=policy)
    markdown = card_markdown(summarise(manifest, None, twins_of(LEAK)))
    assert told in markdown
    assert "| train | 0 | 0 | 1 |\n| validation | 0 | 0 | 0 |\n| test | 1 | 0 | 0 |\n\n" in markdown
    # Only where the leak is still there does it spoil the figures.
    assert ("flatter a model" in markdown) == (policy == "official")


def test_twins_that_were_not_searched_for_leave_no_old_list(tmp_path: Path) -> None:
    folder = prepared(tmp_path / "data", some())
    (folder / "twins.csv").write_text("of other data", encoding="utf-8")
    write_card(folder)
    assert not (folder / "twins.csv").exists()
    assert "no list of twins" in text_of(folder / "card.md")
    assert "twins.csv" not in text_of(folder / "card.html")


@pytest.mark.parametrize("content", ["damaged", "another table"])
def test_a_list_of_twins_that_is_none_is_refused_and_nothing_is_written(tmp_path: Path, content: str) -> None:
    folder = prepared(tmp_path / "data", some())
    if content == "damaged":
        (folder / "twins.parquet").write_bytes(b"PAR1 no")
    else:
        pl.DataFrame({"id_a": ["x"]}).write_parquet(folder / "twins.parquet")
    with pytest.raises(InputError, match=r"twins\.parquet .* prepare the data again"):
        write_card(folder)
    assert not list(folder.glob("card.*"))


def test_twins_with_different_labels_are_listed(tmp_path: Path) -> None:
    pair = {**LEAK, "label_a": "joy", "label_b": "rage", "correlation": 0.98768}
    folder = prepared(tmp_path / "data", some(), twins_of(pair))
    write_card(folder)
    assert "| a/0 | joy | a/2 | rage | 0.9877 |" in text_of(folder / "card.md")
    assert "Twins with different labels: 1 of 1 pairs" in text_of(folder / "card.html")


def test_only_exact_twins_are_not_called_near() -> None:
    markdown = card_markdown(summarise(some(twins={"near": False}), None, twins_of(LEAK)))
    assert "Only exact twins were searched for" in markdown
    markdown = card_markdown(summarise(some(), None, twins_of(LEAK)))
    assert "correlate above 0.98, also shifted by up to 2 pixels of 48 or mirrored." in markdown
