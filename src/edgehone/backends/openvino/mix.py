"""An assignment of precisions by nncf.compress_weights, one pass for each type, all else ignored (worker side)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgehone.backends.openvino import ir
from edgehone.backends.sessions import (
    WorkerJob,
)
from edgehone.transform.precision import assign
from edgehone.transform.precision.assign import Assignment

# Element types of an IR, as options name them, and NNCF's modes that write them. What has 8 bits comes first, so that
# GPTQ makes good what is lost in the rest on a model that is rounded already.
_MODES = {"u8": "int8_asym", "i8": "int8_sym", "u4": "int4_asym", "i4": "int4_sym"}
# Which input of an operation is a weight.
_WEIGHT = {"MatMul": 1, "Gather": 0}
# What decompressing a matrix takes in the IR, its operations' XML: 3,034 bytes a matrix in the demo model's.
_NODES_BYTES = 3072


@dataclass(frozen=True)
class Matrix:
    """A weight of the graph: the operations that read it (several where it is shared), its type and its group."""

    readers: tuple[str, ...]
    type: str


def assigned(job: WorkerJob, source: Path) -> Assignment:
    """A type for each matrix: args["mix"] as `assign.asked`, inputs["sensitivity"]."""
    weights = assign.read(job.inputs["sensitivity"])
    rest = ir.size(source) - 2 * sum(weight.count for weight in weights)
    return assign.asked(job.args["mix"], job.inputs["sensitivity"], rest + _NODES_BYTES * len(weights))


def compress(model: Any, found: Assignment, calibration: Mapping[str, Any]) -> Any:
    """The model with each matrix in its type; what is not assigned gets 8 bits.

    `calibration` are the options that GPTQ needs: dataset and subset_size.
    """
    import nncf

    matrices = list(_matrices(model))
    wanted = {one: _type(one, found) for one in matrices}
    for kind in sorted(set(wanted.values()), key=lambda kind: (list(_MODES).index(kind.split()[0]), kind)):
        element, _, group = kind.partition(" g")
        others = [name for one in matrices if wanted[one] != kind for name in one.readers]
        options: dict[str, Any] = {"ignored_scope": nncf.IgnoredScope(names=others)} if others else {}
        if group:
            options |= {"group_size": int(group), "all_layers": True, "gptq": True, **calibration}
        model = nncf.compress_weights(model, mode=nncf.CompressWeightsMode(_MODES[element]), **options)
    return model


def facts(found: Assignment, folder: Path) -> dict[str, Any]:
    """The assignment, and where the saved IR holds another type."""
    import openvino as ov

    matrices = list(_matrices(ov.Core().read_model(folder / ir.MODEL)))
    written = {name: one.type for name in found.options for one in matrices if _reads(one, name)}
    return {"mix": {**found.facts(), "fallbacks": assign.fallbacks(found, written)}}


def _type(one: Matrix, found: Assignment) -> str:
    return next((option.type for name, option in found.options.items() if _reads(one, name)), "u8")


def _reads(one: Matrix, name: str) -> bool:
    """Whether a module of the checkpoint is what reads the matrix: its name stands before the operation's own."""
    return any(reader.partition("/")[0].removeprefix("__module.") == name for reader in one.readers)


def _matrices(model: Any) -> Iterator[Matrix]:
    """The weights that operations read, each once, by what they are stored as."""
    readers: dict[str, list[str]] = {}
    types: dict[str, str] = {}
    for node in model.get_ops():
        if node.get_type_name() not in _WEIGHT:
            continue
        constant = node.input_value(_WEIGHT[node.get_type_name()]).get_node()
        # Decompression stands between: converted, less the zero point, times the scale, put into shape.
        while constant.get_type_name() in ("Convert", "Subtract", "Multiply", "Reshape"):
            constant = constant.input_value(0).get_node()
        shape = list(constant.get_output_shape(0)) if constant.get_type_name() == "Constant" else []
        if sum(size > 1 for size in shape) > 1:
            name = constant.get_friendly_name()
            readers.setdefault(name, []).append(node.get_friendly_name())
            types[name] = _named(constant.get_output_element_type(0).get_type_name(), shape)
    yield from (Matrix(tuple(names), types[name]) for name, names in readers.items())


def _named(element: str, shape: Sequence[int]) -> str:
    """The element type, and the group where rows are cut into some: then the weights are of rank 3."""
    return f"{element} g{shape[-1]}" if len(shape) > 2 else element
