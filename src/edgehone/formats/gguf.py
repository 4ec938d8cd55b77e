"""Reads the header of a GGUF file and checks its tensors against the file's size, without touching the weights.

Format: docs/gguf.md of ggml, versions 2 and 3, little-endian. No length that the file states is trusted
before it is compared with the bytes that are left.
"""

from __future__ import annotations

import functools
import math
import mmap
import struct
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgehone.core.errors import ModelError

HINT = "the file is damaged or half-copied: fetch or copy it again"
_MAX_DIMS = 4  # GGML_MAX_DIMS
_KEPT = 4096  # numbers of an array that are kept: one a layer is what matters; a vocabulary's scores do not
_TEXT_LIMIT = 1024 * 1024  # bytes of a text; chat templates have about 10,000
_NAME_LIMIT = 65_535  # bytes of a key, the format's own limit
_STRINGS_LIMIT = (
    8_000_000  # strings in arrays of one file; the largest vocabularies with merges have 1 million
)
_VALUES_LIMIT = 100_000  # keys of one file; genuine ones have less than 100
_TENSORS_LIMIT = 1_000_000
_KEPT_LIMIT = 64 * 1024 * 1024  # bytes of all names, texts and numbers that are kept
_DEPTH_LIMIT = 4  # of arrays of arrays

# enum gguf_type: scalars as struct names them; 8 is a string, 9 an array
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9


@dataclass(frozen=True)
class Type:
    """A tensor type: its name, and how many bytes a block of elements takes."""

    name: str
    block: int
    bytes: int


@dataclass(frozen=True)
class Tensor:
    """One stored tensor: the first dimension is the fastest; `start` is an offset in the data section."""

    type: Type
    dims: tuple[int, ...]
    start: int

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.dims)

    @property
    def bytes(self) -> int:
        """What it takes, without padding."""
        return self.elements // self.type.block * self.type.bytes


@dataclass(frozen=True)
class Header:
    """`values`: scalars, strings and short arrays of numbers by key; `lengths`: of every array, by key."""

    version: int
    values: Mapping[str, Any]
    lengths: Mapping[str, int]
    tensors: Mapping[str, Tensor]


@functools.cache
def _table() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name("gguf_types.toml").read_text("utf-8"))


@functools.cache
def _types() -> dict[int, Type]:
    return {number: Type(name, block, size) for name, (number, block, size) in _table()["types"].items()}


def file_type(number: Any) -> str | None:
    """What a file states that it was quantized as ("Q4_K_M"); None where the number is not known."""
    name = _table()["file_types"].get(str(number))
    return name if isinstance(name, str) else None


def read_header(path: Path) -> Header:
    """The header of one GGUF file.

    Raises ModelError, naming the file and the place, where it breaks the format, is truncated, or has
    tensors that overlap or end after the file.
    """
    try:
        size = path.stat().st_size
        if size < 24:
            raise _Broken(f"it has {size} bytes, too few for a header")
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
            _check_magic(path, view)
            return _Cursor(view).header()
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror or error}") from error
    except _Broken as error:
        raise ModelError(f"{path} is not a sound GGUF file: {error}", hint=HINT) from error


class _Broken(ValueError):
    """What breaks the format, and where."""


def _check_magic(path: Path, view: mmap.mmap) -> None:
    if view[:8] == b"version ":
        message = f"{path} is a Git LFS pointer, not the weights"
        raise ModelError(message, hint=f"fetch the weights: cd {path.parent} && git lfs pull")
    if view[:4] != b"GGUF":
        raise _Broken(f"it starts with {view[:4]!r}")
    version = int.from_bytes(view[4:8], "little")
    if version not in (2, 3):
        swapped = int.from_bytes(view[4:8], "big")
        order = ", big-endian" if swapped in (2, 3) else ""
        raise _Broken(f"version {swapped if order else version}{order}: 2 and 3, little-endian, can be read")


class _Cursor:
    """A place in the file that only moves forward."""

    def __init__(self, view: mmap.mmap) -> None:
        self.view = view
        self.size = len(view)
        self.at = 4
        self.strings = 0
        self.kept = 0
        self.lengths: dict[str, int] = {}

    def header(self) -> Header:
        version, tensors, count = self.unpack("IQQ")
        self.need(count, 8 + 4 + 1, "values", _VALUES_LIMIT)
        values: dict[str, Any] = {}
        for _ in range(count):
            key = self.text(_NAME_LIMIT)
            if key in values or key in self.lengths:
                raise _Broken(f"the key {key!r} is there twice")
            (kind,) = self.unpack("I")
            value = self.value(kind, key, 0)
            if value is not None:
                values[key] = value
        self.need(tensors, 8 + 4 + 4 + 8, "tensors", _TENSORS_LIMIT)
        found: dict[str, Tensor] = {}
        for _ in range(tensors):
            name = self.text(_NAME_LIMIT)
            if name in found:
                raise _Broken(f"the tensor {name!r} is there twice")
            found[name] = self.tensor(name)
        self.check_places(found, values.get("general.alignment", 32))
        return Header(version, values, self.lengths, found)

    def unpack(self, form: str) -> tuple[Any, ...]:
        form = f"<{form}"
        size = struct.calcsize(form)
        if size > self.size - self.at:
            raise _Broken(f"it ends at byte {self.size}, within its header")
        found = struct.unpack_from(form, self.view, self.at)
        self.at += size
        return found

    def need(self, count: int, each: int, what: str, most: int | None = None) -> None:
        """Refuses `count` things of at least `each` bytes where they can't follow, or are more than `most`."""
        if most is not None and count > most:
            raise _Broken(f"byte {self.at}: {count} {what}, above the limit of {most}")
        if count * each > self.size - self.at:
            raise _Broken(
                f"byte {self.at}: {count} {what} do not fit in the {self.size - self.at} bytes that are left"
            )

    def keep(self, size: int) -> None:
        """Refuses a file that would make this program keep without end."""
        self.kept += size
        if self.kept > _KEPT_LIMIT:
            raise _Broken(f"byte {self.at}: more names and texts than any genuine model has")

    def text(self, limit: int) -> str:
        (length,) = self.unpack("Q")
        self.need(length, 1, "bytes of text")
        if length > limit:
            raise _Broken(f"byte {self.at}: a text of {length} bytes, above the limit of {limit}")
        self.keep(length)
        raw = self.view[self.at : self.at + length]
        self.at += length
        return raw.decode("utf-8", "backslashreplace")

    def value(self, kind: int, key: str, depth: int) -> Any:
        """A scalar, a text, or an array's first numbers; None for other arrays, whose length is kept."""
        if kind in _SCALARS:
            return self.unpack(_SCALARS[kind])[0]
        if kind == _STRING:
            return self.text(_TEXT_LIMIT)
        if kind != _ARRAY:
            raise _Broken(f"byte {self.at}: {key!r} has the unknown type {kind}")
        inner, length = self.unpack("IQ")
        if depth == 0:
            self.lengths[key] = length
        if inner in _SCALARS:
            size = struct.calcsize(_SCALARS[inner])
            self.need(length, size, f"numbers of {key!r}")
            after = self.at + length * size
            kept = None
            if depth == 0 and length <= _KEPT:
                self.keep(8 * length)
                kept = list(self.unpack(f"{length}{_SCALARS[inner]}"))
            self.at = after
            return kept
        if inner not in (_STRING, _ARRAY) or depth >= _DEPTH_LIMIT:
            raise _Broken(f"byte {self.at}: the array {key!r} is of the unknown type {inner}, or too deep")
        self.need(length, 8 if inner == _STRING else 12, f"entries of {key!r}")
        self.strings += length
        if self.strings > _STRINGS_LIMIT:
            raise _Broken(f"byte {self.at}: the array {key!r} has {length} entries, above what is genuine")
        if inner == _STRING:
            self.skip_texts(length)
        else:
            for _ in range(length):
                self.value(_ARRAY, key, depth + 1)
        return None

    def skip_texts(self, count: int) -> None:
        unpack, view, at, last = struct.Struct("<Q").unpack_from, self.view, self.at, self.size - 8
        for _ in range(count):
            if at > last:
                raise _Broken(f"it ends at byte {self.size}, within an array of texts")
            at += 8 + unpack(view, at)[0]
        if at > self.size:
            raise _Broken(f"it ends at byte {self.size}, within a text")
        self.at = at

    def tensor(self, name: str) -> Tensor:
        (rank,) = self.unpack("I")
        if rank > _MAX_DIMS:
            raise _Broken(f"tensor {name!r} has {rank} dimensions")
        dims = self.unpack(f"{rank}Q")
        number, start = self.unpack("IQ")
        kind = _types().get(number)
        if kind is None:
            raise _Broken(f"tensor {name!r} has the unknown type {number}")
        if any(extent >= 2**63 for extent in dims) or (dims[0] if dims else 1) % kind.block:
            raise _Broken(f"tensor {name!r} of {kind.name} has the shape {list(dims)}")
        return Tensor(kind, dims, start)

    def check_places(self, tensors: Mapping[str, Tensor], alignment: Any) -> None:
        if not isinstance(alignment, int) or alignment <= 0 or alignment & (alignment - 1):
            raise _Broken(f"general.alignment is {alignment!r}, not a power of 2")
        begin = -(-self.at // alignment) * alignment
        reached, before = 0, ""
        for name, tensor in sorted(tensors.items(), key=lambda item: (item[1].start, item[1].bytes)):
            if tensor.start % alignment:
                raise _Broken(f"tensor {name!r} starts at {tensor.start}, no multiple of {alignment}")
            if tensor.start < reached:
                raise _Broken(f"tensor {name!r} starts at {tensor.start}, within {before!r} up to {reached}")
            reached, before = tensor.start + tensor.bytes, name
            if begin + reached > self.size:
                raise _Broken(
                    f"it is truncated: tensor {name!r} ends at byte {begin + reached} of {self.size}"
                )
