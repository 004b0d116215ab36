"""The reading of a TensorFlow.js graph, on a small one with every kind of node, against torch."""

import json

import numpy as np
import onnxruntime
import pytest
import torch
from torch.nn import functional

from mien.faces import mobileface
from mien.faces.mobileface import SIDE, onnx_of

SHAPES = {
    "minus": (1,),
    "times": (1,),
    "paddings": (4, 2),
    "conv/w": (3, 3, 3, 6),
    "depth/w": (3, 3, 6, 1),
    "slope0": (6,),
    "slope1": (6,),
    "shape": (2,),
    "kernel": (6 * 28 * 28, 8),
    "scale": (8,),
    "shift": (8,),
}


@pytest.fixture
def arrays():
    draw = np.random.default_rng(0)
    made = {name: draw.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}
    made["kernel"] /= 50
    made["paddings"] = np.array([[0, 0], [1, 1], [1, 1], [0, 0]], np.int32)
    made["shape"] = np.array([-1, 6 * 28 * 28], np.int32)
    return made


def entry(kind, name, inputs, **attributes):
    return {"op": kind, "name": name, "input": inputs, "attr": attributes}


def graph_of(arrays):
    twos = {"list": {"i": ["1", "2", "2", "1"]}}
    nodes = [
        *({"op": "Const", "name": name, "attr": {}} for name in arrays),
        {"op": "Placeholder", "name": "data", "attr": {}},
        entry("Sub", "sub", ["data", "minus"]),
        entry("Mul", "mul", ["sub", "times"]),
        entry("Pad", "pad", ["mul", "paddings"]),
        entry("Conv2D", "conv", ["pad", "conv/w"], strides=twos),
        entry("Maximum", "max", ["zero", "conv"]),
        entry("Minimum", "min", ["zero", "conv"]),
        entry("Mul", "mul_1", ["slope0", "min"]),
        entry("AddV2", "add", ["max", "mul_1"]),
        entry("Pad", "pad_1", ["add", "paddings"]),
        entry("DepthwiseConv2dNative", "depth", ["pad_1", "depth/w"], strides=twos),
        entry("Maximum", "max_1", ["zero", "depth"]),
        entry("Minimum", "min_1", ["zero", "depth"]),
        entry("Mul", "mul_2", ["slope1", "min_1"]),
        entry("AddV2", "add_1", ["max_1", "mul_2"]),
        entry("AddV2", "add_2", ["add_1", "depth"]),
        entry("Reshape", "flat", ["add_2", "shape"]),
        entry("MatMul", "dense", ["flat", "kernel"]),
        entry("Mul", "batchnorm0/mul_1", ["dense", "scale"]),
        entry("AddV2", "batchnorm0/add_1", ["batchnorm0/mul_1", "shift"]),
    ]
    manifest = [
        {"name": name, "shape": list(values.shape), "dtype": str(values.dtype)}
        for name, values in arrays.items()
    ]
    graph = {"modelTopology": {"node": nodes}, "weightsManifest": [{"weights": manifest}]}
    return json.dumps(graph).encode(), b"".join(values.tobytes() for values in arrays.values())


def by_torch(arrays, x):
    w = {name: torch.tensor(values) for name, values in arrays.items()}
    y = functional.conv2d(torch.tensor(x), w["conv/w"].permute(3, 2, 0, 1), stride=2, padding=1)
    y = functional.prelu(y, w["slope0"])
    y = functional.conv2d(y, w["depth/w"].permute(2, 3, 0, 1), stride=2, padding=1, groups=6)
    y = functional.prelu(y, w["slope1"]) + y
    return (y.permute(0, 2, 3, 1).flatten(1) @ w["kernel"] * w["scale"] + w["shift"]).numpy()


def test_the_network_computes_what_the_graph_says(arrays, monkeypatch):
    monkeypatch.setattr(mobileface, "_DIMENSIONS", 8)
    session = onnxruntime.InferenceSession(onnx_of(*graph_of(arrays)))
    x = np.random.default_rng(1).uniform(-1, 1, (3, 3, SIDE, SIDE)).astype(np.float32)
    answer = session.run(["embeddings"], {"faces": x})[0]
    np.testing.assert_allclose(answer, by_torch(arrays, x), rtol=1e-3, atol=1e-3)
