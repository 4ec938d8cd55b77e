"""Reads an ONNX file: the graph's inputs, outputs, operators and tensors' headers, never their payloads.

Field numbers are those of onnx.proto (onnx 1.23). `onnx_data` checks where tensors' bytes lie.
"""

from __future__ import annotations

import functools
import mmap
import tomllib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from edgehone.core.errors import ModelError
from edgehone.formats import onnx_data
from edgehone.formats.onnx_data import RANK_LIMIT, TYPES, Stored
from edgehone.formats.protobuf import BYTES, Wire, WireError, signed
from edgehone.model.info import ModelInfo, Tensor
from edgehone.model.licence import read_licence

HINT = "the file is damaged or half-copied, or is no ONNX model: fetch or export it again"
DEPTH_LIMIT = 100  # of subgraphs within subgraphs; protobuf's own limit of nesting
_DEFAULT = "ai.onnx"
_WHOLE = {4: "a sequence", 5: "a map", 7: "opaque", 8: "a sparse tensor", 9: "an optional"}  # of TypeProto

# Fields of TensorProto with typed data -> numbers a byte at most: four of 2 bits in a varint of int32_data.
_TYPED = {4: 1, 5: 4, 6: 1, 7: 1, 10: 1, 11: 1}

# Operators that only quantized graphs have, and what such a graph is called.
_QUANTIZED = (
    ("matmulnbits", ("MatMulNBits", "GatherBlockQuantized", "MatMulBnb4", "QMoE")),
    ("qoperator", ("QLinear", "QGemm", "QAttention", "QEmbedLayerNormalization", "QOrdered")),
    ("dynamic", ("DynamicQuantize", "MatMulInteger", "ConvInteger")),
    ("qdq", ("DequantizeLinear",)),
)


@dataclass
class _Graph:
    """What was found so far, of the main graph, its subgraphs and the functions together."""

    ir_version: int | None = None
    producer: str = ""
    producer_version: str = ""
    name: str = ""
    graphs: int = 0  # main graphs: one, in a model that can be run
    opsets: dict[str, int] = field(default_factory=dict)
    inputs: list[Tensor] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)
    initializers: set[str] = field(default_factory=set)
    operators: set[tuple[str, str]] = field(default_factory=set)  # domain, name
    functions: set[tuple[str, str]] = field(default_factory=set)
    dtypes: Counter[str] = field(default_factory=Counter)
    constants: int = 0  # numbers in tensors that are attributes of nodes
    unranked: list[str] = field(default_factory=list)


def read(path: Path) -> ModelInfo:
    """The facts about the model in the file `path` and the data files beside it.

    Raises ModelError where the file breaks the format, a tensor's data is missing, short or outside of the
    folder, and where the opset is newer than any runtime here knows.
    """
    data = onnx_data.Data(path)
    try:
        graph = _walk(path, data)
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror or error}") from error
    except WireError as error:
        raise ModelError(f"{path} is not a sound ONNX file: {error}", hint=HINT) from error
    _check(path, graph)
    _check_opsets(path, graph)
    inputs = tuple(tensor for tensor in graph.inputs if tensor.name not in graph.initializers)
    quantized = _quantized(name for _, name in graph.operators)
    return ModelInfo(
        path=path,
        format="onnx",
        architecture=graph.name or "graph",
        model_type="onnx",
        task="graph",
        parameters=graph.dtypes.total(),
        bytes=sum({**data.sizes, path.name: path.stat().st_size}.values()),
        dtypes=dict(sorted(graph.dtypes.items())),
        files=tuple(sorted({path.name, *data.sizes})),
        licence=read_licence(path.parent),
        quantized=quantized,
        notes=tuple(_notes(graph)),
        inputs=inputs,
        outputs=tuple(graph.outputs),
        opset=graph.opsets.get(_DEFAULT),
        operators=tuple(sorted(_operator(*used) for used in graph.operators - graph.functions)),
    )


def _walk(path: Path, data: onnx_data.Data) -> _Graph:
    with path.open("rb") as file:
        if not path.stat().st_size:
            raise WireError("it is empty")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
            if view[:23] == b"version https://git-lfs":
                message = f"{path} is a Git LFS pointer, not the file itself"
                raise ModelError(message, hint=f"fetch it: cd {path.parent} && git lfs pull")
            reader = _Reader(Wire(view), data)
            reader.model(0, len(view))
            return reader.found


class _Reader:
    """Walks the messages of one model and fills `found`."""

    def __init__(self, wire: Wire, data: onnx_data.Data) -> None:
        self.wire = wire
        self.data = data
        self.found = _Graph()

    def model(self, start: int, end: int) -> None:
        found = self.found
        for number, kind, value, stop in self.wire.fields(start, end):
            if number == 1 and kind != BYTES:
                found.ir_version = signed(value)
            elif kind != BYTES:
                continue
            elif number == 2:
                found.producer = self.wire.text(value, stop)
            elif number == 3:
                found.producer_version = self.wire.text(value, stop)
            elif number == 8:
                self._opset(value, stop)
            elif number == 7:
                found.graphs += 1
                self._graph(value, stop, 0)
            elif number == 25:
                self._function(value, stop)

    def _opset(self, start: int, end: int) -> None:
        domain, version = _DEFAULT, 0
        for number, kind, value, stop in self.wire.fields(start, end):
            if number == 1 and kind == BYTES:
                domain = self.wire.text(value, stop) or _DEFAULT
            elif number == 2 and kind != BYTES:
                version = signed(value)
        self.found.opsets[domain] = version

    def _graph(self, start: int, end: int, depth: int) -> None:
        """A graph; at `depth` 0 the main one, whose inputs and outputs are the model's."""
        if depth > DEPTH_LIMIT:
            raise WireError(f"byte {start}: subgraphs nested more than {DEPTH_LIMIT} deep")
        for number, kind, value, stop in self.wire.fields(start, end):
            if kind != BYTES:
                continue
            if number == 1:
                self._node(value, stop, depth)
            elif number == 5:
                self._initializer(value, stop, depth)
            elif number == 15:
                for inner, inner_kind, at, until in self.wire.fields(value, stop):
                    if inner == 1 and inner_kind == BYTES:
                        self._initializer(at, until, depth)
            elif depth == 0 and number == 2:
                self.found.name = self.wire.text(value, stop)
            elif depth == 0 and number in (11, 12):
                (self.found.inputs if number == 11 else self.found.outputs).append(self._value(value, stop))

    def _function(self, start: int, end: int) -> None:
        name = domain = ""
        for number, kind, value, stop in self.wire.fields(start, end):
            if kind != BYTES:
                continue
            if number == 1:
                name = self.wire.text(value, stop)
            elif number == 10:
                domain = self.wire.text(value, stop)
            elif number == 7:
                self._node(value, stop, 0)
        self.found.functions.add((domain or _DEFAULT, name))

    def _node(self, start: int, end: int, depth: int) -> None:
        name = domain = ""
        for number, kind, value, stop in self.wire.fields(start, end):
            if kind != BYTES:
                continue
            if number == 4:
                name = self.wire.text(value, stop)
            elif number == 7:
                domain = self.wire.text(value, stop)
            elif number == 5:
                self._attribute(value, stop, depth)
        if not name:
            raise WireError(f"byte {start}: a node without an operator")
        self.found.operators.add((domain or _DEFAULT, name))

    def _attribute(self, start: int, end: int, depth: int) -> None:
        for number, kind, value, stop in self.wire.fields(start, end):
            if kind != BYTES:
                continue
            if number in (5, 10):
                stored = self._tensor(value, stop)
                self.found.constants += stored.elements
            elif number in (6, 11):
                self._graph(value, stop, depth + 1)

    def _initializer(self, start: int, end: int, depth: int) -> None:
        stored = self._tensor(start, end)
        if depth == 0:
            self.found.initializers.add(stored.name)
        self.found.dtypes[TYPES[stored.type].stored] += stored.elements

    def _tensor(self, start: int, end: int) -> Stored:
        stored = Stored()
        for number, kind, value, stop in self.wire.fields(start, end):
            if number == 1:
                stored.dims += islice(self.wire.integers(kind, value, stop), RANK_LIMIT + 1)
            elif number == 2 and kind != BYTES:
                stored.type = value
            elif number == 14 and kind != BYTES:
                stored.outside = value == 1
            elif number in _TYPED:
                stored.typed += (stop - value) * _TYPED[number] if kind == BYTES and number != 6 else 4
            elif kind != BYTES:
                continue
            elif number == 8:
                stored.name = self.wire.text(value, stop)
            elif number == 9:
                stored.raw = stop - value
            elif number == 13:
                key, text = self._pair(value, stop)
                stored.external[key] = text
        self.data.check(stored)
        return stored

    def _pair(self, start: int, end: int) -> tuple[str, str]:
        pair = {1: "", 2: ""}
        for number, kind, value, stop in self.wire.fields(start, end):
            if number in pair and kind == BYTES:
                pair[number] = self.wire.text(value, stop)
        return pair[1], pair[2]

    def _value(self, start: int, end: int) -> Tensor:
        name, dtype, shape = "", "unknown", None
        for number, kind, value, stop in self.wire.fields(start, end):
            if number == 1 and kind == BYTES:
                name = self.wire.text(value, stop)
            elif number == 2 and kind == BYTES:
                dtype, shape = self._type(value, stop)
        if shape is None:
            self.found.unranked.append(name)
        return Tensor(name, dtype, shape or ())

    def _type(self, start: int, end: int) -> tuple[str, tuple[int | str | None, ...] | None]:
        dtype, shape = "unknown", None
        for number, kind, value, stop in self.wire.fields(start, end):
            if kind == BYTES and number in _WHOLE:
                dtype = _WHOLE[number]
            elif kind == BYTES and number == 1:
                for inner, inner_kind, at, until in self.wire.fields(value, stop):
                    if inner == 1 and inner_kind != BYTES:
                        dtype = TYPES[at].numpy if at in TYPES else f"type {at}"
                    elif inner == 2 and inner_kind == BYTES:
                        shape = self._shape(at, until)
        return dtype, shape

    def _shape(self, start: int, end: int) -> tuple[int | str | None, ...]:
        shape: list[int | str | None] = []
        for number, kind, value, stop in self.wire.fields(start, end):
            if number != 1 or kind != BYTES:
                continue
            if len(shape) >= RANK_LIMIT:
                raise WireError(f"byte {start}: a shape of more than {RANK_LIMIT} dimensions")
            extent: int | str | None = None
            for inner, inner_kind, at, until in self.wire.fields(value, stop):
                if inner == 1 and inner_kind != BYTES:
                    extent = signed(at) if signed(at) >= 0 else None
                elif inner == 2 and inner_kind == BYTES:
                    extent = self.wire.text(at, until) or None
            shape.append(extent)
        return tuple(shape)


def _check(path: Path, graph: _Graph) -> None:
    missing = None
    if graph.graphs != 1:
        missing = f"it has {graph.graphs or 'no'} graph{'s' if graph.graphs > 1 else ''}"
    elif graph.ir_version is None:
        missing = "it states no IR version"
    elif not graph.outputs:
        missing = "its graph has no outputs"
    else:
        for what, tensors in (("input", graph.inputs), ("output", graph.outputs)):
            twice = [
                name for name, n in Counter(tensor.name for tensor in tensors).items() if n > 1 or not name
            ]
            if twice:
                missing = f"the {what} {twice[0]!r} is there twice" if twice[0] else f"an {what} has no name"
    if missing:
        raise ModelError(f"{path} is not a sound ONNX file: {missing}", hint=HINT)


def _check_opsets(path: Path, graph: _Graph) -> None:
    runtime = known_runtime()
    hint = "export it with an older opset, or convert it: onnx.version_converter.convert_version"
    for domain, version in sorted(graph.opsets.items()):
        highest = runtime["opsets"].get(domain)
        if highest is not None and not 1 <= version <= highest:
            raise ModelError(
                f"{path}: unsupported opset {version} of {domain}: "
                f"ONNX Runtime {runtime['version']} knows 1 to {highest}",
                hint=hint,
            )
    if graph.ir_version is not None and not 1 <= graph.ir_version <= runtime["ir_version"]:
        raise ModelError(
            f"{path}: unsupported IR version {graph.ir_version}: "
            f"ONNX Runtime {runtime['version']} knows 1 to {runtime['ir_version']}",
            hint=hint,
        )


@functools.cache
def known_runtime() -> dict[str, Any]:
    """What the newest ONNX Runtime that was tried loads: version, ir_version, opsets by domain."""
    return tomllib.loads(Path(__file__).with_name("onnx_runtime.toml").read_text("utf-8"))


def _quantized(names: Iterable[str]) -> str | None:
    used = set(names)
    for kind, marks in _QUANTIZED:
        if any(name.startswith(marks) for name in used):
            return kind
    return None


def _notes(graph: _Graph) -> Iterable[str]:
    maker = " ".join(part for part in (graph.producer, graph.producer_version) if part)
    yield f"IR version {graph.ir_version}" + (f", made by {maker}" if maker else "")
    domains: dict[str, list[str]] = {}
    for domain, name in sorted(graph.operators - graph.functions):
        domains.setdefault(domain, []).append(name)
    for domain, names in domains.items():
        if domain not in known_runtime()["opsets"]:
            yield f"custom operators of {domain}, unknown to ONNX Runtime by itself: {', '.join(names)}"
    if _DEFAULT in domains and _DEFAULT not in graph.opsets:
        yield "it uses ONNX's own operators and states no opset for them"
    if graph.constants > graph.dtypes.total():
        yield f"{graph.constants:,} numbers lie in constants of nodes: not counted as parameters"
    if graph.unranked:
        yield f"shape not stated: {', '.join(graph.unranked)}"


def _operator(domain: str, name: str) -> str:
    return name if domain == _DEFAULT else f"{domain}::{name}"
