"""Read the program in a .pt2 file, the archive that torch.export.save writes: its JSON members, never its pickles.

The layout is that of torch 2.13 (torch/export/pt2_archive, torch/_export/serde/schema.py). The flat layout that torch
wrote before 2.8, whose weights are pickled, is read as far as its JSON goes.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from edgehone.formats.graph import Tensor
from edgehone.formats.pt2 import OLD_PROGRAM, code_findings, payloads, program_name, shorten
from edgehone.formats.zip_archive import Archive

SCHEMA = 8  # the major version of the schema, torch 2.5 to 2.13
_MAX_RANK = 64
_DEPTH_LIMIT = 64  # nesting of graphs within graphs
_EXPRESSION_LIMIT = 2000  # characters
_FINDINGS_LIMIT = 3

# ScalarType of the schema: name in numpy, name in safetensors, bytes per element.
TYPES: Mapping[int, tuple[str, str, int]] = {
    1: ("uint8", "U8", 1), 2: ("int8", "I8", 1), 3: ("int16", "I16", 2), 4: ("int32", "I32", 4),
    5: ("int64", "I64", 8), 6: ("float16", "F16", 2), 7: ("float32", "F32", 4), 8: ("float64", "F64", 8),
    9: ("complex32", "C32", 4), 10: ("complex64", "C64", 8), 11: ("complex128", "C128", 16),
    12: ("bool", "BOOL", 1), 13: ("bfloat16", "BF16", 2), 28: ("uint16", "U16", 2),
    29: ("float8_e4m3fn", "F8_E4M3", 1), 30: ("float8_e5m2", "F8_E5M2", 1),
    31: ("float8_e4m3fnuz", "F8_E4M3FNUZ", 1), 32: ("float8_e5m2fnuz", "F8_E5M2FNUZ", 1),
    33: ("float8_e8m0fnu", "F8_E8M0", 1), 34: ("uint32", "U32", 4), 35: ("uint64", "U64", 8),
}  # fmt: skip


@dataclass(frozen=True)
class Program:
    """What the JSON members of an exported program state.

    `dtypes`: elements by stored dtype, tied weights counted once. `other_inputs` and `other_outputs`: how many are
    not tensors. `mutations`: how many buffers, parameters or inputs a run changes. `operators`: "namespace::name" of
    every node, sorted. `ranges`: smallest and largest value (None: unbounded) of each free size. `pickled`: names of
    weights that only unpickling gives. `code`: what could run code when torch loads the file, at most the first 3.
    """

    schema: str
    torch_version: str
    inputs: tuple[Tensor, ...]
    other_inputs: int
    outputs: tuple[Tensor, ...]
    other_outputs: int
    mutations: int
    operators: tuple[str, ...]
    ranges: Mapping[str, tuple[Any, Any]]
    dtypes: Mapping[str, int]
    pickled: tuple[str, ...]
    code: tuple[str, ...]


def read_program(path: Path) -> Program:
    """Read the exported program in `path`.

    Raises ModelError if the archive is damaged, compiled (AOTInductor) or TorchScript, holds several programs, or has
    another schema.
    """
    archive = Archive(path)
    name = program_name(archive)
    data = archive.json(name)
    return _Reader(archive, name, data).program()


class _Reader:
    """Reads the JSON of one program. Methods raise ModelError if a field is not what the schema says."""

    def __init__(self, archive: Archive, name: str, data: Mapping[str, Any]) -> None:
        self.archive = archive
        self.name = name
        self.data = data
        module = self._object(data, "graph_module")
        self.graph = self._object(module, "graph")
        self.values = self._object(self.graph, "tensor_values")
        self.signature = self._object(module, "signature")

    def program(self) -> Program:
        version = self._object(self.data, "schema_version")
        if version.get("major") != SCHEMA:
            raise self.archive.invalid(
                f"its schema version is {version.get('major')!r}; only {SCHEMA} is supported"
            )
        dtypes, pickled = self._pickled_weights() if self.name == OLD_PROGRAM else self._weights()
        input_specs, output_specs = self._specs("input_specs"), self._specs("output_specs")
        user_inputs = [spec["user_input"] for spec in input_specs if "user_input" in spec]
        inputs, other_inputs = self._tensors(user_inputs)
        outputs, other_outputs = self._tensors(
            [spec["user_output"] for spec in output_specs if "user_output" in spec]
        )
        torch_version = self.data.get("torch_version")
        return Program(
            schema=f"{version.get('major')}.{version.get('minor')}",
            torch_version=torch_version if isinstance(torch_version, str) else "",
            inputs=inputs,
            other_inputs=other_inputs + sum("constant_input" in spec for spec in input_specs),
            outputs=outputs,
            other_outputs=other_outputs,
            mutations=sum("user_output" not in spec and "token" not in spec for spec in output_specs),
            operators=tuple(sorted({_operator(target) for target in self._targets(self.graph, 0)})),
            ranges=self._ranges(),
            dtypes=dict(sorted(dtypes.items())),
            pickled=tuple(sorted(pickled)),
            code=tuple(islice(code_findings(self.archive, self.name, self.data), _FINDINGS_LIMIT)),
        )

    def _ranges(self) -> dict[str, tuple[Any, Any]]:
        ranges = self._object(self.data, "range_constraints")
        return {
            name: (ends.get("min_val"), ends.get("max_val"))
            for name, ends in ranges.items()
            if isinstance(ends, dict)
        }

    def _weights(self) -> tuple[Counter[str], list[str]]:
        """Elements by dtype and names of pickled weights. Checks that each member has enough bytes."""
        dtypes: Counter[str] = Counter()
        pickled: list[str] = []
        for kind, counted in (("weights", True), ("constants", False)):
            folder = f"data/{kind}/"
            visited: set[str] = set()  # tied weights are stored once
            for weight, entry in payloads(self.archive, self.name, kind).items():
                file = entry.get("path_name")
                if not isinstance(file, str) or folder + file not in self.archive.members:
                    raise self.archive.invalid(
                        f"{kind}: {weight!r} is stored in {shorten(file)}, which is missing"
                    )
                if entry.get("use_pickle") is not False:
                    pickled.append(weight)
                if file in visited or not isinstance(entry.get("tensor_meta"), dict):
                    continue
                visited.add(file)
                dtype, shape = self._dtype_and_shape(entry["tensor_meta"], weight)
                if entry.get("use_pickle") is False:
                    self._check_bytes(folder + file, weight, entry["tensor_meta"], dtype, shape)
                if counted:
                    dtypes[TYPES[dtype][1]] += _elements(shape)
        return dtypes, pickled

    def _pickled_weights(self) -> tuple[Counter[str], list[str]]:
        """The same for the layout before torch 2.8: the weights' shapes come from the graph."""
        dtypes: Counter[str] = Counter()
        for spec in self._specs("input_specs"):
            for kind in ("parameter", "buffer"):
                if kind in spec and not (kind == "buffer" and spec[kind].get("persistent") is False):
                    dtype, shape = self._value(spec[kind].get("arg"))
                    dtypes[TYPES[dtype][1]] += _elements(shape)
        return dtypes, [name for name in self.archive.members if name.endswith(".pt")]

    def _check_bytes(
        self,
        member: str,
        weight: str,
        meta: Mapping[str, Any],
        dtype: int,
        shape: tuple[int | str | None, ...],
    ) -> None:
        """Refuse a weight whose last element, at its offset and strides, is past the end of its member."""
        sizes = [extent for extent in shape if isinstance(extent, int)]
        strides = meta.get("strides")
        if len(sizes) != len(shape) or not isinstance(strides, list) or len(strides) != len(shape):
            raise self.archive.invalid(
                f"weight {weight!r} has the shape {shape} and the strides {shorten(strides)}"
            )
        steps = [self._extent(stride, weight) for stride in strides]
        offset = self._extent(meta.get("storage_offset"), weight)
        if not isinstance(offset, int) or not all(isinstance(step, int) for step in steps):
            raise self.archive.invalid(f"weight {weight!r} has the strides {shorten(strides)}")
        last = sum((size - 1) * int(step) for size, step in zip(sizes, steps, strict=True))
        needed = (offset + last + 1) * TYPES[dtype][2] if all(sizes) else 0
        stored = self.archive.members[member].file_size
        if stored < needed:
            raise self.archive.invalid(f"weight {weight!r} needs {needed} bytes, but {member} has {stored}")

    def _specs(self, name: str) -> list[dict[str, Any]]:
        specs = self.signature.get(name)
        if not isinstance(specs, list):
            raise self.archive.invalid(f"its signature has no {name}")
        for spec in specs:
            if not isinstance(spec, dict) or not all(isinstance(inner, dict) for inner in spec.values()):
                raise self.archive.invalid(f"{name} holds {shorten(spec)}")
        return specs

    def _tensors(self, specs: list[dict[str, Any]]) -> tuple[tuple[Tensor, ...], int]:
        """The specs that are tensors, and how many are not."""
        tensors = []
        for spec in specs:
            arg = spec.get("arg")
            if not isinstance(arg, dict):
                raise self.archive.invalid(f"the signature holds {shorten(spec)}")
            if "as_tensor" in arg:
                dtype, shape = self._value(arg["as_tensor"])
                tensors.append(Tensor(str(arg["as_tensor"]["name"]), TYPES[dtype][0], shape))
        return tuple(tensors), len(specs) - len(tensors)

    def _value(self, reference: Any) -> tuple[int, tuple[int | str | None, ...]]:
        """The scalar type and shape of the graph value that a reference names."""
        name = reference.get("name") if isinstance(reference, dict) else None
        meta = self.values.get(name) if isinstance(name, str) else None
        if not isinstance(meta, dict):
            raise self.archive.invalid(f"no tensor is described for {shorten(reference)}")
        return self._dtype_and_shape(meta, str(name))

    def _dtype_and_shape(
        self, meta: Mapping[str, Any], name: str
    ) -> tuple[int, tuple[int | str | None, ...]]:
        """The scalar type and the shape (numbers, or expressions as text) that a TensorMeta states."""
        dtype, sizes = meta.get("dtype"), meta.get("sizes")
        if not isinstance(dtype, int) or isinstance(dtype, bool) or dtype not in TYPES:
            raise self.archive.invalid(f"tensor {name!r} has the unknown dtype {shorten(dtype)}")
        if not isinstance(sizes, list) or len(sizes) > _MAX_RANK:
            raise self.archive.invalid(f"tensor {name!r} has the sizes {shorten(sizes)}")
        return dtype, tuple(self._extent(size, name) for size in sizes)

    def _extent(self, size: Any, name: str) -> int | str:
        if isinstance(size, dict):
            number, expression = size.get("as_int"), size.get("as_expr")
            if isinstance(number, int) and not isinstance(number, bool) and 0 <= number < 2**63:
                return number
            text = expression.get("expr_str") if isinstance(expression, dict) else None
            if isinstance(text, str) and len(text) <= _EXPRESSION_LIMIT:
                return re.sub(r"(?:Symbol|Integer)\('?(-?\w++)'?[^()]*+\)", r"\1", text)
        raise self.archive.invalid(f"tensor {name!r} has the size {shorten(size)}")

    def _targets(self, graph: Mapping[str, Any], depth: int) -> Iterator[str]:
        """The targets of all nodes, including those of graphs within the graph."""
        nodes = graph.get("nodes")
        if depth > _DEPTH_LIMIT:
            raise self.archive.invalid(f"its graphs are nested more than {_DEPTH_LIMIT} deep")
        if not isinstance(nodes, list):
            raise self.archive.invalid("a graph has no list of nodes")
        for node in nodes:
            if not isinstance(node, dict) or not isinstance(node.get("target"), str):
                raise self.archive.invalid(f"a node has no target: {shorten(node)}")
            yield node["target"]
            inputs = node.get("inputs")
            for entry in inputs if isinstance(inputs, list) else ():
                arg = entry.get("arg") if isinstance(entry, dict) else None
                inner = arg.get("as_graph") if isinstance(arg, dict) else None
                if isinstance(inner, dict):
                    yield from self._targets(self._object(inner, "graph"), depth + 1)

    def _object(self, data: Mapping[str, Any], name: str) -> dict[str, Any]:
        value = data.get(name)
        if not isinstance(value, dict):
            raise self.archive.invalid(f"{name} is {shorten(value)}, not an object")
        return value


def _elements(shape: tuple[int | str | None, ...]) -> int:
    return math.prod(extent for extent in shape if isinstance(extent, int))


def _operator(target: str) -> str:
    parts = target.removeprefix("torch.ops.").split(".")
    return "::".join(parts[:2]) if target.startswith("torch.ops.") else target
