"""Pictures of features and maps, by the pixels that they hold."""

from __future__ import annotations

import io
import re
from base64 import b64decode
from importlib import resources
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.ImageColor import getrgb

from mien.report.feature_figures import POINT_COLOURS, embedding_drawings, map_drawings, map_scale


def images(svg: str) -> list[np.ndarray[Any, Any]]:
    """The embedded PNGs, uint8 [H, W, 4]."""
    found = re.findall(r'href="data:image/png;base64,([^"]+)"', svg)
    return [np.asarray(Image.open(io.BytesIO(b64decode(data))).convert("RGBA")) for data in found]


def luminance(colour: str) -> float:
    """Relative luminance of WCAG 2.2."""
    shares = np.array(getrgb(colour)[:3]) / 255
    linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def embedding(points: list[list[float]], labels: list[int]) -> dict[str, Any]:
    return {"before": points, "after": None, "labels": labels, "names": ["anger", "_odd", "fear"]}


@pytest.mark.parametrize("colour", POINT_COLOURS)
def test_points_stand_out_in_light_and_in_dark(colour: str) -> None:
    css = resources.files("mien.report").joinpath("jinja/report.css").read_text(encoding="utf-8")
    pages = re.findall(r"--page: (#\w{6})", css)
    assert len(pages) == 2
    for page in pages:
        darker, lighter = sorted((luminance(colour), luminance(page)))
        assert (lighter + 0.05) / (darker + 0.05) >= 3


def test_a_scatter_holds_its_points_and_names_only_classes_that_are_there() -> None:
    (drawing,) = embedding_drawings("a model", embedding([[0, 0], [1.5, -2], [1, 1]], [0, 1, 0]), key="k")
    assert drawing.data is not None
    assert drawing.data.rows == (
        ("anger", "0.00", "0.00"),
        ("_odd", "1.50", "-2.00"),
        ("anger", "1.00", "1.00"),
    )
    assert ">_odd<" in re.sub(r">\s+", ">", drawing.svg)
    assert "fear" not in drawing.svg
    assert drawing.caption == "a model, the head's input: 3 images"


@pytest.mark.parametrize("rare", [0, 2])
def test_a_rare_class_is_not_hidden_by_a_common_one(rare: int) -> None:
    points = [[0.0, 0.0], *([0.0, 0.0] for _ in range(50)), [1.0, 1.0]]
    (drawing,) = embedding_drawings("a model", embedding(points, [rare, *[2 - rare] * 51]), key="k")
    own = getrgb(POINT_COLOURS[rare])
    assert any((image[..., :3] == own).all(-1).any() for image in images(drawing.svg))


def test_the_scale_spans_all_models_and_nought() -> None:
    first = {"anger": {"map": [[0.1, 0.3]]}, "fear": {"map": [[0.2, 0.25]]}}
    assert map_scale([first]) == (0.0, 0.3)
    assert map_scale([first, {}, {"anger": {"map": [[-0.05, 0.4]]}}]) == (-0.05, 0.4)
    assert map_scale([{"anger": {"map": [[-0.2, -0.1]]}}]) == (-0.2, 0.0)
    assert map_scale([]) == (0.0, 0.0)


def test_the_same_loss_is_darker_on_a_wider_scale() -> None:
    values = [[0.0] * 6 for _ in range(6)]
    values[4][1] = 0.2
    mean_maps = {"happiness": {"map": values, "count": 25, "standard_error": 0.01}}
    brightest = []
    for scale in ((0.0, 0.2), (0.0, 0.8)):
        (drawing,) = map_drawings("a model", mean_maps, scale, key="k")
        brightest.append(int(images(drawing.svg)[0][..., :3].sum(-1).max()))
        assert drawing.data is not None
        assert drawing.data.rows == (
            ("happiness", "25", "20.0 %", "the bottom, left of the picture", "1.0 %"),
        )
    assert brightest[0] > brightest[1] + 100


def test_maps_that_lose_nothing_are_drawn_too() -> None:
    nothing = {"anger": {"map": [[0.0, 0.0], [0.0, 0.0]], "count": 20, "standard_error": 0.0}}
    (drawing,) = map_drawings("a model", nothing, map_scale([nothing]), key="k")
    assert "anger 0.0 %" in drawing.alt
    assert map_drawings("a model", {}, (0.0, 0.0), key="k") == ()
