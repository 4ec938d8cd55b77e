"""The share of an artifact's weights that is quantized."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgehone.backends.base import Recipe
from edgehone.backends.shared import onnx_files, quantized_weights


def graph(nodes: list[Any], **weights: Any) -> onnx.ModelProto:
    initializers = [
        one if isinstance(one, onnx.TensorProto) else numpy_helper.from_array(one, name)
        for name, one in weights.items()
    ]
    return helper.make_model(helper.make_graph(nodes, "g", [], [], initializers))


def share(model: onnx.ModelProto) -> tuple[float, list[str]]:
    found = quantized_weights.facts(onnx_files.weights_of(model))
    return found["quantized_share"], found["unquantized"]


FLOAT = np.ones((8, 6), np.float32)
BYTES = np.ones((8, 6), np.int8)


def test_weights_of_dequantize_linear_and_integer_operators_count() -> None:
    model = graph(
        [
            helper.make_node("DequantizeLinear", ["a", "scale", "zero"], ["af"]),
            helper.make_node("MatMulInteger", ["x", "b", "", "zero"], ["y"]),
            helper.make_node("MatMul", ["y", "c"], ["z"]),
        ],
        a=BYTES,
        scale=np.ones((8, 6), np.float32),  # of blocks: a matrix, but no weight
        zero=np.zeros(6, np.int8),
        b=BYTES,
        c=FLOAT,
        bias=np.ones(6, np.float32),
        table=np.ones((50, 9), np.int64),
    )
    found, names = share(model)
    assert found == pytest.approx(2 / 3) and names == ["c"]


def test_packed_weights_count_by_weight_and_scales_do_not() -> None:
    node = helper.make_node(
        "MatMulNBits", ["x", "w", "s", "z"], ["y"], domain="com.microsoft", K=32, N=8, bits=4
    )
    model = graph(
        [node],
        w=np.zeros((8, 2, 8), np.uint8),  # two weights a byte
        s=np.ones((8, 2), np.float32),
        z=np.zeros((8, 2), np.uint8),
        head=np.ones((16, 16), np.float16),
    )
    assert share(model) == (0.5, ["head"])


def test_weights_in_branches_and_constants_are_found() -> None:
    branch = helper.make_graph([], "then", [], [], [numpy_helper.from_array(FLOAT, "inner")])
    constant = helper.make_node(
        "Constant", [], ["k"], value=numpy_helper.from_array(np.ones((9, 9), np.float32))
    )
    model = graph(
        [helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch), constant], q=BYTES
    )
    found, names = share(model)
    assert 0 < found < 1 and names == ["k", "inner", "inner"]
    int4 = helper.make_tensor("w", TensorProto.INT4, (4, 6), np.zeros(24, int))
    assert share(graph([helper.make_node("DequantizeLinear", ["w", "s"], ["f"])], w=int4)) == (1.0, [])
    assert share(graph([])) == (0.0, [])


@pytest.mark.parametrize(
    ("name", "quantizes"),
    [
        ("int8", True), ("int4_g128+gptq+h8", True), ("uint8_static_percentile", True), ("Q4_K_M", True),
        ("IQ4_XS", True), ("q8_g64", True), ("mix-4.8+gptq", True), ("mixed_4_6_g64", True), ("fp16", False),
        ("F16", False), ("f16", False), ("float", False), ("fp32_fused", False), ("original", False),
    ],
)  # fmt: skip
def test_names_that_promise_quantized_weights(name: str, quantizes: bool) -> None:
    assert Recipe("any", name).quantizes == quantizes
