"""ONNX files as bytes against the package onnx and against networks computed by numpy."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from mien.faces.onnx_bytes import model, node, with_free_sizes
from mien.faces.protobuf import read_fields, write_field


def run(content, **inputs):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(content, options).run(None, inputs)[0]


def values(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("value", [0, 1, 127, 128, 300, 2**40, b"", b"bytes", "text with ü"])
def test_a_field_is_read_back(value):
    other = write_field(1, "before")
    before, field = read_fields(other + write_field(200, value))
    assert before.raw == other
    assert field.number == 200
    assert field.value == (value.encode() if isinstance(value, str) else value)
    assert write_field(200, field.value) == field.raw


def test_floats_and_other_kinds_are_kept():
    (field,) = read_fields(write_field(3, 1.5))
    assert field.content == np.float32(1.5).tobytes()
    (double,) = read_fields(bytes([3 << 3 | 1]) + bytes(8))
    assert double.content == bytes(8)


@pytest.mark.parametrize("message", [b"\x0a", b"\x0a\x05ab", b"\x0b", b"\xff" * 11, b"\x09\x00"])
def test_what_is_no_message_is_refused(message):
    with pytest.raises(ValueError, match=r"cut off|unknown kind"):
        list(read_fields(message))


def old_file(side):
    """A convolution of fixed sizes whose weights are inputs as well, as exporters wrote it in 2019."""
    weights = values(0, 2, 3, 3, 3)
    shape = ["weights", TensorProto.FLOAT, list(weights.shape)]
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "weights"], ["middle"]), helper.make_node("Relu", ["middle"], ["y"])],
        "old",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [10, 3, side, side]),
            helper.make_tensor_value_info(*shape),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [10, 2, side - 2, side - 2])],
        [numpy_helper.from_array(weights, "weights")],
        value_info=[helper.make_tensor_value_info("middle", TensorProto.FLOAT, [10, 2, side - 2, side - 2])],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
    return made.SerializeToString()


def test_sizes_become_free_and_answers_stay():
    old = old_file(8)
    new = with_free_sizes(old, {"x": ("batch", 3, "height", "width"), "y": ("batch", 2, "rows", "columns")})
    onnx.checker.check_model(onnx.load_from_string(new), full_check=True)
    graph = onnx.load_from_string(new).graph
    assert [entry.name for entry in graph.input] == ["x"]
    assert not graph.value_info
    x = values(1, 10, 3, 8, 8)
    np.testing.assert_allclose(run(new, x=x), run(old, x=x), atol=1e-5)
    wide = values(2, 1, 3, 9, 20)
    larger = np.zeros((10, 3, 20, 20), np.float32)
    larger[:1, :, :9] = wide
    np.testing.assert_allclose(run(new, x=wide)[0], run(old_file(20), x=larger)[0, :, :7], atol=1e-5)


def test_sizes_that_are_not_named_stay():
    new = onnx.load_from_string(with_free_sizes(old_file(8), {"x": ("batch", 3, 8, 8)}))
    assert [size.dim_value for size in new.graph.output[0].type.tensor_type.shape.dim] == [10, 2, 6, 6]


def test_a_written_model_runs_and_passes_the_checker():
    weights = {"slope": values(0, 4, 1, 1), "matrix": values(1, 4 * 6 * 5, 3)}
    content = model(
        [
            node("PRelu", ["x", "slope"], "a"),
            node("Transpose", ["a"], "b", perm=[0, 2, 3, 1]),
            node("Flatten", ["b"], "c", axis=1),
            node("MatMul", ["c", "matrix"], "y"),
        ],
        weights,
        inputs={"x": ("batch", 4, 6, 5)},
        outputs={"y": ("batch", 3)},
        producer="test",
    )
    onnx.checker.check_model(onnx.load_from_string(content), full_check=True)
    x = values(2, 7, 4, 6, 5)
    activated = np.where(x > 0, x, x * weights["slope"])
    expected = activated.transpose(0, 2, 3, 1).reshape(7, -1) @ weights["matrix"]
    np.testing.assert_allclose(run(content, x=x), expected, rtol=1e-4, atol=1e-4)


def test_a_text_attribute_is_written():
    content = model(
        [node("Conv", ["x", "w"], "y", auto_pad="SAME_UPPER", strides=[2, 2], group=1)],
        {"w": values(0, 2, 1, 3, 3)},
        inputs={"x": (1, 1, 8, 8)},
        outputs={"y": (1, 2, 4, 4)},
        producer="test",
    )
    onnx.checker.check_model(onnx.load_from_string(content), full_check=True)
    assert run(content, x=values(1, 1, 1, 8, 8)).shape == (1, 2, 4, 4)
