"""The files of an ONNX graph: find and check them, and report what they contain.

All of it runs in a worker, with the onnx package of its environment.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from edgehone.backends.shared import quantized_weights
from edgehone.core.errors import ModelError

# Domains whose operators are part of ONNX Runtime.
BUILT_IN = frozenset(
    {"", "ai.onnx", "ai.onnx.ml", "com.microsoft", "com.microsoft.nchwc", "ai.onnx.preview.training"}
)
# Operators that compute on quantized tensors, or dequantize them internally.
_INTEGER = (
    "MatMulInteger", "ConvInteger", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM", "MatMulIntegerToFloat",
    "QAttention", "QGemm", "QEmbedLayerNormalization", "MatMulNBits", "GatherBlockQuantized",
)  # fmt: skip
# TensorProto.DataType of float weights (float, float16, double, bfloat16), and of those with 8 bits or fewer.
_FLOATS = (1, 10, 11, 16)
_SHORT = (2, 3, 17, 18, 19, 20, 21, 22, 23, 25, 26)
# The first input that is a scale, zero point or the like, by operator.
_SCALES_FROM = {
    "DequantizeLinear": 1, "QuantizeLinear": 1, "MatMulNBits": 2, "GatherBlockQuantized": 2, "MatMulInteger": 2,
    "MatMulIntegerToFloat": 2, "DynamicQuantizeMatMul": 2, "ConvInteger": 2,
}  # fmt: skip


def find(path: Path) -> Path:
    """Return the .onnx file: `path`, or the only one in that folder. Raises ModelError for none or several."""
    if path.is_file():
        return path
    graphs = sorted(path.glob("*.onnx")) if path.is_dir() else []
    if len(graphs) == 1:
        return graphs[0]
    if graphs:
        names = ", ".join(one.name for one in graphs[:5])
        raise ModelError(
            f"{path} has {len(graphs)} ONNX files: {names}", hint=f"give one of them: {graphs[0]}"
        )
    raise ModelError(f"there is no .onnx file at {path}", hint=f"list the folder: ls {path.parent}")


def read(path: Path) -> Any:
    """Return the ModelProto of a file, without external data. Raises ModelError, with the cause, if it is not ONNX."""
    import onnx

    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:
        raise ModelError(
            f"{path} cannot be read as ONNX: {error}", hint="export or download it again"
        ) from error
    if not model.graph.node:
        raise ModelError(
            f"{path} cannot be read as ONNX: it has no operators", hint="export or download it again"
        )
    return model


def check(path: Path) -> Any:
    """Read a model and check its operators and data files.

    Raises ModelError for operators that ONNX Runtime does not have, and for missing data files. The opset is checked by
    edgehone.model.onnx, which reads every model first.
    """
    model = read(path)
    if unknown := sorted(set(_unknown(model))):
        raise ModelError(
            f"{path.name} has operators that ONNX Runtime does not have: {', '.join(unknown)}",
            hint="export it with standard operators only",
        )
    missing = [name for name in data_files(model, path.name) if not (path.parent / name).is_file()]
    if missing:
        raise ModelError(
            f"files with weights of {path.name} are missing: {', '.join(missing)}",
            hint=f"put them into {path.parent}",
        )
    return model


def opset(model: Any) -> int:
    """Return the version of the standard operator set; 1 if the model imports none."""
    return max((int(one.version) for one in model.opset_import if one.domain in ("", "ai.onnx")), default=1)


def graph_inputs(graph: Any) -> list[Any]:
    """Return the inputs that must be fed: without the weights that are listed as inputs too."""
    weights = {tensor.name for tensor in graph.initializer}
    weights |= {tensor.values.name for tensor in graph.sparse_initializer}
    return [one for one in graph.input if one.name not in weights]


def data_files(model: Any, name: str) -> list[str]:
    """Return the sorted relative names of the external data files. Raises ModelError for one outside the folder."""
    found = set()
    for tensor in all_tensors(model):
        entries = {entry.key: entry.value for entry in tensor.external_data}
        if "location" in entries:
            location = PurePosixPath(entries["location"])
            if location.is_absolute() or ".." in location.parts:
                raise ModelError(
                    f"{name} has weights outside its folder: {location}",
                    hint="save it again with relative names",
                )
            found.add(str(location))
    return sorted(found)


def facts(path: Path) -> dict[str, Any]:
    """Return the counts `operators`, `quantized` and `weight_types`, the facts of `quantized_weights`, and the `opset`
    and `bytes` of a graph."""
    import onnx

    model = read(path)
    nodes = list(all_nodes(model))
    weights = Counter(
        onnx.TensorProto.DataType.Name(tensor.data_type).lower()
        for graph in graphs(model)
        for tensor in graph.initializer
        if quantized_weights.is_matrix(tensor.dims)
    )
    files = [path, *(path.parent / name for name in data_files(model, path.name))]
    return {
        "operators": dict(Counter(node.op_type for node in nodes)),
        "quantized": dict(quantized(nodes)),
        "weight_types": dict(weights),
        **quantized_weights.facts(weights_of(model)),
        "opset": opset(model),
        "bytes": sum(file.stat().st_size for file in files),
    }


def quantized(nodes: list[Any]) -> Counter[str]:
    """Count operators on quantized tensors by type: integer ones, and those whose inputs are all dequantized."""
    dequantized = {name for node in nodes if node.op_type == "DequantizeLinear" for name in node.output}
    found: Counter[str] = Counter()
    for node in nodes:
        fed = (
            node.op_type != "QuantizeLinear" and {*node.input} - {""} and {*node.input} - {""} <= dequantized
        )
        if fed or node.op_type in _INTEGER or node.op_type.startswith("QLinear"):
            found[node.op_type] += 1
    return found


def weights_of(model: Any) -> Iterator[tuple[str, int, bool]]:
    """Yield name, number of elements and whether it is quantized of every weight matrix, in all nested graphs too."""
    scales, packed = _helpers(model)
    for name, tensor in _named_tensors(model):
        if name in scales or not quantized_weights.is_matrix(tensor.dims):
            continue
        if tensor.data_type in _FLOATS or tensor.data_type in _SHORT:
            quantized = tensor.data_type in _SHORT
            yield name, math.prod(tensor.dims) * (packed.get(name, 1) if quantized else 1), quantized


def _helpers(model: Any) -> tuple[set[str], dict[str, int]]:
    """Return the names of scales and zero points, and how many weights a byte of each packed tensor holds."""
    scales: set[str] = set()
    packed: dict[str, int] = {}
    for node in all_nodes(model):
        first = _SCALES_FROM.get(node.op_type)
        if first is None:
            continue
        scales.update(node.input[first:])
        bits = next((int(one.i) for one in node.attribute if one.name == "bits"), 8)
        packed.update(dict.fromkeys(node.input[:first], 8 // bits))
    return scales, packed


def _named_tensors(model: Any) -> Iterator[tuple[str, Any]]:
    """Yield the initializers and the values of Constant nodes with their names."""
    for graph in graphs(model):
        for tensor in graph.initializer:
            yield tensor.name, tensor
    for node in all_nodes(model):
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.HasField("t"):
                yield node.output[0], attribute.t


def _unknown(model: Any) -> Iterator[str]:
    import onnx

    versions = {one.domain: int(one.version) for one in model.opset_import}
    model_functions = {(one.domain, one.name) for one in model.functions}
    for node in all_nodes(model):
        domain = "" if node.domain == "ai.onnx" else node.domain
        if (node.domain, node.op_type) in model_functions:
            continue
        if domain not in BUILT_IN:
            yield f"{domain}::{node.op_type}"
        elif domain == "":
            try:
                onnx.defs.get_schema(node.op_type, versions.get(domain, versions.get("ai.onnx", 1)), "")
            except onnx.defs.SchemaError:
                yield f"{node.op_type} (opset {opset(model)})"


def graphs(model: Any) -> Iterator[Any]:
    """Yield the graph and all graphs nested in its nodes (bodies of If, Loop, …)."""
    pending = [model.graph]
    while pending:
        graph = pending.pop()
        yield graph
        for node in graph.node:
            for attribute in node.attribute:
                pending += [attribute.g] if attribute.HasField("g") else []
                pending += attribute.graphs


def all_nodes(model: Any) -> Iterator[Any]:
    """Yield the nodes of all graphs, those inside of nodes too, and of functions."""
    for graph in graphs(model):
        yield from graph.node
    for function in model.functions:
        yield from function.node


def all_tensors(model: Any) -> Iterator[Any]:
    """Yield the constant tensors: initializers, and those that are attributes of nodes."""
    for graph in graphs(model):
        yield from graph.initializer
    for node in all_nodes(model):
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
