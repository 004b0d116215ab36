"""Sections of robustness, landscape, sharpness, features and maps: what they say is what was measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from mien.evaluate.analysis_files import AnalysisName
from mien.report.document import Gallery, Section, Table, Text
from mien.report.feature_sections import features_section, maps_section
from mien.report.geometry_sections import landscape_section, sharpness_section
from mien.report.robustness_section import robustness_section
from mien.report.runs import read_runs
from mien.report.tables import Column, columns_of

from .analysis_values import (
    features_values,
    keep,
    landscape_values,
    maps_values,
    robustness_values,
    sharpness_values,
)
from .conftest import MakeRun, run_config

RIGHT = [True] * 16
SECTIONS: Mapping[str, tuple[AnalysisName, Callable[[tuple[Column, ...]], Section | None]]] = {
    "robustness": ("robustness", robustness_section),
    "landscape": ("landscape", landscape_section),
    "sharpness": ("sharpness", sharpness_section),
    "features": ("features", features_section),
    "maps": ("maps", maps_section),
}


@pytest.fixture
def pair(make_run: MakeRun) -> tuple[Path, Path]:
    """A run and the same with SAM."""
    return make_run("plain", run_config(se="pooled"), RIGHT), make_run(
        "sam", run_config(se="pooled", rho=0.05), RIGHT
    )


def columns(*folders: Path) -> tuple[Column, ...]:
    return columns_of(read_runs(folders))


def texts(section: Section | None) -> list[str]:
    assert section is not None
    return [block.text for block in section.blocks if isinstance(block, Text)]


def tables(section: Section | None) -> list[Table]:
    assert section is not None
    return [block for block in section.blocks if isinstance(block, Table)]


VALUES: Mapping[str, Callable[[], dict[str, Any]]] = {
    "robustness": robustness_values,
    "landscape": lambda: landscape_values(1.0),
    "sharpness": lambda: sharpness_values(0.1),
    "features": features_values,
    "maps": maps_values,
}


def drawings(section: Section | None) -> list[Any]:
    assert section is not None
    return [drawing for block in section.blocks if isinstance(block, Gallery) for drawing in block.drawings]


@pytest.mark.parametrize("name", SECTIONS)
def test_without_an_analysis_there_is_no_section(pair: tuple[Path, Path], name: str) -> None:
    assert SECTIONS[name][1](columns(*pair)) is None


@pytest.mark.parametrize("name", SECTIONS)
def test_an_analysis_of_other_data_is_left_out(pair: tuple[Path, Path], name: str) -> None:
    values = VALUES[name]()
    analysis, section = SECTIONS[name]
    keep(pair[0], analysis, values, manifest_hash="cd" * 32)
    assert section(columns(*pair)) is None
    keep(pair[0], analysis, values)
    assert section(columns(*pair)) is not None
    for drawing in drawings(section(columns(*pair))):
        assert drawing.svg.startswith("<svg")
        assert len(drawing.alt) > 30
        assert drawing.data.rows


def test_robustness_tells_what_hurts_most(pair: tuple[Path, Path]) -> None:
    values = robustness_values()
    keep(pair[0], "robustness", values)
    section = robustness_section(columns(*pair))
    worst = min(values["relative_accuracy"], key=values["relative_accuracy"].get)
    assert worst == "brightness"
    (sentence,) = texts(section)
    assert sentence.startswith("Swin-SE, right on 100.0 % of 40 clean faces, keeps")
    assert "least under brightness (" in sentence
    (table,) = tables(section)
    assert table.columns[:4] == ("model", "images", "clean accuracy", "common corruptions")
    assert table.rows[0][3] == f"{100 * values['mean_relative_accuracy']:.1f} %"
    (drawing,) = drawings(section)
    assert len(drawing.data.rows) == len(values["rows"]) == 11
    assert drawing.svg.count('class="tip"') == 11


def test_a_flatter_surface_with_sam_is_told_and_a_sharper_one_too(pair: tuple[Path, Path]) -> None:
    plain, sam = pair
    keep(plain, "landscape", landscape_values(2.0))
    keep(sam, "landscape", landscape_values(0.5))
    section = landscape_section(columns(*pair))
    (sentence,) = texts(section)
    assert "Swin-SE-SAM is flatter at every distance, as the paper says" in sentence
    assert "0.50 instead of 2.00" in sentence or "instead of" in sentence
    (table,) = tables(section)
    assert [row[2] for row in table.rows] == ["0.500", "0.500"]
    surfaces = drawings(section)
    assert len(surfaces) == 3
    assert surfaces[0].data.rows[0][1] == "nan"
    assert surfaces[0].data.rows[2][3] == "0.5000"
    # One scale: the flat bowl is nowhere as dark as the steep one.
    keep(sam, "landscape", landscape_values(3.0))
    (sentence,) = texts(landscape_section(columns(*pair)))
    assert "is not flatter at any distance, against what the paper says" in sentence


def test_sharpness_is_compared_pair_by_pair(pair: tuple[Path, Path]) -> None:
    plain, sam = pair
    keep(plain, "sharpness", sharpness_values(0.4))
    keep(sam, "sharpness", sharpness_values(0.1))
    section = sharpness_section(columns(*pair))
    (sentence,) = texts(section)
    assert sentence.startswith("Swin-SE-SAM lies flatter than Swin-SE: SAM's sharpness by −0.300 (")
    (table,) = tables(section)
    assert table.rows[0][1] == "0.400 (0.010)"
    assert table.rows[0][4] == "1,234.5"
    assert table.rows[0][5] == "–"
    keep(sam, "sharpness", sharpness_values(0.4))
    (sentence,) = texts(sharpness_section(columns(*pair)))
    assert "neither clearly flatter nor clearly sharper" in sentence
    one_less = sharpness_values(0.4)
    for kind in ("sam", "asam", "random"):
        one_less[kind]["values"] = one_less[kind]["values"][:2]
    keep(sam, "sharpness", one_less)
    (sentence,) = texts(sharpness_section(columns(*pair)))
    assert "not measured alike" in sentence


def test_features_before_and_after_se(pair: tuple[Path, Path]) -> None:
    keep(pair[0], "features", features_values())
    section = features_section(columns(*pair))
    (verdict,) = texts(section)
    assert verdict.startswith("Swin-SE: From before SE to after SE")
    assert "the classes separate better" in verdict
    measures, probe = tables(section)
    silhouette = next(row for row in measures.rows if row[0] == "silhouette")
    assert silhouette[3].startswith("+")
    assert probe.rows == (("Swin-SE", "75.00 %", "87.50 %"),)
    before, after = drawings(section)
    assert len(before.data.rows) == 60
    assert before.caption == "Swin-SE, before SE: 60 images"
    assert "<image" in after.svg


def test_features_without_se_have_one_picture(pair: tuple[Path, Path]) -> None:
    keep(pair[0], "features", features_values(has_se=False))
    section = features_section(columns(*pair))
    assert texts(section) == ["Swin-SE: The network has no SE block."]
    (probe,) = tables(section)
    assert probe.rows == (("Swin-SE", "75.00 %", "–"),)
    assert len(drawings(section)) == 1


def test_maps_name_the_part_that_decided(pair: tuple[Path, Path]) -> None:
    keep(pair[0], "maps", maps_values())
    section = maps_section(columns(*pair))
    (sentence,) = texts(section)
    assert sentence.endswith("the maps tell better than chance which parts the model uses.")
    maps, curve = drawings(section)
    assert "anger" in maps.alt
    assert "the top, left of the picture" in maps.alt
    assert maps.data.rows[0][:2] == ("anger", "24")
    assert float(curve.data.rows[0][1]) > float(curve.data.rows[-1][1])


@pytest.mark.parametrize("name", SECTIONS)
def test_which_of_several_seeds_is_shown_is_said(make_run: MakeRun, name: str) -> None:
    folders = [make_run(f"s{seed}", run_config(se="pooled", seed=seed), RIGHT) for seed in (0, 1)]
    values = VALUES[name]()
    analysis, section = SECTIONS[name]
    keep(folders[1], analysis, values)
    assert any("of seed 1, one of 2 seeds." in text for text in texts(section(columns(*folders))))
