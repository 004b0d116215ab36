"""`mien export`: a run's checkpoint becomes one ONNX file that carries its card."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mien.card import ModelCard
from mien.errors import InputError
from mien.evaluate.abstention import fit_threshold
from mien.evaluate.split import read_evaluation, read_logits
from mien.export.onnx import check_export, export_model
from mien.files import replacing
from mien.models.saved import read_run
from mien.train.run import model_card


def export_run(run: Path, path: Path, *, precision: float | None = None) -> ModelCard:
    """Write the checkpoint that validation chose, with the temperature of the run's card.

    Args:
        run: a run's folder.
        path: the .onnx file to write.
        precision: share of right answers, above 0 and below 1, that the card's abstain threshold is to
            promise (see `mien.evaluate.abstention.fit_threshold`); none writes no threshold.

    Returns:
        The card inside the file; it holds the figures of every split that was evaluated.

    Raises:
        InputError: the run cannot be read, or has kept no weights, or no threshold promises the precision.
        MienError: the file's logits differ from torch's.
    """
    if path.suffix != ".onnx":
        raise InputError(f"{path}: the exported file's name must end in .onnx.")
    saved = read_run(run)
    figures = [entry for split in ("validation", "test") for entry in read_evaluation(run, split) or []]
    temperature = 1.0 if saved.card is None else saved.card.temperature
    card = model_card(saved, *figures, temperature=temperature)
    if precision is not None:
        kept = read_logits(run, "validation")
        threshold = abstain_threshold(run, kept["logits"], kept["labels"], precision, temperature)
        card = replace(card, abstain_threshold=threshold)
    model = saved.model()
    # Noise excites every channel; `reproduce` compares on faces as well.
    shape = (8, card.size, card.size, card.channels)
    noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    # Checked before it takes its place: a file that is refused must not replace a good one.
    with replacing(path) as temporary:
        export_model(model, card, temporary)
        check_export(model, temporary, noise)
    return card


def abstain_threshold(
    run: Path,
    logits: npt.NDArray[np.floating],
    labels: npt.NDArray[np.integer],
    precision: float,
    temperature: float,
) -> float:
    """The confidence from which validation promises a precision.

    Args:
        run: the run's folder, for the message.
        logits: float [N,K], of the validation images.
        labels: int [N].
        precision: share of right answers, above 0 and below 1.
        temperature: divides the logits.

    Raises:
        InputError: no confidence does, or the precision is out of its range.
    """
    threshold = fit_threshold(logits, labels, precision=precision, temperature=temperature)
    if threshold.value is None:
        accuracy = float((logits.argmax(1) == labels).mean())
        raise InputError(
            f"{run}: no abstain threshold promises a precision of {precision:g} by its {threshold.count} "
            f"validation images, of which {accuracy:.1%} are answered rightly; ask for less."
        )
    return threshold.value
