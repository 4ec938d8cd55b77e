"""Bodies of loops and branches that use a name for different values are given names of their own."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from edgehone.backends.olive import unique_names

FLOAT = TensorProto.FLOAT


def value(name: str, *shape: int) -> Any:
    return helper.make_tensor_value_info(name, FLOAT, shape)


def branch(factor: float) -> Any:
    """y = x * factor by way of `w` and `z`; x is the outer graph's."""
    weight = numpy_helper.from_array(np.array([factor], np.float32), "w")
    nodes = [helper.make_node("Mul", ["x", "w"], ["z"]), helper.make_node("Add", ["z", "z"], ["y"])]
    return helper.make_graph(nodes, "branch", [], [value("y", 2)], [weight])


def loop() -> Any:
    """Adds x three times to what is carried, which has the name `z` too."""
    same = helper.make_node("Identity", ["going"], ["on"])
    nodes = [same, helper.make_node("Add", ["z", "x"], ["w"])]
    inputs = [
        helper.make_tensor_value_info("at", TensorProto.INT64, []),
        helper.make_tensor_value_info("going", TensorProto.BOOL, []),
        value("z", 2),
    ]
    outputs = [helper.make_tensor_value_info("on", TensorProto.BOOL, []), value("w", 2)]
    return helper.make_graph(nodes, "loop", inputs, outputs)


def model() -> Any:
    nodes = [
        helper.make_node("If", ["sign"], ["chosen"], then_branch=branch(2), else_branch=branch(-3)),
        helper.make_node("Loop", ["times", "start", "chosen"], ["z"], body=loop()),
        helper.make_node("Identity", ["z"], ["y"]),
    ]
    inputs = [value("x", 2), helper.make_tensor_value_info("sign", TensorProto.BOOL, [])]
    times = numpy_helper.from_array(np.array(3, np.int64), "times")
    start = numpy_helper.from_array(np.array(True), "start")
    graph = helper.make_graph(nodes, "main", inputs, [value("y", 2)], [times, start])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def defined(graph: Any) -> list[str]:
    names = [*unique_names._defined(graph)]
    return names + [
        name for node in graph.node for body in unique_names._bodies(node) for name in defined(body)
    ]


def test_every_value_has_a_name_of_its_own_and_the_results_stay() -> None:
    before, after = model(), model()
    assert max(Counter(defined(before.graph)).values()) == 4
    unique_names.rename(after)
    onnx.checker.check_model(after, full_check=True)
    assert set(Counter(defined(after.graph)).values()) == {1}
    assert [one.name for one in (*after.graph.input, *after.graph.output)] == ["x", "sign", "y"]
    for sign in (True, False):
        feeds = {"x": np.array([1, -4], np.float32), "sign": np.array(sign)}
        results: list[Any] = [ReferenceEvaluator(each).run(None, feeds) for each in (before, after)]
        (one,), (other,) = results
        assert (one == other).all() and (one == feeds["x"] * (7 if sign else -3)).all()


def test_a_model_whose_names_differ_stays_as_it_is() -> None:
    once = model()
    unique_names.rename(once)
    twice = onnx.ModelProto.FromString(once.SerializeToString())
    unique_names.rename(twice)
    assert twice == once
