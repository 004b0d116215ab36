"""ONNX files read and written as bytes, since the light half does without the package onnx."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mien.faces.protobuf import read_fields, write_field

# Field numbers of onnx.proto.
_MODEL_GRAPH: Final = 7
_GRAPH_INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT, _GRAPH_VALUE_INFO = 5, 11, 12, 13
_TENSOR_NAME: Final = 8
_VALUE_NAME: Final = 1
_FLOAT: Final = 1
_ATTRIBUTE_INT, _ATTRIBUTE_STRING, _ATTRIBUTE_INTS = 2, 3, 7

IR_VERSION, OPSET = 7, 13
"""Of what `model` writes; onnxruntime reads them since 1.7."""

Size = int | str
"""A fixed length, or the name of a free one."""


def with_free_sizes(content: bytes, sizes: Mapping[str, Sequence[Size]]) -> bytes:
    """An ONNX model whose inputs and outputs have other sizes.

    Weights that an old file lists as inputs as well are no longer inputs: only then may onnxruntime fold
    them into each other.

    Args:
        content: the file; its inputs and outputs are float32.
        sizes: of each input and output by its name; what is not named keeps its sizes.

    Raises:
        ValueError: this is no ONNX file.
    """
    model = bytearray()
    for field in read_fields(content):
        if field.number == _MODEL_GRAPH:
            model += write_field(_MODEL_GRAPH, _graph_with_free_sizes(field.content, sizes))
        else:
            model += field.raw
    return bytes(model)


def _graph_with_free_sizes(graph: bytes, sizes: Mapping[str, Sequence[Size]]) -> bytes:
    fields = list(read_fields(graph))
    weights = {_name(f.content, _TENSOR_NAME) for f in fields if f.number == _GRAPH_INITIALIZER}
    written = bytearray()
    for field in fields:
        # What was inferred about the values between holds for the old sizes alone.
        if field.number == _GRAPH_VALUE_INFO:
            continue
        if field.number in (_GRAPH_INPUT, _GRAPH_OUTPUT):
            name = _name(field.content, _VALUE_NAME)
            if field.number == _GRAPH_INPUT and name in weights:
                continue
            if name in sizes:
                written += write_field(field.number, _value(name, sizes[name]))
                continue
        written += field.raw
    return bytes(written)


def _name(message: bytes, number: int) -> str:
    return next((f.content.decode() for f in read_fields(message) if f.number == number), "")


def model(
    nodes: Iterable[bytes],
    weights: Mapping[str, NDArray[np.float32]],
    *,
    inputs: Mapping[str, Sequence[Size]],
    outputs: Mapping[str, Sequence[Size]],
    producer: str,
) -> bytes:
    """An ONNX model of opset 13.

    Args:
        nodes: what `node` gave, each after those it takes from.
        weights: by name.
        inputs: sizes of each float32 input by its name.
        outputs: likewise.
        producer: what the file says of where it comes from.
    """
    graph = b"".join(write_field(1, entry) for entry in nodes) + write_field(2, "graph")
    graph += b"".join(write_field(_GRAPH_INITIALIZER, _tensor(*entry)) for entry in weights.items())
    graph += b"".join(write_field(_GRAPH_INPUT, _value(*entry)) for entry in inputs.items())
    graph += b"".join(write_field(_GRAPH_OUTPUT, _value(*entry)) for entry in outputs.items())
    opset = write_field(1, "") + write_field(2, OPSET)
    return (
        write_field(1, IR_VERSION)
        + write_field(2, producer)
        + write_field(_MODEL_GRAPH, graph)
        + write_field(8, opset)
    )


def node(kind: str, inputs: Sequence[str], output: str, **attributes: int | str | Sequence[int]) -> bytes:
    """An operation.

    Args:
        kind: such as ``"Conv"``.
        inputs: names of values and weights.
        output: name of the value that it gives.
        **attributes: as the operators' reference names them.
    """
    written = b"".join(write_field(1, name) for name in inputs) + write_field(2, output)
    written += write_field(4, kind)
    return written + b"".join(write_field(5, _attribute(*entry)) for entry in attributes.items())


def _attribute(name: str, value: int | str | Sequence[int]) -> bytes:
    written = write_field(1, name)
    if isinstance(value, int):
        return written + write_field(3, value) + write_field(20, _ATTRIBUTE_INT)
    if isinstance(value, str):
        return written + write_field(4, value) + write_field(20, _ATTRIBUTE_STRING)
    written += b"".join(write_field(8, entry) for entry in value)
    return written + write_field(20, _ATTRIBUTE_INTS)


def _tensor(name: str, values: NDArray[np.float32]) -> bytes:
    sizes = b"".join(write_field(1, size) for size in values.shape)
    content = np.ascontiguousarray(values, dtype="<f4").tobytes()
    return sizes + write_field(2, _FLOAT) + write_field(_TENSOR_NAME, name) + write_field(9, content)


def _value(name: str, sizes: Sequence[Size]) -> bytes:
    shape = b"".join(write_field(1, write_field(1 if isinstance(size, int) else 2, size)) for size in sizes)
    kind = write_field(1, write_field(1, _FLOAT) + write_field(2, shape))
    return write_field(_VALUE_NAME, name) + write_field(2, kind)
