"""Read the structure of an ONNX file: inputs, outputs, operators and tensor headers, but never tensor data.

Field numbers are those of onnx.proto (onnx 1.23). `onnx_data` checks the position and size of tensor data.
"""

from __future__ import annotations

import mmap
from collections import Counter
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from edgehone.core.errors import ModelError
from edgehone.formats import onnx_data
from edgehone.formats.graph import Tensor
from edgehone.formats.onnx_attention import Node
from edgehone.formats.onnx_data import RANK_LIMIT, TYPES, Stored
from edgehone.formats.protobuf import BYTES, Wire, WireError, signed

HINT = "the file is damaged, incompletely copied or not an ONNX model: download or export it again"
DEPTH_LIMIT = 100  # nesting of subgraphs; protobuf's own limit
DEFAULT_DOMAIN = "ai.onnx"
_INITIALIZERS_LIMIT = 1_000_000  # real models have fewer than 100,000
# Fields of TypeProto for values that are not tensors.
_NOT_TENSORS = {4: "a sequence", 5: "a map", 7: "opaque", 8: "a sparse tensor", 9: "an optional"}
# Fields of TensorProto with typed data: the most numbers per byte (int32_data holds four of 2 bits in a varint).
_TYPED = {4: 1, 5: 4, 6: 1, 7: 1, 10: 1, 11: 1}


@dataclass
class Model:
    """The structure of an ONNX model.

    `inputs` and `outputs` are those of the main graph; `initializers` are its stored tensors by name. `operators` and
    `functions` are (domain, name) pairs of the main graph, its subgraphs and the model's functions together.
    `dtypes`: elements in initializers and in the values of Constant nodes (where Paddle's exporter keeps weights) by
    dtype, as safetensors names it. `constants`: elements in tensors that are attributes of other nodes. `nodes`:
    operator, inputs and outputs of the nodes of the main graph and the functions.
    `unranked`: names of inputs and outputs without a shape. `files`: size in bytes of each
    external data file, by path relative to the model.
    """

    ir_version: int | None = None
    producer: str = ""
    producer_version: str = ""
    name: str = ""
    graphs: int = 0  # main graphs; a valid model has one
    opsets: dict[str, int] = field(default_factory=dict)
    inputs: list[Tensor] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)
    initializers: dict[str, Tensor] = field(default_factory=dict)
    operators: set[tuple[str, str]] = field(default_factory=set)
    functions: set[tuple[str, str]] = field(default_factory=set)
    dtypes: Counter[str] = field(default_factory=Counter)
    constants: int = 0
    nodes: list[Node] = field(default_factory=list)
    unranked: list[str] = field(default_factory=list)
    files: dict[str, int] = field(default_factory=dict)


def read_model(path: Path) -> Model:
    """Read the structure of the ONNX model in `path`, and the sizes of its external data files.

    Raises ModelError if the file violates the format, or if the data of a tensor is missing, has the wrong size or
    lies outside of the model's folder.
    """
    data = onnx_data.Data(path)
    try:
        model = _read(path, data)
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror or error}") from error
    except WireError as error:
        raise ModelError(f"{path} is not a valid ONNX file: {error}", hint=HINT) from error
    if problem := _problem(model):
        raise ModelError(f"{path} is not a valid ONNX file: {problem}", hint=HINT)
    model.files = data.sizes
    return model


def _read(path: Path, data: onnx_data.Data) -> Model:
    with path.open("rb") as file:
        if not path.stat().st_size:
            raise WireError("it is empty")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
            if view[:23] == b"version https://git-lfs":
                message = f"{path} is a Git LFS pointer, not the file itself"
                raise ModelError(message, hint=f"fetch it: cd {path.parent} && git lfs pull")
            reader = _Reader(Wire(view), data)
            reader.read_model(0, len(view))
            return reader.model


class _Reader:
    """Walks the messages of one model and fills `model`."""

    def __init__(self, wire: Wire, data: onnx_data.Data) -> None:
        self.wire = wire
        self.data = data
        self.model = Model()

    def read_model(self, start: int, end: int) -> None:
        model = self.model
        for number, kind, value, stop in self.wire.fields(start, end):
            if number == 1 and kind != BYTES:
                model.ir_version = signed(value)
            elif kind != BYTES:
                continue
            elif number == 2:
                model.producer = self.wire.text(value, stop)
            elif number == 3:
                model.producer_version = self.wire.text(value, stop)
            elif number == 8:
                self._opset(value, stop)
            elif number == 7:
                model.graphs += 1
                self._graph(value, stop, 0)
            elif number == 25:
                self._function(value, stop)

    def _opset(self, start: int, end: int) -> None:
        domain, version = DEFAULT_DOMAIN, 0
        for number, kind, value, stop in self.wire.fields(start, end):
            if number == 1 and kind == BYTES:
                domain = self.wire.text(value, stop) or DEFAULT_DOMAIN
            elif number == 2 and kind != BYTES:
                version = signed(value)
        self.model.opsets[domain] = version

    def _graph(self, start: int, end: int, depth: int) -> None:
        """Read a graph: the main one at `depth` 0, else a subgraph."""
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
                self.model.name = self.wire.text(value, stop)
            elif depth == 0 and number in (11, 12):
                (self.model.inputs if number == 11 else self.model.outputs).append(self._value(value, stop))

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
        self.model.functions.add((domain or DEFAULT_DOMAIN, name))

    def _node(self, start: int, end: int, depth: int) -> None:
        name = domain = ""
        inputs: list[str] = []
        outputs: list[str] = []
        stored: list[Stored] = []
        for number, kind, value, stop in self.wire.fields(start, end):
            if kind != BYTES:
                continue
            if number in (1, 2):
                (inputs if number == 1 else outputs).append(self.wire.text(value, stop))
            elif number == 4:
                name = self.wire.text(value, stop)
            elif number == 7:
                domain = self.wire.text(value, stop)
            elif number == 5:
                stored += self._attribute(value, stop, depth)
        if not name:
            raise WireError(f"byte {start}: a node without an operator")
        is_constant = name == "Constant" and domain in ("", DEFAULT_DOMAIN)
        for tensor in stored:
            if is_constant:
                self.model.dtypes[TYPES[tensor.type].stored] += tensor.elements
            else:
                self.model.constants += tensor.elements
        self.model.operators.add((domain or DEFAULT_DOMAIN, name))
        if depth == 0:
            self.model.nodes.append((name, inputs, outputs))

    def _attribute(self, start: int, end: int, depth: int) -> list[Stored]:
        """Return the tensors of an attribute, without those of its subgraphs, which are read."""
        tensors: list[Stored] = []
        for number, kind, value, stop in self.wire.fields(start, end):
            if kind != BYTES:
                continue
            if number in (5, 10):
                tensors.append(self._tensor(value, stop))
            elif number in (6, 11):
                self._graph(value, stop, depth + 1)
        return tensors

    def _initializer(self, start: int, end: int, depth: int) -> None:
        stored = self._tensor(start, end)
        if depth == 0:
            tensor = Tensor(stored.name, TYPES[stored.type].numpy, tuple(stored.dims))
            self.model.initializers[stored.name] = tensor
            if len(self.model.initializers) > _INITIALIZERS_LIMIT:
                raise WireError(f"byte {start}: more than {_INITIALIZERS_LIMIT} initializers")
        self.model.dtypes[TYPES[stored.type].stored] += stored.elements

    def _tensor(self, start: int, end: int) -> Stored:
        stored = Stored()
        for number, kind, value, stop in self.wire.fields(start, end):
            if number == 1:
                stored.dims += islice(self.wire.integers(kind, value, stop), RANK_LIMIT + 1)
            elif number == 2 and kind != BYTES:
                stored.type = value
            elif number == 14 and kind != BYTES:
                stored.is_external = value == 1
            elif number in _TYPED:
                stored.typed_limit += (stop - value) * _TYPED[number] if kind == BYTES and number != 6 else 4
            elif kind != BYTES:
                continue
            elif number == 8:
                stored.name = self.wire.text(value, stop)
            elif number == 9:
                stored.raw_bytes = stop - value
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
            self.model.unranked.append(name)
        return Tensor(name, dtype, shape or (), ranked=shape is not None)

    def _type(self, start: int, end: int) -> tuple[str, tuple[int | str | None, ...] | None]:
        dtype, shape = "unknown", None
        for number, kind, value, stop in self.wire.fields(start, end):
            if kind == BYTES and number in _NOT_TENSORS:
                dtype = _NOT_TENSORS[number]
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


def _problem(model: Model) -> str | None:
    """Return what makes the model incomplete or ambiguous, or None."""
    if model.graphs != 1:
        return f"it has {model.graphs or 'no'} graph{'s' if model.graphs > 1 else ''}"
    if model.ir_version is None:
        return "it states no IR version"
    if not model.outputs:
        return "its graph has no outputs"
    for what, tensors in (("input", model.inputs), ("output", model.outputs)):
        for name, count in Counter(tensor.name for tensor in tensors).items():
            if not name:
                return f"an {what} has no name"
            if count > 1:
                return f"the {what} {name!r} occurs twice"
    return None
