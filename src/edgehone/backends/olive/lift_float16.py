"""Rewrite a float16 ONNX graph to compute in float32, with the original's inputs and outputs (worker side).

ONNX Runtime's quantizers take float32 weights only and leave float16 ones as they are, without an error.
"""

from __future__ import annotations

from typing import Any

from edgehone.backends.shared.onnx_files import all_nodes, all_tensors, graphs

# TensorProto.DataType
_FLOAT, _FLOAT16 = 1, 10
# Attributes that name the type of an operator's output.
_TYPE_ATTRIBUTES = ("to", "dtype")


def lift(model: Any) -> bool:
    """Convert every float16 weight, constant and cast to float32, in place; return False if there is none.

    Inputs and outputs stay float16: a cast follows each such input and precedes each such output.
    """
    has_float16 = any(tensor.data_type == _FLOAT16 for tensor in all_tensors(model))
    has_float16 |= any(_type_of(one) == _FLOAT16 for one in (*model.graph.input, *model.graph.output))
    if not has_float16:
        return False
    for tensor in all_tensors(model):
        _widen(tensor)
    for node in all_nodes(model):
        for attribute in node.attribute:
            if attribute.name in _TYPE_ATTRIBUTES and attribute.i == _FLOAT16:
                attribute.i = _FLOAT
    for graph in graphs(model):
        del graph.value_info[:]
        if graph is not model.graph:
            for one in (*graph.input, *graph.output):
                if _type_of(one) == _FLOAT16:
                    one.type.tensor_type.elem_type = _FLOAT
    _cast_ends(model)
    return True


def _cast_ends(model: Any) -> None:
    """Cast the graph's float16 inputs to float32, and what becomes its float16 outputs to float16."""
    from onnx import helper

    graph = model.graph
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [one.name for one in graph.input if _type_of(one) == _FLOAT16 and one.name not in weights]
    outputs = [one.name for one in graph.output if _type_of(one) == _FLOAT16]
    inner = {name: f"{name}/float32" for name in (*inputs, *outputs)}
    for node in all_nodes(model):
        for names in (node.input, node.output):
            for at, name in enumerate(names):
                names[at] = inner.get(name, name)
    for nested in graphs(model):
        if nested is not graph:
            for one in nested.output:
                one.name = inner.get(one.name, one.name)
    before = [helper.make_node("Cast", [name], [inner[name]], to=_FLOAT) for name in inputs]
    after = [helper.make_node("Cast", [inner[name]], [name], to=_FLOAT16) for name in outputs]
    nodes = [*before, *graph.node, *after]
    del graph.node[:]
    graph.node.extend(nodes)


def _widen(tensor: Any) -> None:
    import numpy as np
    from onnx import numpy_helper

    if tensor.data_type == _FLOAT16:
        wide = numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name)
        tensor.CopyFrom(wide)


def _type_of(one: Any) -> int:
    return int(one.type.tensor_type.elem_type)
