"""`mien export --openvino`: the exported network as OpenVINO IR, checked against torch.

https://docs.openvino.ai: an .xml file with the network and a .bin file of the same name with the weights, in
fp32. The card is at ``model.get_rt_info(["mien", "card"])``. The input is what
`mien.preprocess.to_input` gives.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from mien.card import ModelCard
from mien.errors import InputError, MissingExtra
from mien.export.onnx import check_logits
from mien.files import replacing
from mien.models.saved import read_run
from mien.preprocess import to_input
from mien.runtime.classifier import Classifier
from mien.runtime.model_file import INPUT_NAME, OUTPUT_NAME

CARD_PLACE: Final = ("mien", "card")
"""Where in the network's runtime information its card lies."""


def export_openvino(run: Path, source: Path, path: Path) -> float:
    """Write a run's file as OpenVINO IR.

    Args:
        run: the run's folder.
        source: the fp32 file that `mien.export.run.export_run` wrote of it.
        path: the .xml file to write; the weights go beside it.

    Returns:
        The largest absolute difference of a logit from torch's.

    Raises:
        InputError: the path has another ending, or the run or the file cannot be read.
        MissingExtra: openvino is not installed.
        MienError: its logits differ from torch's; nothing is written.
    """
    if path.suffix != ".xml":
        raise InputError(f"{path}: the name of an OpenVINO network must end in .xml.")
    try:
        import openvino
    except ModuleNotFoundError:
        raise MissingExtra("exporting for OpenVINO", "openvino") from None
    card = Classifier(source).card
    with TemporaryDirectory(prefix="mien-openvino-") as folder:
        made = Path(folder) / path.name
        network = openvino.Core().read_model(source)
        network.set_rt_info(card.to_json(), list(CARD_PLACE))
        openvino.save_model(network, made, compress_to_fp16=False)
        difference = check_openvino(read_run(run).model(), made, card)
        # The network last: it is nothing without its weights.
        for suffix in (".bin", ".xml"):
            with replacing(path.with_suffix(suffix)) as temporary:
                temporary.write_bytes(made.with_suffix(suffix).read_bytes())
    return difference


def check_openvino(module: torch.nn.Module, path: Path, card: ModelCard) -> float:
    """Compare the network's logits with torch's, on noise, which excites every channel, in two batches.

    Args:
        module: the network that was exported, in eval mode.
        path: the .xml file.
        card: of the network.

    Returns:
        The largest absolute difference.

    Raises:
        MienError: it is above `mien.export.onnx.LARGEST_DIFFERENCE`, or not a number.
    """
    shape = (8, card.size, card.size, card.channels)
    noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    inputs = to_input(noise, size=card.size, channels=card.channels, mean=card.mean, std=card.std)
    network = _compiled(path)
    logits = np.concatenate([_answer(network, inputs[:1]), _answer(network, inputs[1:])])
    return check_logits(module, inputs, logits, path)


def _compiled(path: Path) -> Any:
    import openvino

    # Where a processor has bfloat16, OpenVINO takes it unless told otherwise.
    return openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})


def _answer(network: Any, inputs: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    logits: npt.NDArray[np.float32] = network({INPUT_NAME: inputs})[OUTPUT_NAME]
    return logits.copy()
