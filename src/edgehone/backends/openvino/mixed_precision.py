"""Apply a mixed-precision assignment with nncf.compress_weights (worker side).

There is one pass per type; every matrix of another type is in that pass's ignored scope.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgehone.backends.openvino import ir
from edgehone.backends.sessions import WorkerJob
from edgehone.transform.precision import assign
from edgehone.transform.precision.assign import Assignment

# IR element types, as the options name them, and the NNCF modes that write them. The 8-bit passes run first, so that
# GPTQ compensates for errors in a model whose other matrices are already rounded.
_MODES = {"u8": "int8_asym", "i8": "int8_sym", "u4": "int4_asym", "i4": "int4_sym"}
# Index of the weight among an operation's inputs.
_WEIGHT = {"MatMul": 1, "Gather": 0}
# XML of the operations that decompress one matrix: 3,034 bytes per matrix in the demo model.
_NODES_BYTES = 3072


@dataclass(frozen=True)
class Matrix:
    """A weight of the graph: the operations that read it (several if it is shared), and its type with group size."""

    readers: tuple[str, ...]
    type: str


def assigned_types(job: WorkerJob, source: Path) -> Assignment:
    """Return the assignment that args["mix"] asks for, computed from inputs["sensitivity"] (see `assign.from_mix`)."""
    weights = assign.read(job.inputs["sensitivity"])
    rest = ir.size(source) - 2 * sum(weight.count for weight in weights)
    return assign.from_mix(job.args["mix"], job.inputs["sensitivity"], rest + _NODES_BYTES * len(weights))


def compress(model: Any, assignment: Assignment, calibration: Mapping[str, Any]) -> Any:
    """Compress each matrix to its assigned type; unassigned matrices get 8 bits.

    `calibration` holds the options that GPTQ needs: dataset and subset_size.
    """
    import nncf

    matrices = list(_matrices(model))
    wanted = {one: _type(one, assignment) for one in matrices}
    for kind in sorted(set(wanted.values()), key=lambda kind: (list(_MODES).index(kind.split()[0]), kind)):
        element, _, group = kind.partition(" g")
        others = [name for one in matrices if wanted[one] != kind for name in one.readers]
        options: dict[str, Any] = {"ignored_scope": nncf.IgnoredScope(names=others)} if others else {}
        if group:
            options |= {"group_size": int(group), "all_layers": True, "gptq": True, **calibration}
        model = nncf.compress_weights(model, mode=nncf.CompressWeightsMode(_MODES[element]), **options)
    return model


def facts(assignment: Assignment, folder: Path) -> dict[str, Any]:
    """Return the assignment as the fact `mix`, with the matrices that have another type in the saved IR."""
    import openvino as ov

    matrices = list(_matrices(ov.Core().read_model(folder / ir.MODEL)))
    written = {name: one.type for name in assignment.options for one in matrices if _reads(one, name)}
    return {"mix": {**assignment.facts(), "fallbacks": assign.fallbacks(assignment, written)}}


def _type(one: Matrix, assignment: Assignment) -> str:
    return next((option.type for name, option in assignment.options.items() if _reads(one, name)), "u8")


def _reads(one: Matrix, name: str) -> bool:
    """Return True if the checkpoint's module `name` reads the matrix.

    An operation's name starts with the name of its module.
    """
    return any(reader.partition("/")[0].removeprefix("__module.") == name for reader in one.readers)


def _matrices(model: Any) -> Iterator[Matrix]:
    """Yield each weight that operations read, once, with its stored type."""
    readers: dict[str, list[str]] = {}
    types: dict[str, str] = {}
    for node in model.get_ops():
        if node.get_type_name() not in _WEIGHT:
            continue
        constant = node.input_value(_WEIGHT[node.get_type_name()]).get_node()
        # Skip the decompression: conversion, subtraction of the zero point, multiplication by the scale, reshape.
        while constant.get_type_name() in ("Convert", "Subtract", "Multiply", "Reshape"):
            constant = constant.input_value(0).get_node()
        shape = list(constant.get_output_shape(0)) if constant.get_type_name() == "Constant" else []
        if sum(size > 1 for size in shape) > 1:
            name = constant.get_friendly_name()
            readers.setdefault(name, []).append(node.get_friendly_name())
            types[name] = _type_name(constant.get_output_element_type(0).get_type_name(), shape)
    yield from (Matrix(tuple(names), types[name]) for name, names in readers.items())


def _type_name(element: str, shape: Sequence[int]) -> str:
    """Return the element type, followed by the group size if rows are grouped (the constant then has rank 3)."""
    return f"{element} g{shape[-1]}" if len(shape) > 2 else element
