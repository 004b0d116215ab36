"""MODEL_CARD.md: what who is given a model must know, filled from its run.

The sections are those of Mitchell et al., "Model Cards for Model Reporting" (FAccT 2019), the front matter
that of the Hugging Face hub. What a run cannot know (who maintains the model, whom it is for) is not made up.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mien import __version__
from mien.card import USE_WARNING, ModelCard
from mien.files import write_text
from mien.report.class_sections import classes_section
from mien.report.confidence_sections import confidence_section
from mien.report.document import Section, Table, Text, block_lines
from mien.report.prior_section import prior_section
from mien.report.provenance import provenance_tables
from mien.report.robustness_section import robustness_section
from mien.report.runs import read_runs
from mien.report.table2_sections import figures_section
from mien.report.tables import Column, columns_of
from mien.report.wording import joined, percent

NAME = "MODEL_CARD.md"
PAPER = "Vats and Chadha, Facial Emotion Recognition"
_INTENDED = (
    "Research on facial expressions, and tools that sort, count or caption pictures by the look on a face, "
    "with a person who checks what matters."
)
_OUT_OF_SCOPE = (
    "Deciding about people: hiring, grading, policing, border control, credit, health. Telling what somebody "
    "feels, thinks, intends or hides. Faces of other kinds than those it was tested on: other ages, skin "
    "tones, cultures, cameras and poses may be answered worse, and nobody has measured it here."
)


def write_model_card(run: Path, out: Path, card: ModelCard, *, file: str) -> Path:
    """Write the card of an exported run.

    Args:
        run: the run's folder.
        out: the file to write.
        card: what is inside the exported file.
        file: the exported file's name, for the example.

    Returns:
        The file.

    Raises:
        InputError: the run cannot be read, or nothing was evaluated of it.
    """
    write_text(out, model_card_markdown(columns_of(read_runs([run])), card, file=file))
    return out


def model_card_markdown(columns: tuple[Column, ...], card: ModelCard, *, file: str) -> str:
    """The card as Markdown with YAML front matter.

    Args:
        columns: one column of one run.
        card: what is inside the exported file.
        file: the exported file's name, for the example.
    """
    (column,) = columns
    parts = [
        _front_matter(column, card),
        f"# {card.name}",
        *_section("Model details", _details(column, card)),
        *_section("Intended use", [_INTENDED]),
        *_section("Out of scope", [_OUT_OF_SCOPE, USE_WARNING]),
        *_section("How to use", [_example(file)]),
        *_section("Training data", _training_data(column, card)),
        *_section("Evaluation", [_evaluated(column)]),
        *_blocks(_file_section(card, file)),
        *_blocks(figures_section(columns)),
        *_blocks(classes_section(columns)),
        *_blocks(prior_section(column, card)),
        *_blocks(confidence_section(columns)),
        *_blocks(robustness_section(columns)),
        *_section("Limitations", _limitations(column, card)),
        *_section("How it was made", [_reproduce(column)]),
        *(line for table in provenance_tables(columns) for line in ["", *block_lines(table)]),
        *_section("Citation", [f"The method: {PAPER}. The code: mien {__version__}."]),
    ]
    return "\n".join(parts).rstrip() + "\n"


def _front_matter(column: Column, card: ModelCard) -> str:
    """JSON is YAML, so that no text of the data can break out of its line."""
    figures = column.figures["all"]
    run = column.runs[0]
    results = [
        {"type": "accuracy", "value": round(figures.accuracy, 4)},
        {"type": "recall", "name": "macro recall", "value": round(figures.macro_recall, 4)},
        {"type": "f1", "name": "weighted F1", "value": round(figures.f1, 4)},
    ]
    sets = list(column.record.get("sets", ()))
    values: dict[str, Any] = {
        "library_name": "mien",
        "pipeline_tag": "image-classification",
        "tags": ["facial-expression-recognition", "emotion-recognition", "swin-transformer", "onnx"],
        "license": "other" if card.licence else "unknown",
        "license_name": "research-use" if card.licence else "see-the-training-data",
        "datasets": sets,
        "metrics": ["accuracy", "recall", "f1"],
        "model-index": [
            {
                "name": card.name,
                "results": [
                    {
                        "task": {"type": "image-classification", "name": "Facial expression recognition"},
                        "dataset": {"type": "+".join(sets), "name": ", ".join(sets), "split": run.split},
                        "metrics": results,
                    }
                ],
            }
        ],
    }
    lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in values.items()]
    return "\n".join(["---", *lines, "---", ""])


def _section(heading: str, paragraphs: Sequence[str]) -> list[str]:
    return ["", f"## {heading}", *(line for text in paragraphs for line in ["", text])]


def _blocks(section: Section | None) -> list[str]:
    """The tables and sentences of a report's section, its drawings left out."""
    if section is None:
        return []
    kept = [block for block in section.blocks if isinstance(block, Text | Table)]
    return ["", f"### {section.heading}", *(line for block in kept for line in ["", *block_lines(block)])]


def _file_section(card: ModelCard, file: str) -> Section | None:
    """What was measured with the file itself, which rounds where the run did not; None where nothing was."""
    measured = [entry for entry in card.metrics if "macro_recall" in entry["values"]]
    if not measured:
        return None
    rows = [
        (
            entry["split"],
            f"{entry['labels']}",
            f"{entry['count']:,}",
            *(f"{100 * entry['values'][name]:.2f} %" for name in ("accuracy", "macro_recall")),
        )
        for entry in measured
    ]
    table = Table(
        f"{file}: what mien evaluate {file} --data DATA gives again",
        ("split", "classes", "images", "accuracy", "macro recall"),
        tuple(rows),
        notes=("The tables below are of the run in fp32.",),
    )
    return Section("This file", (table,))


def _details(column: Column, card: ModelCard) -> list[str]:
    channels = "grey" if card.channels == 1 else "RGB"
    parameters = "" if column.parameters is None else f"{column.parameters:,} parameters, "
    return [
        f"{column.variant}, {parameters}{card.size} by {card.size} px {channels} faces, "
        f"{len(card.labels)} classes: {joined(card.labels)}. It answers probabilities, at temperature "
        f"{card.temperature:.3f}{_abstains(card)}",
        f"Licence: {(card.licence or 'that of the training data; ask who gave you the model').rstrip('.')}.",
    ]


def _abstains(card: ModelCard) -> str:
    if card.abstain_threshold is None:
        return "; it never abstains."
    return f", and abstains below {percent(card.abstain_threshold)} confidence."


def _example(file: str) -> str:
    return "\n".join(
        [
            "```python",
            "import mien",
            "",
            f"model = mien.load({json.dumps(file)})",
            'for face in model.read("photo.jpg"):',
            "    print(face.box, face.emotion, face.confidence)",
            "```",
        ]
    )


def _training_data(column: Column, card: ModelCard) -> list[str]:
    record = column.record
    counts = record.get("training_counts", {})
    told = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    sets = ", ".join(record.get("sets", ())) or "unnamed sets"
    return [
        f"{record.get('training_images', 0):,} images of {sets}, target {record.get('target')}: {told}.",
        f"The manifest's hash is `{card.manifest_hash}`; `mien data prepare` writes the same from the same "
        "files.",
    ]


def _evaluated(column: Column) -> str:
    run = column.runs[0]
    figures = column.figures["all"]
    return (
        f"On {figures.count:,} {run.split} images of the same sets, by the rule {_rule(column)} for "
        "images on which people disagree. The epoch was chosen on the validation split."
    )


def _rule(column: Column) -> str:
    """How the one class of an image was found, such as `majority`."""
    return str(column.runs[0].figures["all"]["rule"])


def _limitations(column: Column, card: ModelCard) -> list[str]:
    weak = [
        f"{name} ({percent(values['recall'], 0)} of {values['count']:,.0f} found)"
        for name, values in column.figures["all"].per_class.items()
        if values["recall"] < 0.5
    ]
    lines = [
        "A label is what people saw in a picture, not what the person felt. Sets like these show posed or "
        "sought faces, mostly frontal."
    ]
    if weak:
        lines.append(f"Less than half is found of {joined(weak)}.")
    if card.template is None:
        lines.append("It is not known how the training faces were cropped; faces are cropped by their box.")
    if card.notes:
        lines.append(card.notes)
    return lines


def _reproduce(column: Column) -> str:
    return (
        "`mien train --config config.json --data DATA`, with the config that lies in the run's folder, on "
        f"data of the hash above, seed {column.runs[0].seed}."
    )
