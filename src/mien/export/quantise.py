"""An exported network in 8 bits, by onnxruntime's quantiser: smaller, quicker, and no longer exact.

Weights become int8 with one scale a channel in every method. They differ in what happens to the activations:

- `dynamic`: the inputs of MatMul and Gemm are scaled anew for each batch; convolutions stay in fp32, since
  onnxruntime has no quick dynamic one.
- `static`: the inputs of Conv, MatMul and Gemm have scales fixed on calibration faces (QDQ: QuantizeLinear
  and DequantizeLinear around each of them).
- `mixed`: convolutions as in `static`, MatMul and Gemm as in `dynamic`.

Weights take 7 of the 8 bits: on x86 processors without VNNI onnxruntime adds two products in 16 bits, where
two of 8 bits each do not fit, so that the accuracy measured here would not be theirs. In `dynamic` and
`mixed` a face's answer depends a little on the faces that share its batch.

A product of two activations, as in attention, stays in fp32 in every method. See Jacob et al., "Quantization
and training of neural networks for efficient integer-arithmetic-only inference", CVPR 2018, section 2.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from mien.card import CARD_KEY, ModelCard
from mien.export.onnx import strip_origins
from mien.files import replacing
from mien.preprocess import to_input
from mien.runtime.model_file import INPUT_NAME

Method: TypeAlias = Literal["dynamic", "static", "mixed"]
METHODS: Final[tuple[Method, ...]] = get_args(Method)
BATCH_INDEPENDENT: Final[tuple[Method, ...]] = ("static",)
"""Those by which a face's answer does not hang on the others in its batch; the scales of the rest do."""

_CONVOLUTIONS: Final = ("Conv",)
_PRODUCTS: Final = ("MatMul", "Gemm")
_CALIBRATION_BATCH: Final = 32


def quantise(
    source: Path, target: Path, method: Method, *, card: ModelCard, faces: npt.NDArray[np.uint8]
) -> None:
    """Write an exported file in 8 bits; the same input gives the same bytes.

    Args:
        source: what `mien.export.onnx.export_model` wrote.
        target: the file to write.
        method: see above.
        card: goes into the file; says how faces are prepared.
        faces: uint8 [N,H,W,C], N at least 1, to calibrate on; `dynamic` does not look at them.
    """
    import onnx

    with TemporaryDirectory(prefix="mien-int8-") as folder, _quiet_quantiser():
        model = _quantised(source, Path(folder), method, card, faces)
    strip_origins(model)
    used = {node.domain for node in model.graph.node} | {""}
    for entry in [entry for entry in model.opset_import if entry.domain not in used]:
        model.opset_import.remove(entry)
    onnx.helper.set_model_props(model, {CARD_KEY: card.to_json()})
    onnx.checker.check_model(model, full_check=True)
    with replacing(target) as temporary:
        temporary.write_bytes(model.SerializeToString(deterministic=True))


def put_card(path: Path, card: ModelCard) -> None:
    """Exchange the card inside a file."""
    import onnx

    model = onnx.load(path)
    onnx.helper.set_model_props(model, {CARD_KEY: card.to_json()})
    with replacing(path) as temporary:
        temporary.write_bytes(model.SerializeToString(deterministic=True))


def _quantised(
    source: Path, folder: Path, method: Method, card: ModelCard, faces: npt.NDArray[np.uint8]
) -> Any:
    """The model as an `onnx.ModelProto`; what lies between is written into `folder`."""
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_dynamic, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    model = folder / "prepared.onnx"
    quant_pre_process(source, model, skip_symbolic_shape=True)
    if method != "dynamic":
        before, model = model, folder / "static.onnx"
        quantize_static(
            before,
            model,
            _Calibration(card, faces),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=[*_CONVOLUTIONS, *(_PRODUCTS if method == "static" else ())],
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            extra_options={"MatMulConstBOnly": True},
        )
    if method != "static":
        before, model = model, folder / "dynamic.onnx"
        quantize_dynamic(
            before,
            model,
            op_types_to_quantize=list(_PRODUCTS),
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
        )
    return onnx.load(model)


class _Calibration:
    """What onnxruntime's quantiser takes calibration data from: its `CalibrationDataReader`, by its one
    method."""

    def __init__(self, card: ModelCard, faces: npt.NDArray[np.uint8]) -> None:
        parts: Sequence[npt.NDArray[np.uint8]] = [
            faces[start : start + _CALIBRATION_BATCH] for start in range(0, len(faces), _CALIBRATION_BATCH)
        ]
        self._inputs = (
            to_input(part, size=card.size, channels=card.channels, mean=card.mean, std=card.std)
            for part in parts
        )

    def get_next(self) -> dict[str, npt.NDArray[np.float32]] | None:
        """The next batch, None at the end."""
        batch = next(self._inputs, None)
        return None if batch is None else {INPUT_NAME: batch}


@contextlib.contextmanager
def _quiet_quantiser() -> Iterator[None]:
    """Keep the quantiser's advice away from the user.

    It logs by the functions of `logging`, which also give a root logger without a handler one for good.
    """
    root, handler, level = logging.getLogger(), logging.NullHandler(), logging.root.manager.disable
    root.addHandler(handler)
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(level)
        root.removeHandler(handler)
