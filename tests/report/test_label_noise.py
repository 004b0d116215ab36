"""The label-noise page: what it says, what it holds, what it warns of."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mien.report.label_noise import FACE, LISTED, MATRIX, document_of, write_label_noise
from mien.report.label_noise_figures import (
    AnnotationCheck,
    ClassIssues,
    DoubtfulLabel,
    FoldFigures,
    LabelNoise,
    VoteCheck,
)

NO_FACES = np.zeros((0, 1, 48, 48), dtype=np.uint8)


def figures(classes: tuple[str, ...] = ("anger", "sad<ness>"), **changes: object) -> LabelNoise:
    """A study of 1,000 pictures, 100 of which are doubtful."""
    count = len(classes)
    joint = np.full((count, count), 0.1 / (count * (count - 1)))
    np.fill_diagonal(joint, 0.9 / count)
    flagged = np.full((count, count), 100 // (count * (count - 1)))
    np.fill_diagonal(flagged, 0)
    made = LabelNoise(
        target="fer2013",
        rule="label",
        splits="train",
        manifest_hash="ab" * 32,
        classes=classes,
        images=1000,
        unscored=0,
        issues=100,
        accuracy=0.8,
        accuracy_interval=(0.77, 0.83),
        by_class=tuple(ClassIssues(name, 1000 // count, 100 // count, 800 // count) for name in classes),
        joint=tuple(map(tuple, joint.tolist())),
        flagged=tuple(map(tuple, flagged.tolist())),
        folds=(FoldFigures(500, 450, 50, 0.81, 1.23), FoldFigures(500, 450, 50, 0.79, 1.5)),
        annotations=(AnnotationCheck("ferplus", 800, 200, 90, 60, 50, 100, 83, (0.55, 0.78), 0.815),),
        votes=(VoteCheck("ferplus", 800, 0.31, 0.78),),
        columns_written=True,
        made={"method": "cleanlab", "seed": "0"},
    )
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


def doubtful(count: int) -> list[DoubtfulLabel]:
    return [
        DoubtfulLabel(f"fer2013/{i:05d}", "anger", "sad<ness>", 0.01 * i, flagged=i < 3) for i in range(count)
    ]


def test_shares_against_another_annotation() -> None:
    check = AnnotationCheck("ferplus", 800, 200, 90, 60, 50, 100, 83, None, None)
    assert check.base == 0.25
    assert check.precision == pytest.approx(2 / 3)
    assert check.unflagged == pytest.approx(140 / 710)
    assert check.recall == 0.3
    assert check.lift == pytest.approx(8 / 3)
    nothing = AnnotationCheck("ferplus", 10, 0, 0, 0, 0, 10, 0, None, None)
    assert (nothing.precision, nothing.recall, nothing.lift, nothing.unflagged) == (None, None, None, 0)
    assert AnnotationCheck("ferplus", 10, 5, 10, 5, 5, 10, 5, None, None).unflagged is None


def test_page_markdown_and_json_say_the_same(tmp_path: Path) -> None:
    page = write_label_noise(figures(), doubtful(30), NO_FACES, tmp_path)
    html, markdown = page.read_text(), page.with_suffix(".md").read_text()
    for words in (
        "66.7",
        "83.0",
        "19.7",
        "2.67",
        "30.0",
        "0.815",
        "31.0",
        "78.0",
        "1.23",
        "55.0 to 78.0",
        "77.0 to 83.0",
    ):
        assert words in markdown
        assert words in html
    assert "100 (10.0 %) have a label" in markdown
    assert "takes 10.0 % of the labels for wrong" in markdown
    assert "No image was removed." in markdown
    assert "sad<ness>" not in html
    assert "sad&lt;ness&gt;" in html
    assert html.count("fer2013/000") == markdown.count("fer2013/000") == LISTED
    values = json.loads(page.with_suffix(".json").read_text())
    assert values["noise"] == pytest.approx(0.1)
    assert values["annotations"][0]["flagged_disagree"] == 60
    for name in ("label_noise.csv", "label_noise.parquet", "label_noise.md", "label_noise.json"):
        assert f'href="./{name}"' in html


@pytest.mark.parametrize(("channels", "side"), [(1, 48), (3, 224)])
def test_the_faces_are_inside_the_page_with_a_warning(tmp_path: Path, channels: int, side: int) -> None:
    faces = np.random.default_rng(0).integers(0, 256, (4, channels, side, side), dtype=np.uint8)
    html = write_label_noise(figures(), doubtful(30), faces, tmp_path).read_text()
    assert "This page holds pictures of the data sets." in html
    sources = re.findall(r'<img src="([^"]+)"', html)
    assert len(sources) == 4
    for source, face in zip(sources, faces, strict=True):
        kind, _, content = source.partition(",")
        assert kind == "data:image/png;base64"
        picture = Image.open(io.BytesIO(base64.b64decode(content)))
        assert picture.size == (min(side, FACE),) * 2
        assert picture.mode == ("L" if channels == 1 else "RGB")
        if side <= FACE:
            assert (np.asarray(picture) == face[0]).all()
    # Nothing else is loaded from anywhere.
    assert not re.findall(r'(?:src|href)="(?!data:|#|\./)', html)
    assert 'alt="Face labelled anger; sad&lt;ness&gt; is suggested."' in html


def test_without_faces_there_is_neither_picture_nor_warning(tmp_path: Path) -> None:
    html = write_label_noise(figures(), doubtful(30), NO_FACES, tmp_path).read_text()
    assert "<img" not in html
    assert "holds pictures" not in html


def test_models_that_learned_nothing_are_said_to_mean_nothing() -> None:
    words = "have learned nothing"
    assert words not in document_of(figures(), []).summary
    assert words in document_of(figures(accuracy=0.52, accuracy_interval=(0.49, 0.55)), []).summary


def test_what_is_not_there_is_not_said(tmp_path: Path) -> None:
    many = tuple(f"class {i}" for i in range(MATRIX + 1))
    bare = figures(many, annotations=(), votes=(), columns_written=False, unscored=7)
    markdown = write_label_noise(bare, [], NO_FACES, tmp_path).with_suffix(".md").read_text()
    assert "Against what else is known" not in markdown
    assert "The most doubtful labels" not in markdown
    # The matrix of many classes would not be legible; the list of pairs stays short.
    assert "Estimated true class" not in markdown
    assert markdown.count("| class 0 | class ") <= LISTED
    assert "7 images were not scored" in markdown
    assert "The manifest was left as it is." in markdown
    assert "not scored" not in document_of(figures(), []).sections[0].blocks[0].notes  # type: ignore[union-attr]


def test_a_study_without_a_doubtful_label() -> None:
    clean = figures(joint=((0.5, 0.0), (0.0, 0.5)), flagged=((0, 0), (0, 0)), issues=0, annotations=())
    told = document_of(clean, [])
    assert "0 (0.0 %) have a label" in told.summary
    assert "takes 0.0 % of the labels for wrong" in told.summary
