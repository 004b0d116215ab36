"""`mien export --int8`: of the ways to quantise a run's file, the quickest that keeps its accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mien.card import ModelCard
from mien.data.prepared import Prepared, load_prepared
from mien.data.targets import Targets
from mien.errors import InputError, MienError
from mien.evaluate.calibration import fit_temperature
from mien.evaluate.run import faces_of
from mien.evaluate.split import read_evaluation, score_split, split_predictions, split_targets
from mien.export.comparison import BATCHES, ExportedFile, compare_files
from mien.export.quantise import BATCH_INDEPENDENT, METHODS, Method, put_card, quantise
from mien.export.run import abstain_threshold
from mien.files import replacing
from mien.models.saved import SavedRun, read_run
from mien.runtime.classifier import Classifier
from mien.train.run import model_card

LARGEST_LOSS: Final = 0.005
"""A file is kept only when it loses less of the validation accuracy, 0..1, than this."""
CALIBRATION_FACES: Final = 256
"""Validation faces that fix the scales of activations; their labels are not looked at."""


@dataclass(frozen=True)
class Int8Export:
    """What was measured, and what was kept."""

    card: ModelCard
    """Inside the file; its figures are those of the file itself."""
    method: Method
    """How the kept file was made."""
    loss: float
    """Validation accuracy lost against fp32, 0..1; below 0 where it gained."""
    files: tuple[ExportedFile, ...]
    """fp32, then every method."""


def export_int8(
    run: Path, source: Path, path: Path, *, data: Path | None = None, precision: float | None = None
) -> Int8Export:
    """Write a run's file in 8 bits.

    Every method of `mien.export.quantise` is tried. Of those that lose less than `LARGEST_LOSS`, the quickest
    here is kept, by the product of its speeds for the two batch sizes; one of `BATCH_INDEPENDENT` where there
    is any, so that a face is answered alike alone and among others. Temperature and abstain threshold are
    fitted to its own answers.

    Args:
        run: the run's folder.
        source: the fp32 file that `mien.export.run.export_run` wrote of it.
        path: the .onnx file to write.
        data: the prepared folder that the run was trained on, where it has moved.
        precision: as in `export_run`.

    Raises:
        InputError: the run or its data cannot be read, or no threshold promises the precision.
        MienError: every method loses too much; nothing is written.
    """
    if path.suffix != ".onnx":
        raise InputError(f"{path}: the exported file's name must end in .onnx.")
    saved = read_run(run)
    prepared = _own_data(saved, data)
    targets = split_targets(prepared, saved.config.training_set.target, "validation", saved.labels)
    faces = np.concatenate(list(faces_of(prepared, targets)))
    chosen = np.random.default_rng(0).permutation(len(faces))[:CALIBRATION_FACES]
    fp32 = Classifier(source)
    with TemporaryDirectory(prefix="mien-int8-") as folder:
        models = [fp32]
        for method in METHODS:
            made = Path(folder) / f"{method}.onnx"
            quantise(source, made, method, card=fp32.card, faces=faces[np.sort(chosen)])
            models.append(Classifier(made))
        answers = [model.logits(faces) for model in models]
        accuracies = [float((logits.argmax(1) == targets.labels).mean()) for logits in answers]
        names = ["fp32", *(f"int8 {method}" for method in METHODS)]
        files = compare_files(names, models, accuracies, faces)
        best = _quickest(files, source)
        loss = files[0].accuracy - files[best].accuracy
        card = _own_card(saved, prepared, models[best], answers[best], targets, precision)
        card = replace(
            card,
            metrics=(*card.metrics, _measured(files, best, targets)),
            notes=f"In 8 bits ({files[best].name}): it loses {100 * loss:.2f} points of the validation "
            f"accuracy of fp32, {files[0].accuracy:.4f}.",
        )
        put_card(models[best].path, card)
        with replacing(path) as temporary:
            temporary.write_bytes(models[best].path.read_bytes())
    return Int8Export(card, METHODS[best - 1], loss, files)


def _own_data(saved: SavedRun, data: Path | None) -> Prepared:
    prepared = load_prepared(data or saved.data)
    if prepared.manifest.hash() != saved.record["manifest_hash"]:
        raise InputError(
            f"{data or saved.data}: not the data that {saved.folder} was trained on, whose validation images "
            "decide whether an int8 file is good enough; give its folder with --data."
        )
    return prepared


def _quickest(files: Sequence[ExportedFile], source: Path) -> int:
    """The place of the file that is kept."""
    kept = [i for i, file in enumerate(files) if i and files[0].accuracy - file.accuracy < LARGEST_LOSS]
    if not kept:
        losses = ", ".join(f"{100 * (files[0].accuracy - f.accuracy):.2f} ({f.name})" for f in files[1:])
        raise MienError(
            f"{source}: in 8 bits it loses {losses} points of validation accuracy, and less than "
            f"{100 * LARGEST_LOSS:g} is allowed; use the fp32 file."
        )
    steady = [i for i in kept if METHODS[i - 1] in BATCH_INDEPENDENT]
    return max(steady or kept, key=lambda i: float(np.prod(files[i].speed)))


def _own_card(
    saved: SavedRun,
    prepared: Prepared,
    model: Classifier,
    logits: npt.NDArray[np.float32],
    targets: Targets,
    precision: float | None,
) -> ModelCard:
    """The card with the file's own figures, of the splits that were evaluated of the run."""
    figures = _figures(saved, prepared, targets, logits)
    if read_evaluation(saved.folder, "test") is not None:
        test = split_targets(prepared, saved.config.training_set.target, "test", saved.labels)
        parts = [model.logits(faces) for faces in faces_of(prepared, test)]
        figures += _figures(saved, prepared, test, np.concatenate(parts))
    temperature = fit_temperature(logits, targets.labels).value
    card = model_card(saved, *figures, temperature=temperature)
    if precision is None:
        return card
    threshold = abstain_threshold(saved.folder, logits, targets.labels, precision, temperature)
    return replace(card, abstain_threshold=threshold)


def _figures(
    saved: SavedRun, prepared: Prepared, targets: Targets, logits: npt.NDArray[np.float32]
) -> list[dict[str, Any]]:
    predictions = split_predictions(targets, logits)
    views = ["all", *saved.record["views"]]
    return [score_split(predictions, targets, prepared.manifest.hash(), view=view) for view in views]


def _measured(files: Sequence[ExportedFile], best: int, targets: Targets) -> dict[str, Any]:
    """The row of the comparison that the card keeps."""
    fp32, own = files[0], files[best]
    speeds = {f"speed_batch_{batch}": round(own.speed[i], 2) for i, batch in enumerate(BATCHES)}
    return {
        "split": "validation",
        "rule": targets.rule,
        "labels": "all",
        "count": len(targets),
        "file": own.name,
        "compared_with": fp32.name,
        "values": {
            "accuracy": own.accuracy,
            "accuracy_of_fp32": fp32.accuracy,
            "accuracy_lost": fp32.accuracy - own.accuracy,
            "megabytes": round(own.bytes / 1e6, 2),
            "megabytes_of_fp32": round(fp32.bytes / 1e6, 2),
            **speeds,
        },
    }
