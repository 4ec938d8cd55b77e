"""Reads a .pt2 file, the archive that torch.export.save writes: its JSON members, never its pickles.

The layout is that of torch 2.13 (torch/export/pt2_archive, torch/_export/serde/schema.py), and the flat one
that torch wrote before 2.8, whose weights are a pickle.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgehone.formats.zip_archive import Archive
from edgehone.model.info import ModelInfo, Tensor
from edgehone.model.licence import read_licence

SCHEMA = 8  # the major version of the schema, torch 2.5 to 2.13
OLD = "serialized_exported_program.json"
_MAX_RANK = 64
_DEPTH_LIMIT = 64  # of graphs within graphs

# ScalarType of the schema: as numpy names it, as safetensors does, bytes an element.
TYPES: Mapping[int, tuple[str, str, int]] = {
    1: ("uint8", "U8", 1), 2: ("int8", "I8", 1), 3: ("int16", "I16", 2), 4: ("int32", "I32", 4),
    5: ("int64", "I64", 8), 6: ("float16", "F16", 2), 7: ("float32", "F32", 4), 8: ("float64", "F64", 8),
    9: ("complex32", "C32", 4), 10: ("complex64", "C64", 8), 11: ("complex128", "C128", 16),
    12: ("bool", "BOOL", 1), 13: ("bfloat16", "BF16", 2), 28: ("uint16", "U16", 2),
    29: ("float8_e4m3fn", "F8_E4M3", 1), 30: ("float8_e5m2", "F8_E5M2", 1),
    31: ("float8_e4m3fnuz", "F8_E4M3FNUZ", 1), 32: ("float8_e5m2fnuz", "F8_E5M2FNUZ", 1),
    33: ("float8_e8m0fnu", "F8_E8M0", 1), 34: ("uint32", "U32", 4), 35: ("uint64", "U64", 8),
}  # fmt: skip

# Namespaces of operators that torch itself registers.
_OWN = frozenset({"aten", "prims", "prim", "higher_order", "quantized_decomposed", "quantized", "profiler"})
# An expression over sizes as sympy prints it. torch evaluates these, so anything else could be any code.
_EXPRESSION = re.compile(
    r"(?:[A-Z]\w*+(?=\()|\w++(?==)|True|False|[a-z]++\d++|'\w++'|'-?\d[\d.e+-]*+'|\d++(?:\.\d++)?|int_oo"
    r"|[-+*/<>=(), ])*+"
)
_EXPRESSION_LIMIT = 2000  # characters


@dataclass(frozen=True)
class _Stored:
    """What the archive's weights say."""

    dtypes: Mapping[str, int]
    pickled: tuple[str, ...]  # names of what only unpickling gives


def read(path: Path) -> ModelInfo:
    """The facts about the exported program in `path`.

    Raises ModelError where the archive is damaged, compiled (AOTInductor), TorchScript, of several programs,
    or of another schema.
    """
    archive = Archive(path)
    name = _program_name(archive)
    program = archive.json(name)
    reader = _Program(archive, program)
    reader.check_version()
    stored = reader.pickled_weights() if name == OLD else _stored(archive, name)
    inputs, input_notes = reader.inputs()
    outputs, output_notes = reader.outputs()
    operators = tuple(sorted(reader.operators()))
    unsafe = not _plain(program)
    return ModelInfo(
        path=path,
        format="torch-export",
        architecture="ExportedProgram",
        model_type="torch-export",
        task="graph",
        parameters=sum(stored.dtypes.values()),
        bytes=path.stat().st_size,
        dtypes=stored.dtypes,
        files=(path.name,),
        licence=read_licence(path.parent),
        quantized="qdq" if any(n.startswith(("quantized", "torchao::")) for n in operators) else None,
        remote_code=bool(stored.pickled) or unsafe,
        notes=(
            *reader.notes(),
            *_pickle_notes(stored, unsafe),
            *input_notes,
            *output_notes,
            *_operator_notes(operators),
        ),
        inputs=inputs,
        outputs=outputs,
        operators=operators,
    )


def _program_name(archive: Archive) -> str:
    if OLD in archive.members:
        return OLD
    programs = sorted(name for name in archive.members if re.fullmatch(r"models/[^/]+\.json", name))
    if len(programs) == 1:
        return programs[0]
    if programs:
        raise archive.broken(f"it has {len(programs)} programs ({', '.join(programs[:5])}): save one alone")
    if any(name.startswith("data/aotinductor/") for name in archive.members):
        raise archive.broken(
            "it is compiled for one machine (AOTInductor): give what torch.export.save wrote"
        )
    if any(name == "data.pkl" or name.startswith("code/") for name in archive.members):
        raise archive.broken(
            "it is a pickled checkpoint or TorchScript: loading a pickle runs the code in it"
        )
    raise archive.broken("it has no models/….json")


class _Program:
    """The JSON of one program; each method raises ModelError where a field is not what the schema says."""

    def __init__(self, archive: Archive, program: Mapping[str, Any]) -> None:
        self.archive = archive
        self.program = program
        module = self._object(program, "graph_module")
        self.graph = self._object(module, "graph")
        self.values = self._object(self.graph, "tensor_values")
        self.signature = self._object(module, "signature")

    def check_version(self) -> None:
        """Refuse a schema whose fields may mean something else."""
        stated = self._object(self.program, "schema_version").get("major")
        if stated != SCHEMA:
            raise self.archive.broken(f"it is of schema {stated!r}, only {SCHEMA} is known")

    def inputs(self) -> tuple[tuple[Tensor, ...], list[str]]:
        """The tensors that a user gives, and notes on what else is asked for."""
        specs = [spec["user_input"] for spec in self._specs("input_specs") if "user_input" in spec]
        other = sum("constant_input" in spec for spec in self._specs("input_specs"))
        tensors, strange = self._tensors(specs)
        notes = (
            [f"inputs that are no tensors, fixed when exported: {strange + other}"] if strange + other else []
        )
        return tensors, notes

    def outputs(self) -> tuple[tuple[Tensor, ...], list[str]]:
        """The tensors that a user gets, and notes on what else is given or changed."""
        specs = self._specs("output_specs")
        tensors, strange = self._tensors([spec["user_output"] for spec in specs if "user_output" in spec])
        notes = [f"outputs that are no tensors: {strange}"] if strange else []
        changed = sum("user_output" not in spec and "token" not in spec for spec in specs)
        if changed:
            notes.append(f"it changes {changed} of its buffers, parameters or inputs when run")
        return tensors, notes

    def operators(self) -> set[str]:
        """ "namespace::name" of every node, those of graphs within the graph too."""
        return {_operator(target) for target in self._targets(self.graph, 0)}

    def notes(self) -> Iterator[str]:
        """Who made it, and the ranges of its free sizes."""
        version = self._object(self.program, "schema_version")
        maker = self.program.get("torch_version")
        yield f"schema {version.get('major')}.{version.get('minor')}" + (
            f", made by torch {maker}" if isinstance(maker, str) and maker else ""
        )
        used = {extent for tensor in self.inputs()[0] for extent in tensor.shape if isinstance(extent, str)}
        for name, ends in sorted(self._object(self.program, "range_constraints").items()):
            if name in used and isinstance(ends, dict):
                low, high = (ends.get(end) for end in ("min_val", "max_val"))
                yield f"size {name}: from {0 if low is None else low} to {'any' if high is None else high}"

    def pickled_weights(self) -> _Stored:
        """Of the old layout: the weights' shapes as the graph states them."""
        dtypes: Counter[str] = Counter()
        for spec in self._specs("input_specs"):
            for kind in ("parameter", "buffer"):
                if kind in spec and not (kind == "buffer" and spec[kind].get("persistent") is False):
                    meta = self._meta(spec[kind].get("arg"))
                    dtypes[TYPES[meta[0]][1]] += math.prod(e for e in meta[1] if isinstance(e, int))
        pickles = (name for name in self.archive.members if name.endswith(".pt"))
        return _Stored(dict(sorted(dtypes.items())), tuple(sorted(pickles)))

    def _specs(self, name: str) -> list[dict[str, Any]]:
        specs = self.signature.get(name)
        if not isinstance(specs, list):
            raise self.archive.broken(f"its signature has no {name}")
        for spec in specs:
            if not isinstance(spec, dict) or not all(isinstance(inner, dict) for inner in spec.values()):
                raise self.archive.broken(f"{name} holds {_short(spec)}")
        return specs

    def _tensors(self, specs: list[dict[str, Any]]) -> tuple[tuple[Tensor, ...], int]:
        found = []
        for spec in specs:
            arg = spec.get("arg")
            if not isinstance(arg, dict):
                raise self.archive.broken(f"the signature holds {_short(spec)}")
            if "as_tensor" in arg:
                dtype, shape = self._meta(arg["as_tensor"])
                found.append(Tensor(str(arg["as_tensor"]["name"]), TYPES[dtype][0], shape))
        return tuple(found), len(specs) - len(found)

    def _meta(self, named: Any) -> tuple[int, tuple[int | str | None, ...]]:
        name = named.get("name") if isinstance(named, dict) else None
        meta = self.values.get(name) if isinstance(name, str) else None
        if not isinstance(meta, dict):
            raise self.archive.broken(f"no tensor is described for {_short(named)}")
        return tensor_meta(self.archive, meta, str(name))

    def _targets(self, graph: Mapping[str, Any], depth: int) -> Iterator[str]:
        nodes = graph.get("nodes")
        if not isinstance(nodes, list) or depth > _DEPTH_LIMIT:
            raise self.archive.broken("a graph has no list of nodes" if depth <= _DEPTH_LIMIT else "it nests")
        for node in nodes:
            if not isinstance(node, dict) or not isinstance(node.get("target"), str):
                raise self.archive.broken(f"a node has no target: {_short(node)}")
            yield node["target"]
            given = node.get("inputs")
            for entry in given if isinstance(given, list) else ():
                arg = entry.get("arg") if isinstance(entry, dict) else None
                inner = arg.get("as_graph") if isinstance(arg, dict) else None
                if isinstance(inner, dict):
                    yield from self._targets(self._object(inner, "graph"), depth + 1)

    def _object(self, data: Mapping[str, Any], name: str) -> dict[str, Any]:
        value = data.get(name)
        if not isinstance(value, dict):
            raise self.archive.broken(f"{name} is {_short(value)}, not an object")
        return value


def tensor_meta(
    archive: Archive, meta: Mapping[str, Any], name: str
) -> tuple[int, tuple[int | str | None, ...]]:
    """The scalar type and the shape (numbers, or expressions as text) that the schema's TensorMeta states."""
    dtype, sizes = meta.get("dtype"), meta.get("sizes")
    if not isinstance(dtype, int) or isinstance(dtype, bool) or dtype not in TYPES:
        raise archive.broken(f"tensor {name!r} has the unknown dtype {_short(dtype)}")
    if not isinstance(sizes, list) or len(sizes) > _MAX_RANK:
        raise archive.broken(f"tensor {name!r} has the sizes {_short(sizes)}")
    return dtype, tuple(_extent(archive, size, name) for size in sizes)


def _extent(archive: Archive, size: Any, name: str) -> int | str:
    if isinstance(size, dict):
        number, expression = size.get("as_int"), size.get("as_expr")
        if isinstance(number, int) and not isinstance(number, bool) and 0 <= number < 2**63:
            return number
        text = expression.get("expr_str") if isinstance(expression, dict) else None
        if isinstance(text, str) and len(text) <= _EXPRESSION_LIMIT:
            return re.sub(r"(?:Symbol|Integer)\('?(-?\w++)'?[^()]*+\)", r"\1", text)
    raise archive.broken(f"tensor {name!r} has the size {_short(size)}")


def _stored(archive: Archive, program: str) -> _Stored:
    """Weights and constants as their configurations list them, each with enough bytes in its member."""
    name = program.removeprefix("models/").removesuffix(".json")
    dtypes: Counter[str] = Counter()
    pickled: list[str] = []
    for kind, counted in (("weights", True), ("constants", False)):
        folder = f"data/{kind}/"
        where = f"{folder}{name}_{kind}_config.json"
        if where not in archive.members:
            raise archive.broken(f"it has no {where}")
        config = archive.json(where).get("config")
        if not isinstance(config, dict):
            raise archive.broken(f"{where} has no config")
        seen: set[str] = set()  # tied weights are stored once
        for weight, entry in config.items():
            place = entry.get("path_name") if isinstance(entry, dict) else None
            if not isinstance(place, str) or folder + place not in archive.members:
                raise archive.broken(f"{where} puts {weight!r} in {_short(place)}, which is not there")
            if entry.get("use_pickle") is not False:
                pickled.append(weight)
            if place in seen or not isinstance(entry.get("tensor_meta"), dict):
                continue
            seen.add(place)
            dtype, shape = tensor_meta(archive, entry["tensor_meta"], weight)
            if entry.get("use_pickle") is False:
                _check_bytes(archive, folder + place, weight, entry["tensor_meta"], (dtype, shape))
            if counted:
                dtypes[TYPES[dtype][1]] += math.prod(extent for extent in shape if isinstance(extent, int))
    return _Stored(dict(sorted(dtypes.items())), tuple(sorted(pickled)))


def _check_bytes(
    archive: Archive,
    member: str,
    weight: str,
    meta: Mapping[str, Any],
    what: tuple[int, tuple[int | str | None, ...]],
) -> None:
    dtype, shape = what
    sizes = [extent for extent in shape if isinstance(extent, int)]
    strides = meta.get("strides")
    if len(sizes) != len(shape) or not isinstance(strides, list) or len(strides) != len(shape):
        raise archive.broken(f"weight {weight!r} has the shape {shape} and the strides {_short(strides)}")
    steps = [_extent(archive, stride, weight) for stride in strides]
    offset = _extent(archive, meta.get("storage_offset"), weight)
    if not isinstance(offset, int) or not all(isinstance(step, int) for step in steps):
        raise archive.broken(f"weight {weight!r} has the strides {_short(strides)}")
    last = sum((size - 1) * int(step) for size, step in zip(sizes, steps, strict=True))
    needed = (offset + last + 1) * TYPES[dtype][2] if all(sizes) else 0
    held = archive.members[member].file_size
    if held < needed:
        raise archive.broken(f"weight {weight!r} needs {needed} bytes, {member} has {held}")


def _plain(program: Mapping[str, Any]) -> bool:
    """Whether all that torch evaluates as an expression is one over sizes."""
    guards = program.get("guards_code")
    if guards:  # Python, run when the module is made
        return False
    waiting: list[Any] = [program]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting += value
        elif isinstance(value, dict):
            text = value.get("expr_str", "")
            if not isinstance(text, str) or not _EXPRESSION.fullmatch(text):
                return False
            waiting += value.values()
    return True


def _pickle_notes(stored: _Stored, unsafe: bool) -> Iterator[str]:
    if stored.pickled:
        more = f" and {len(stored.pickled) - 3} more" if len(stored.pickled) > 3 else ""
        named = ", ".join(stored.pickled[:3])
        yield f"pickled inside, which was not read, since loading a pickle runs the code in it: {named}{more}"
    if unsafe:
        yield "it holds code (guards, or expressions that are none over sizes) that torch would run to load it"


def _operator(target: str) -> str:
    parts = target.removeprefix("torch.ops.").split(".")
    return "::".join(parts[:2]) if target.startswith("torch.ops.") else target


def _operator_notes(operators: tuple[str, ...]) -> Iterator[str]:
    custom = [name for name in operators if "::" in name and name.partition("::")[0] not in _OWN]
    if custom:
        yield f"custom operators, which need the library that registers them: {', '.join(custom)}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
