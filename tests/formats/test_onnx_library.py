"""The ONNX parser against the onnx library, on the same files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from edgehone.core.errors import ModelError
from edgehone.formats.onnx import Model, read_model
from edgehone.formats.onnx_data import TYPES

SETTINGS = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None
)
NUMBERS = sorted(set(TensorProto.DataType.values()) - {TensorProto.UNDEFINED, TensorProto.STRING})
NAMES = st.text("abcé/_.0", min_size=1, max_size=10)
DIMS = st.lists(st.integers(0, 4), max_size=4)
SHAPES = st.none() | st.lists(st.integers(1, 9) | st.sampled_from(["batch", None]), max_size=4)
PORTS = st.dictionaries(NAMES, st.tuples(st.sampled_from(NUMBERS), SHAPES), min_size=1, max_size=3)
NODES = st.lists(
    st.tuples(
        st.sampled_from(["Add", "Conv", "If", "Odd"]), st.sampled_from(["", "my.ops", "com.microsoft"])
    ),
    max_size=4,
)


def stored_tensor(name: str, number: int, dims: list[int], typed: bool) -> TensorProto:
    """A tensor of ones, as raw bytes or in the typed field of its data type."""
    count = int(np.prod(dims))
    if typed and number in (TensorProto.FLOAT, TensorProto.INT64, TensorProto.DOUBLE, TensorProto.INT4):
        return helper.make_tensor(name, number, dims, [1] * count)
    size = -(-count * TYPES[number].bits // 8)
    return helper.make_tensor(name, number, dims, bytes(size), raw=True)


@st.composite
def models(draw: st.DrawFn) -> onnx.ModelProto:
    stored = draw(
        st.dictionaries(NAMES, st.tuples(st.sampled_from(NUMBERS), DIMS, st.booleans()), max_size=4)
    )
    inputs, outputs = (
        [helper.make_tensor_value_info(name, number, shape) for name, (number, shape) in draw(PORTS).items()]
        for _ in range(2)
    )
    inner = helper.make_graph([helper.make_node("Relu", ["a"], ["b"])], "inner", [], [])
    nodes = []
    for at, (operator, domain) in enumerate(draw(NODES)):
        attributes: dict[str, Any] = {"then_branch": inner} if operator == "If" else {}
        if operator == "Conv":
            attributes = {"value": helper.make_tensor("c", TensorProto.FLOAT, [2], [1.0, 2.0])}
        nodes.append(helper.make_node(operator, ["x"], [f"y{at}"], domain=domain, **attributes))
    initializers = [stored_tensor(name, *rest) for name, rest in stored.items()]
    graph = helper.make_graph(nodes, draw(NAMES), inputs, outputs, initializers)
    opsets = [("", draw(st.integers(7, 25))), ("my.ops", 1)]
    return helper.make_model(
        graph,
        opset_imports=[onnx.OperatorSetIdProto(domain=name, version=number) for name, number in opsets],
        ir_version=draw(st.integers(3, 13)),
        producer_name=draw(NAMES),
    )


def shape_of(value: onnx.ValueInfoProto) -> tuple[int | str | None, ...]:
    dims = value.type.tensor_type.shape.dim
    return tuple(dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None for dim in dims)


def check_alike(ours: Model, theirs: onnx.ModelProto) -> None:
    graph = theirs.graph
    assert (ours.ir_version, ours.producer, ours.name) == (
        theirs.ir_version,
        theirs.producer_name,
        graph.name,
    )
    assert ours.opsets == {one.domain or "ai.onnx": one.version for one in theirs.opset_import}
    for tensors, values in ((ours.inputs, graph.input), (ours.outputs, graph.output)):
        expected = [(v.name, TYPES[v.type.tensor_type.elem_type].numpy, shape_of(v)) for v in values]
        assert [(one.name, one.dtype, one.shape) for one in tensors] == expected
    assert ours.unranked == [
        value.name for value in (*graph.input, *graph.output) if not value.type.tensor_type.HasField("shape")
    ]
    assert stored(ours) == library_stored(theirs)


def stored(ours: Model) -> dict[str, tuple[str, tuple[int | str | None, ...]]]:
    return {name: (one.dtype, one.shape) for name, one in ours.initializers.items()}


def library_stored(theirs: onnx.ModelProto) -> dict[str, tuple[str, tuple[int | str | None, ...]]]:
    return {text(one.name): (TYPES[one.data_type].numpy, tuple(one.dims)) for one in theirs.graph.initializer}


def text(name: str | bytes) -> str:
    """The library returns bytes for names that are not UTF-8; edgehone escapes them."""
    return name.decode("utf-8", "backslashreplace") if isinstance(name, bytes) else name


@SETTINGS
@given(models())
def test_the_structure_agrees(tmp_path: Path, model: onnx.ModelProto) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(model, path)
    ours = read_model(path)
    check_alike(ours, onnx.load(path))
    expected = {(node.domain or "ai.onnx", node.op_type) for node in model.graph.node}
    if any(node.op_type == "If" for node in model.graph.node):
        expected.add(("ai.onnx", "Relu"))
    assert ours.operators == expected


@SETTINGS
@given(models(), st.booleans())
def test_external_data_agrees(tmp_path: Path, model: onnx.ModelProto, one_file: bool) -> None:
    for old in tmp_path.iterdir():
        old.unlink()
    for at, tensor in enumerate(model.graph.initializer):
        tensor.name = f"t{at}"  # without one file for all, the library names files by tensors
    path = tmp_path / "m.onnx"
    onnx.save_model(
        model, path, save_as_external_data=True, all_tensors_to_one_file=one_file, location="m.data",
        size_threshold=0,
    )  # fmt: skip
    ours, theirs = read_model(path), onnx.load(path, load_external_data=False)
    check_alike(ours, theirs)
    external = [one for one in theirs.graph.initializer if one.data_location == TensorProto.EXTERNAL]
    locations = {pair.value for one in external for pair in one.external_data if pair.key == "location"}
    assert ours.files == {location: (tmp_path / location).stat().st_size for location in locations}


@SETTINGS
@given(
    models(),
    st.lists(st.tuples(st.integers(0), st.integers(0, 255)), min_size=1, max_size=4),
    st.sampled_from([0, 0, 0, 1, 30]),
)
def test_a_mutated_file_is_refused_or_read_alike(
    tmp_path: Path, model: onnx.ModelProto, edits: list[tuple[int, int]], cut: int
) -> None:
    path = tmp_path / "m.onnx"
    content = bytearray(model.SerializeToString())
    for position, byte in edits:
        content[position % len(content)] = byte
    path.write_bytes(content[: len(content) - cut])
    try:
        ours = read_model(path)
    except ModelError as error:
        assert str(path) in error.message
        return
    theirs = onnx.load_model_from_string(path.read_bytes())
    assert stored(ours) == library_stored(theirs)
