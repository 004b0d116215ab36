"""The label-noise study as one HTML page, its Markdown twin and its numbers as JSON.

The page says what was found doubtful and how far that can be trusted; it removes nothing.
"""

from __future__ import annotations

import base64
import dataclasses
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from mien import __version__
from mien.files import write_json, write_text
from mien.report.data_card_wording import DASH, joined, percent
from mien.report.document import Block, Document, Section, Table, Text, to_markdown
from mien.report.label_noise_figures import LOWEST, AnnotationCheck, DoubtfulLabel, LabelNoise
from mien.report.page import render
from mien.report.wording import percent_interval

NAME: Final = "label_noise"
"""Stem of every file that the study writes."""
FORMAT: Final = 1
"""Version of label_noise.json."""
FACE: Final = 96
"""Larger faces are shown at this side, in pixels."""
MATRIX: Final = 12
"""Classes up to which the whole matrix of estimated noise is printed."""
LISTED: Final = 20
"""Rows of the lists of confused classes and of doubtful labels."""


def write_label_noise(
    figures: LabelNoise, doubtful: Sequence[DoubtfulLabel], faces: npt.NDArray[np.uint8], out: Path
) -> Path:
    """Write label_noise.html, label_noise.md and label_noise.json.

    Args:
        figures: what was found.
        doubtful: the pictures with the lowest quality, lowest first.
        faces: uint8 [n, C, H, W], grey or RGB, of the first n of them, for the page. With none the page may
            be passed on where the pictures must not be.
        out: the folder; the study's tables lie there.

    Returns:
        The page.
    """
    page = out / f"{NAME}.html"
    document = document_of(figures, doubtful)
    gallery = [_shown(one, face) for one, face in zip(doubtful[: len(faces)], faces, strict=True)]
    beside = [f"{NAME}{ending}" for ending in (".md", ".json", ".csv", ".parquet")]
    values = {"format": FORMAT, "mien": __version__, "noise": figures.noise, **dataclasses.asdict(figures)}
    write_json(page.with_suffix(".json"), values)
    write_text(page.with_suffix(".md"), to_markdown(document))
    write_text(page, _to_html(document, gallery, beside))
    return page


def document_of(figures: LabelNoise, doubtful: Sequence[DoubtfulLabel]) -> Document:
    """All that the page says in words and tables.

    Args:
        figures: what was found.
        doubtful: the pictures with the lowest quality, lowest first.
    """
    sections = [
        _classes_section(figures),
        _confusion_section(figures),
        *_known_sections(figures),
        _models_section(figures),
        *_doubtful_sections(doubtful),
        _use_section(figures),
        _made_section(figures),
    ]
    return Document(f"Doubtful labels of target {figures.target}", _summary(figures), tuple(sections))


def _summary(figures: LabelNoise) -> str:
    where = "training" if figures.splits == "train" else "kept"
    share = percent(figures.issues / figures.images)
    text = (
        f"Of {figures.images:,} {where} images, {figures.issues:,} ({share}) have a label that models which "
        f"never saw them find doubtful. Confident learning takes {percent(figures.noise)} of the labels for "
        "wrong, but it cannot tell a wrong label from a model's mistake: the models name the given label of "
        f"{percent(figures.accuracy)} of the images (95 % interval "
        f"{percent_interval(figures.accuracy_interval)})."
    )
    if figures.accuracy_interval[0] <= figures.guessing:
        text += (
            f" Naming the commonest label alone would be right for {percent(figures.guessing)}: these models "
            "have learned nothing, and what they find doubtful means nothing."
        )
    checked = [check for check in figures.annotations if check.precision is not None]
    if checked:
        told = [
            f"{check.annotation} names another class for {percent(check.precision)} of the doubtful and "
            f"{percent(check.unflagged)} of the other images"
            for check in checked
        ]
        text += f" As to other annotations, {joined(told)}."
    return text + " No image was removed."


def _classes_section(figures: LabelNoise) -> Section:
    joint = np.asarray(figures.joint)
    rows = []
    for row, one in enumerate(figures.by_class):
        whole = float(joint[row].sum())
        rows.append(
            (
                one.name,
                f"{one.images:,}",
                f"{one.issues:,}",
                percent(one.issues / one.images if one.images else None),
                percent(1 - float(joint[row, row]) / whole if whole else None),
                percent(one.found / one.images if one.images else None),
            )
        )
    columns = ("label", "images", "doubtful", "share", "estimated wrong", "named by the models")
    notes = [
        "Estimated wrong: confident learning's share of the label's images whose true class is another. It "
        "cannot tell a wrong label from a class that the models have not learned, so that it is too high "
        "where they name few images of a label."
    ]
    if figures.unscored:
        notes.append(
            f"{figures.unscored:,} images were not scored: their fold's model had no training image of their "
            "label's class."
        )
    table = Table("Doubtful labels of each class", columns, tuple(rows), tuple(notes))
    return Section("Doubtful labels by class", (table,))


def _confusion_section(figures: LabelNoise) -> Section:
    joint, flagged, names = np.asarray(figures.joint), np.asarray(figures.flagged), figures.classes
    blocks: list[Block] = []
    if len(names) <= MATRIX:
        shares = joint / joint.sum(axis=1, keepdims=True).clip(1e-12)
        rows = tuple(
            (name, *(percent(float(share)) if share else DASH for share in shares[row]))
            for row, name in enumerate(names)
        )
        blocks.append(
            Table(
                "Estimated true class (columns) of the images with each given label (rows)",
                ("label", *names),
                rows,
            )
        )
    pairs = sorted(
        ((float(joint[a, b]), a, b) for a, b in np.ndindex(joint.shape) if a != b and joint[a, b] > 0),
        key=lambda pair: (-pair[0], pair[1:]),
    )
    table = Table(
        "The commonest confusions",
        ("label", "true class", "estimated images", "doubtful images"),
        tuple(
            (names[a], names[b], f"{share * figures.images:,.0f}", f"{flagged[a, b]:,}")
            for share, a, b in pairs[:LISTED]
        ),
        words=frozenset({1}),
    )
    blocks.append(table if pairs else Text("No pair of classes is estimated to be confused."))
    return Section("Which classes are confused", tuple(blocks))


def _known_sections(figures: LabelNoise) -> list[Section]:
    blocks: list[Block] = []
    if figures.annotations:
        blocks.append(
            Table(
                "The other annotations of the same images",
                (
                    "annotation",
                    "images",
                    "doubtful: another class there",
                    "95 % interval",
                    "other images: another class there",
                    f"lowest {LOWEST} in quality: another class there",
                    "lift",
                    "found",
                    "suggested class there",
                    "AUC",
                ),
                tuple(_annotation_row(check) for check in figures.annotations),
                (
                    "Lift: how much oftener doubtful images have another class there than all images have; 1 "
                    "is chance. Found: share of all images with another class there that are doubtful. AUC: "
                    "probability that an image with another class there has a lower quality than one with "
                    "the same; 0.5 is chance.",
                ),
            )
        )
    if figures.votes:
        blocks.append(
            Table(
                "Votes for the given label, as a share of all votes",
                ("annotation", "images", "doubtful images", "other images"),
                tuple(
                    (vote.annotation, f"{vote.images:,}", percent(vote.flagged), percent(vote.unflagged))
                    for vote in figures.votes
                ),
            )
        )
    return [Section("Against what else is known of the images", tuple(blocks))] if blocks else []


def _annotation_row(check: AnnotationCheck) -> tuple[str, ...]:
    return (
        check.annotation,
        f"{check.images:,}",
        percent(check.precision),
        percent_interval(check.precision_interval),
        percent(check.unflagged),
        percent(check.lowest_disagree / check.lowest if check.lowest else None),
        DASH if check.lift is None else f"{check.lift:.2f}",
        percent(check.recall),
        percent(check.flagged_suggested / check.flagged if check.flagged else None),
        DASH if check.auc is None else f"{check.auc:.3f}",
    )


def _models_section(figures: LabelNoise) -> Section:
    rows = tuple(
        (
            str(number),
            f"{fold.training:,}",
            f"{fold.validation:,}",
            f"{fold.images:,}",
            percent(fold.accuracy),
            f"{fold.temperature:.2f}",
        )
        for number, fold in enumerate(figures.folds, 1)
    )
    table = Table(
        "The models, one a fold",
        ("fold", "training images", "validation images", "held-out images", "accuracy", "temperature"),
        rows,
        (
            "Accuracy: on the held-out images, against the labels as they are. Temperature: divides the "
            "logits; fitted on the validation images, above 1 where the model was too sure.",
        ),
    )
    return Section("The models", (table,))


def _doubtful_sections(doubtful: Sequence[DoubtfulLabel]) -> list[Section]:
    rows = tuple(
        (one.id, one.label, one.suggested, f"{one.quality:.3f}", "yes" if one.flagged else "no")
        for one in doubtful[:LISTED]
    )
    columns = ("image", "label", "suggested", "quality", "doubtful")
    table = Table("The labels of the lowest quality", columns, rows, words=frozenset({1, 2, 4}))
    return [Section("The most doubtful labels", (table,))] if rows else []


def _use_section(figures: LabelNoise) -> Section:
    where = (
        "The manifest holds them as user.label_quality, user.label_suggested and user.label_issue, empty "
        "where an image was not scored; its hash is the same as before."
        if figures.columns_written
        else "The manifest was left as it is."
    )
    return Section(
        "What to do with them",
        (
            Text(
                "Quality: the probability that the models give to the given label. Every image, its quality "
                f"and the class suggested for it stand in {NAME}.csv. {where}"
            ),
            Text(
                "Look before you drop: what a model finds doubtful holds the wrong labels, but also the rare "
                "and the difficult faces that it would learn most from. A test split must not be cleaned by "
                "a model that is scored on it."
            ),
        ),
    )


def _made_section(figures: LabelNoise) -> Section:
    rows = (
        ("target", figures.target),
        ("rule", figures.rule),
        ("manifest hash", figures.manifest_hash),
        *figures.made.items(),
    )
    return Section("How it was made", (Table("The study", ("", "value"), rows, words=frozenset({1})),))


@dataclass(frozen=True)
class _Shown:
    """A face of the gallery."""

    png: str
    width: int
    height: int
    alt: str
    caption: str


def _shown(one: DoubtfulLabel, face: npt.NDArray[np.uint8]) -> _Shown:
    pixels = face[0] if face.shape[0] == 1 else face.transpose(1, 2, 0)
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    if picture.width > FACE:
        picture = picture.resize((FACE, FACE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return _Shown(
        png=f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}",
        width=picture.width,
        height=picture.height,
        alt=f"Face labelled {one.label}; {one.suggested} is suggested.",
        caption=f"{one.label} → {one.suggested}, {one.quality:.3f}; {one.id}",
    )


def _to_html(document: Document, gallery: Sequence[_Shown], beside: Sequence[str]) -> str:
    return render(
        "label_noise.html.jinja",
        styles=("label_noise.css",),
        document=document,
        gallery=gallery,
        beside=beside,
    )
