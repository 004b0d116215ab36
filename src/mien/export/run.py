"""`mien export`: a run's checkpoint becomes one ONNX file that carries its card."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mien.card import ModelCard
from mien.errors import InputError
from mien.evaluate.split import read_evaluation
from mien.export.onnx import check_export, export_model
from mien.files import replacing
from mien.models.saved import read_run
from mien.train.run import model_card


def export_run(run: Path, path: Path) -> ModelCard:
    """Write the checkpoint that validation chose.

    Args:
        run: a run's folder.
        path: the .onnx file to write.

    Returns:
        The card inside the file; it holds the figures of every split that was evaluated.

    Raises:
        InputError: the run cannot be read, or has kept no weights.
        MienError: the file's logits differ from torch's.
    """
    if path.suffix != ".onnx":
        raise InputError(f"{path}: the exported file's name must end in .onnx.")
    saved = read_run(run)
    figures = [entry for split in ("validation", "test") for entry in read_evaluation(run, split) or []]
    card = model_card(saved, *figures)
    model = saved.model()
    # Noise excites every channel; `reproduce` compares on faces as well.
    shape = (8, card.size, card.size, card.channels)
    noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    # Checked before it takes its place: a file that is refused must not replace a good one.
    with replacing(path) as temporary:
        export_model(model, card, temporary)
        check_export(model, temporary, noise)
    return card
