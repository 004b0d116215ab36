"""A trained network becomes one ONNX file that carries its card, checked against torch (section 3.2)."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mien.card import CARD_KEY, ModelCard
from mien.errors import InputError, MienError
from mien.files import replacing
from mien.preprocess import to_input
from mien.runtime.classifier import Classifier
from mien.runtime.model_file import INPUT_NAME, OUTPUT_NAME

OPSET = 20
"""Version of the standard ONNX operators; the first with Gelu, and read by onnxruntime since 1.17."""
LARGEST_DIFFERENCE = 1e-4
"""How far a logit of the exported file may lie from torch's."""

_EXPORTER_LOGGERS = ("torch.onnx", "torch.export", "torch._dynamo", "onnxscript", "onnx_ir")


def export_model(module: torch.nn.Module, card: ModelCard, path: Path) -> None:
    """Write `module` and its card as one ONNX file, all of it or nothing.

    Args:
        module: in eval mode; takes float32 [N,C,S,S] as `mien.preprocess.to_input` makes it and returns
            logits [N,K].
        card: says C, S and K; stored in the file's metadata.
        path: the file to write.

    Raises:
        InputError: the module is in training mode, or does not take and return what the card says.
        ImportError: onnx or onnxscript is missing; they come with ``mien[train]``.
    """
    import onnx

    if module.training:
        raise InputError("the module is in training mode; call .eval() before exporting it.")
    device = _device_of(module)
    example = torch.zeros(2, card.channels, card.size, card.size, device=device)
    _check_shapes(module, example, card)
    with _quiet_exporter():
        program = torch.onnx.export(
            module,
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=[INPUT_NAME],
            output_names=[OUTPUT_NAME],
            dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=65536)},),
            external_data=False,
            verbose=False,
        )
        if program is None:
            raise MienError("torch.onnx.export gave no program.")
        model = program.model_proto
    strip_origins(model)
    onnx.helper.set_model_props(model, {CARD_KEY: card.to_json()})
    onnx.checker.check_model(model, full_check=True)
    with replacing(path) as temporary:
        temporary.write_bytes(model.SerializeToString(deterministic=True))


def check_export(module: torch.nn.Module, path: Path, faces: NDArray[np.uint8]) -> float:
    """Compare the file's logits with torch's, through the runtime and the one preprocessing path.

    Args:
        module: the network that was exported, in eval mode.
        path: the exported file.
        faces: uint8 [N,H,W,C], C = 1 (grey) or 3 (RGB).

    Returns:
        The largest absolute difference of a logit.

    Raises:
        MienError: it is above `LARGEST_DIFFERENCE`, or not a number.
        InputError: the file cannot be used.
    """
    classifier = Classifier(path)
    card = classifier.card
    inputs = to_input(faces, size=card.size, channels=card.channels, mean=card.mean, std=card.std)
    return check_logits(module, inputs, classifier.logits(faces), path)


def check_logits(
    module: torch.nn.Module, inputs: NDArray[np.float32], logits: NDArray[np.float32], path: Path
) -> float:
    """Compare logits of an exported file with torch's.

    Args:
        module: the network that was exported, in eval mode.
        inputs: float32 [N,C,S,S], normalised.
        logits: float32 [N,K], what the file answered.
        path: the file, for the message.

    Returns:
        The largest absolute difference.

    Raises:
        MienError: it is above `LARGEST_DIFFERENCE`, or not a number.
    """
    with torch.inference_mode():
        expected = module(torch.from_numpy(inputs).to(_device_of(module))).float().cpu().numpy()
    difference = float(np.abs(logits - expected).max(initial=0.0))
    # Not "difference > limit", which NaN would pass.
    if not difference <= LARGEST_DIFFERENCE:
        raise MienError(
            f"{path}: its logits lie up to {difference:.2g} from torch's; {LARGEST_DIFFERENCE:g} is allowed."
        )
    return difference


def _device_of(module: torch.nn.Module) -> torch.device:
    tensor = next(module.parameters(), None)
    return torch.device("cpu") if tensor is None else tensor.device


def _check_shapes(module: torch.nn.Module, example: torch.Tensor, card: ModelCard) -> None:
    try:
        with torch.inference_mode():
            logits = module(example)
    except (RuntimeError, ValueError, AssertionError) as error:
        raise InputError(
            f"the network does not take {list(example.shape)}, as its card says: {error}"
        ) from error
    if tuple(logits.shape) != (len(example), len(card.labels)):
        raise InputError(
            f"the network gives {list(logits.shape)} for {len(example)} faces, but its card has "
            f"{len(card.labels)} labels."
        )


def strip_origins(model: Any) -> None:
    """Remove what the exporter notes in an `onnx.ModelProto` about its source: stack traces with this
    machine's paths."""
    model.doc_string = ""
    del model.metadata_props[:]
    graphs = [model.graph, *model.functions]
    for graph in graphs:
        graph.doc_string = ""
        del graph.metadata_props[:]
        values = [*graph.value_info]
        if graph is model.graph:
            values += [*graph.input, *graph.output, *graph.initializer]
        for item in [*graph.node, *values]:
            item.doc_string = ""
            del item.metadata_props[:]


@contextlib.contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Keep the exporter's progress lines, remarks and warnings about its own insides away from the user."""
    levels = {name: logging.getLogger(name).level for name in _EXPORTER_LOGGERS}
    for name in levels:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
