"""float16 graphs are rewritten to float32 with the same inputs, outputs and values."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from edgehone.backends.olive.lift_float16 import lift
from edgehone.backends.shared import onnx_files

HALF = TensorProto.FLOAT16


def network(kind: int) -> onnx.ModelProto:
    """y = x @ w or x @ v by an If with weights in both branches, plus a constant, through casts."""
    rng = np.random.default_rng(0)
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    branches = []
    for name in ("w", "v"):
        weight = numpy_helper.from_array(rng.normal(size=(8, 4)).astype(dtype), name)
        product = helper.make_node("MatMul", ["x", name], [f"{name}x"])
        out = helper.make_tensor_value_info(f"{name}x", kind, ["N", 4])
        branches.append(helper.make_graph([product], name, [], [out], [weight]))
    constant = numpy_helper.from_array(np.array([0.5], dtype), "c")
    nodes = [
        helper.make_node("If", ["which"], ["z"], then_branch=branches[0], else_branch=branches[1]),
        helper.make_node("Constant", [], ["half"], value=constant),
        helper.make_node("Cast", ["z"], ["zc"], to=kind),
        helper.make_node("Add", ["zc", "half"], ["y"]),
    ]
    inputs = [
        helper.make_tensor_value_info("x", kind, ["N", 8]),
        helper.make_tensor_value_info("which", TensorProto.BOOL, []),
    ]
    graph = helper.make_graph(nodes, "g", inputs, [helper.make_tensor_value_info("y", kind, ["N", 4])])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("which", [True, False])
def test_values_and_types_of_inputs_and_outputs_stay(which: bool) -> None:
    model = network(HALF)
    feeds: Any = {
        "x": np.random.default_rng(1).normal(size=(3, 8)).astype(np.float16),
        "which": np.array(which),
    }
    before: Any = next(iter(ReferenceEvaluator(model).run(None, feeds)))
    assert lift(model)
    onnx.checker.check_model(model)
    after: Any = next(iter(ReferenceEvaluator(model).run(None, feeds)))
    assert after.dtype == before.dtype == np.float16
    np.testing.assert_allclose(after.astype(np.float32), before.astype(np.float32), rtol=5e-3, atol=5e-3)
    assert [one.name for one in model.graph.input] == ["x", "which"] and model.graph.output[0].name == "y"
    assert not any(
        tensor.data_type == HALF for graph in onnx_files.graphs(model) for tensor in graph.initializer
    )


def test_a_float32_graph_is_left_alone() -> None:
    model = network(TensorProto.FLOAT)
    before = model.SerializeToString()
    assert not lift(model)
    assert model.SerializeToString() == before
