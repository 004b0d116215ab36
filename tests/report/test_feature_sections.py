"""Sections of features and maps: seeds, signs and what is left out."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from mien.report.document import Gallery, Section, Table, Text
from mien.report.feature_sections import features_section, maps_section
from mien.report.runs import read_runs
from mien.report.tables import Column, columns_of

from .analysis_values import features_values, keep, maps_values
from .conftest import MakeRun, run_config

RIGHT = [True] * 16


def columns(*folders: Path) -> tuple[Column, ...]:
    return columns_of(read_runs(folders))


def blocks(section: Section | None, kind: type) -> list[Any]:
    assert section is not None
    return [block for block in section.blocks if isinstance(block, kind)]


def told(section: Section | None) -> list[str]:
    return [block.text for block in blocks(section, Text)]


@pytest.fixture
def seeds(make_run: MakeRun) -> tuple[Path, Path]:
    """Two seeds of one model."""
    return make_run("first", run_config(se="pooled"), RIGHT), make_run(
        "second", run_config(se="pooled", seed=1), RIGHT
    )


def test_the_verdict_is_of_all_seeds_and_the_rest_of_the_first(seeds: tuple[Path, Path]) -> None:
    first, other = features_values(), features_values()
    better = first["comparison"]["difference"]
    assert better["ratio"]["interval"][0] > 0
    # In the second seed neither is clear, so that of both nothing is.
    for measure in ("ratio", "silhouette"):
        other["comparison"]["difference"][measure]["interval"] = [-1.0, 1.0]
    keep(seeds[0], "features", first)
    keep(seeds[1], "features", other)
    section = features_section(columns(*seeds))
    verdict, note = told(section)
    assert "separate neither clearly better nor clearly worse (2 runs)" in verdict
    assert note == "Swin-SE: The tables and pictures below are of seed 0, one of 2 seeds."


def test_a_seed_that_alone_was_measured_is_named(seeds: tuple[Path, Path]) -> None:
    keep(seeds[1], "features", features_values())
    keep(seeds[1], "maps", maps_values())
    verdict, note = told(features_section(columns(*seeds)))
    assert "(1 run)" in verdict
    assert note.endswith("of seed 1, one of 2 seeds.")
    assert told(maps_section(columns(*seeds)))[1] == "Swin-SE: This is of seed 1, one of 2 seeds."


def test_the_table_holds_what_the_verdict_rests_on_with_true_minus_signs(seeds: tuple[Path, Path]) -> None:
    values = features_values()
    comparison = values["comparison"]
    comparison["first"]["silhouette"] = {"value": -0.125, "interval": [-0.25, 0.0625], "unit": ""}
    keep(seeds[0], "features", values)
    measures, _ = blocks(features_section(columns(seeds[0])), Table)
    rows = {row[0]: row for row in measures.rows}
    assert rows["silhouette"][1] == "−0.125 (−0.250 to 0.062)"
    for words, measure in (
        ("distance within classes", "within"),
        ("distance between classes", "between"),
        ("cosine distance within classes", "cosine_within"),
        ("cosine distance between classes", "cosine_between"),
    ):
        difference = comparison["difference"][measure]["value"]
        assert float(rows[words][3].replace("−", "-")) == pytest.approx(difference, abs=0.0005)
    assert measures.notes[0].startswith("60 images; ")


def test_before_and_after_of_a_model_lie_side_by_side(make_run: MakeRun) -> None:
    folders = [make_run(f"rho {rho}", run_config(se="pooled", rho=rho), RIGHT) for rho in (0.0, 0.05)]
    for folder in folders:
        keep(folder, "features", features_values())
    galleries = blocks(features_section(columns(*folders)), Gallery)
    assert [[drawing.caption for drawing in gallery.drawings] for gallery in galleries] == [
        [f"{name}, {place} SE: 60 images" for place in ("before", "after")]
        for name in ("Swin-SE", "Swin-SE-SAM")
    ]


@pytest.mark.parametrize(
    ("gain", "interval", "words"),
    [
        (0.02, (0.01, 0.03), "better than"),
        (0.0, (-0.01, 0.01), "no better than"),
        (-0.02, (-0.03, -0.01), "worse than"),
    ],
)
def test_maps_are_trusted_as_far_as_their_gain(
    seeds: tuple[Path, Path], gain: float, interval: tuple[float, float], words: str
) -> None:
    values = maps_values()
    values["deletion"] |= {"gain": gain, "gain_interval": list(interval)}
    keep(seeds[0], "maps", values)
    (sentence,) = told(maps_section(columns(seeds[0])))
    shown = f"{gain:.3f} (95 % interval {interval[0]:.3f} to {interval[1]:.3f})".replace("-", "−")
    assert sentence.endswith(
        f"with a gain of {shown} the maps tell {words} chance which parts the model uses."
    )


def test_faces_without_a_mean_map_are_counted(seeds: tuple[Path, Path]) -> None:
    values = maps_values()
    keep(seeds[0], "maps", values)
    (gallery,) = blocks(maps_section(columns(seeds[0])), Gallery)
    assert "too few" not in gallery.caption
    keep(seeds[0], "maps", {**values, "count": 31})
    (gallery,) = blocks(maps_section(columns(seeds[0])), Gallery)
    assert gallery.caption.endswith("; 7 faces are of classes with too few for a mean map")
    keep(seeds[0], "maps", {**values, "mean_maps": {}})
    (gallery,) = blocks(maps_section(columns(seeds[0])), Gallery)
    assert len(gallery.drawings) == 1
    assert gallery.caption.endswith("no class has faces enough for a mean map")


def test_maps_of_all_models_have_one_scale(make_run: MakeRun) -> None:
    folders = [make_run(f"rho {rho}", run_config(se="pooled", rho=rho), RIGHT) for rho in (0.0, 0.05)]
    values = maps_values()
    doubled = copy.deepcopy(values)
    doubled["mean_maps"]["anger"]["map"] = [
        [2 * lost for lost in row] for row in values["mean_maps"]["anger"]["map"]
    ]
    keep(folders[0], "maps", values)
    (alone,) = blocks(maps_section(columns(*folders)), Gallery)
    keep(folders[1], "maps", doubled)
    beside, _ = blocks(maps_section(columns(*folders)), Gallery)
    assert alone.drawings[0].alt == beside.drawings[0].alt
    assert alone.drawings[0].svg != beside.drawings[0].svg
