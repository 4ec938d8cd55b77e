"""Read the header of a GGUF file and check its tensors against the file size, without reading the weights.

Format: docs/gguf.md of ggml, versions 2 and 3, little-endian. Every length stated in the file is compared with
the number of remaining bytes before it is used.
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

HINT = "the file is damaged or incompletely copied: download or copy it again"
# Not damaged: another copy would be the same.
_CONVERT = "convert the original checkpoint again: convert_hf_to_gguf.py of llama.cpp"
_BEFORE_GGUF = (b"lmgg", b"fmgg", b"tjgg", b"algg")  # ggml, ggmf, ggjt and ggla as little-endian numbers
_MAX_DIMS = 4  # GGML_MAX_DIMS
# Longest array whose numbers are returned. Per-layer arrays are shorter; token scores are longer and not needed.
_ARRAY_LIMIT = 4096
_STRING_LIMIT = 1024 * 1024  # bytes of one string; chat templates have about 10,000
_NAME_LIMIT = 65_535  # bytes of a key or tensor name; the format's own limit for keys
# Strings and nested arrays in all arrays of one file. The largest vocabularies with merges have 1 million.
_ENTRIES_LIMIT = 8_000_000
_KEYS_LIMIT = 100_000  # keys in one file; real models have fewer than 100
_TENSORS_LIMIT = 1_000_000
_MEMORY_LIMIT = 64 * 1024 * 1024  # bytes of all names, strings and numbers held in memory
_DEPTH_LIMIT = 4  # nesting of arrays

# enum gguf_type: struct format of each scalar type. 8 is a string, 9 an array.
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9


@dataclass(frozen=True)
class TensorType:
    """A tensor type: its name, the elements in a block, and the bytes of a block."""

    name: str
    block: int
    bytes: int


@dataclass(frozen=True)
class Tensor:
    """A stored tensor. The first of `dims` varies fastest; `start` is the byte offset in the data section."""

    type: TensorType
    dims: tuple[int, ...]
    start: int

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.dims)

    @property
    def bytes(self) -> int:
        """Size of the data in bytes, without padding."""
        return self.elements // self.type.block * self.type.bytes


@dataclass(frozen=True)
class Header:
    """A GGUF header.

    `values`: scalars, strings and number arrays of at most 4096 elements, by key. `lengths`: the length of every
    array, by key, including arrays that are not in `values`. `tensors`: by name, in the order of the file.
    """

    version: int
    values: Mapping[str, Any]
    lengths: Mapping[str, int]
    tensors: Mapping[str, Tensor]

    @property
    def types(self) -> dict[str, str]:
        """The GGML type of each tensor, by tensor name."""
        return {name: tensor.type.name for name, tensor in self.tensors.items()}


@functools.cache
def _table() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name("gguf_types.toml").read_text("utf-8"))


@functools.cache
def _types() -> dict[int, TensorType]:
    rows = _table()["types"]
    return {number: TensorType(name, block, size) for name, (number, block, size) in rows.items()}


def type_named(name: str) -> TensorType:
    """Return the tensor type of a name ("Q4_K"). Raises KeyError for an unknown one."""
    return TensorType(name, *_table()["types"][name][1:])


def file_type(number: Any) -> str | None:
    """Return the name of a `general.file_type` ("Q4_K_M"), or None if the number is unknown."""
    name = _table()["file_types"].get(str(number))
    return name if isinstance(name, str) else None


def read_header(path: Path) -> Header:
    """Read the header of one GGUF file.

    Raises ModelError, with the path and usually the byte, if the file violates the format, is truncated, has
    tensors that overlap or extend past its end, or cannot be opened.
    """
    try:
        size = path.stat().st_size
        if size < 24:
            raise _FormatError(f"it has {size} bytes, too few for a header")
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
            _check_magic(path, view)
            return _Cursor(view).header()
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror or error}") from error
    except _FormatError as error:
        raise ModelError(f"{path} is not a valid GGUF file: {error}", hint=HINT) from error


class _FormatError(ValueError):
    """A violation of the format. The message says which, and at which byte."""


def _check_magic(path: Path, view: mmap.mmap) -> None:
    if view[:8] == b"version ":
        message = f"{path} is a Git LFS pointer, not the weights"
        raise ModelError(message, hint=f"fetch the weights: cd {path.parent} && git lfs pull")
    if view[:4] != b"GGUF":
        if view[:4] in _BEFORE_GGUF:
            raise ModelError(f"{path} is a GGML file of before August 2023, not GGUF", hint=_CONVERT)
        raise _FormatError(f"it starts with {view[:4]!r}")
    version = int.from_bytes(view[4:8], "little")
    if version not in (2, 3):
        swapped = int.from_bytes(view[4:8], "big")
        if swapped in (2, 3):
            found = f"version {swapped}, big-endian; only little-endian files are supported"
        else:
            found = f"version {version}; only versions 2 and 3 are supported"
        raise ModelError(f"{path} is a GGUF file of {found}", hint=_CONVERT)


class _Cursor:
    """A read position in the file that only moves forward."""

    def __init__(self, view: mmap.mmap) -> None:
        self.view = view
        self.size = len(view)
        self.position = 4
        self.entries = 0
        self.memory = 0
        self.lengths: dict[str, int] = {}

    def header(self) -> Header:
        version, tensor_count, key_count = self.unpack("IQQ")
        self.check_fits(key_count, 8 + 4 + 1, "keys", _KEYS_LIMIT)
        values: dict[str, Any] = {}
        for _ in range(key_count):
            key = self.string(_NAME_LIMIT)
            if key in values or key in self.lengths:
                raise _FormatError(f"the key {key!r} occurs twice")
            (value_type,) = self.unpack("I")
            value = self.value(value_type, key, 0)
            if value is not None:
                values[key] = value
        self.check_fits(tensor_count, 8 + 4 + 4 + 8, "tensors", _TENSORS_LIMIT)
        tensors: dict[str, Tensor] = {}
        for _ in range(tensor_count):
            name = self.string(_NAME_LIMIT)
            if name in tensors:
                raise _FormatError(f"the tensor {name!r} occurs twice")
            tensors[name] = self.tensor(name)
        self.check_offsets(tensors, values.get("general.alignment", 32))
        return Header(version, values, self.lengths, tensors)

    def unpack(self, form: str) -> tuple[Any, ...]:
        form = f"<{form}"
        size = struct.calcsize(form)
        if size > self.size - self.position:
            raise _FormatError(f"it ends at byte {self.size}, within its header")
        numbers = struct.unpack_from(form, self.view, self.position)
        self.position += size
        return numbers

    def check_fits(self, count: int, size: int, what: str, limit: int | None = None) -> None:
        """Refuse a count above `limit`, or one whose items of at least `size` bytes exceed the remaining bytes."""
        if limit is not None and count > limit:
            raise _FormatError(f"byte {self.position}: {count} {what} exceed the limit of {limit}")
        if count * size > self.size - self.position:
            remaining = self.size - self.position
            raise _FormatError(
                f"byte {self.position}: {count} {what} do not fit in the {remaining} remaining bytes"
            )

    def reserve(self, size: int) -> None:
        """Count `size` bytes held in memory. Refuse the file when the total exceeds the limit."""
        self.memory += size
        if self.memory > _MEMORY_LIMIT:
            raise _FormatError(f"byte {self.position}: names and strings exceed {_MEMORY_LIMIT} bytes")

    def string(self, limit: int) -> str:
        (length,) = self.unpack("Q")
        self.check_fits(length, 1, "bytes of a string")
        if length > limit:
            raise _FormatError(
                f"byte {self.position}: a string of {length} bytes exceeds the limit of {limit}"
            )
        self.reserve(length)
        raw = self.view[self.position : self.position + length]
        self.position += length
        return raw.decode("utf-8", "backslashreplace")

    def value(self, value_type: int, key: str, depth: int) -> Any:
        """Return a scalar, a string or a short number array. Return None for other arrays; record their length."""
        if value_type in _SCALARS:
            return self.unpack(_SCALARS[value_type])[0]
        if value_type == _STRING:
            return self.string(_STRING_LIMIT)
        if value_type != _ARRAY:
            raise _FormatError(f"byte {self.position}: {key!r} has the unknown type {value_type}")
        item_type, length = self.unpack("IQ")
        if depth == 0:
            self.lengths[key] = length
        if item_type in _SCALARS:
            return self.number_array(item_type, length, key, depth)
        if item_type not in (_STRING, _ARRAY) or depth >= _DEPTH_LIMIT:
            raise _FormatError(
                f"byte {self.position}: the array {key!r} has the unknown type {item_type}, or is nested too deep"
            )
        self.check_fits(length, 8 if item_type == _STRING else 12, f"items of {key!r}")
        self.entries += length
        if self.entries > _ENTRIES_LIMIT:
            raise _FormatError(
                f"byte {self.position}: with the {length} items of {key!r}, array items exceed {_ENTRIES_LIMIT}"
            )
        if item_type == _STRING:
            self.skip_strings(length)
        else:
            for _ in range(length):
                self.value(_ARRAY, key, depth + 1)
        return None

    def number_array(self, item_type: int, length: int, key: str, depth: int) -> list[Any] | None:
        size = struct.calcsize(_SCALARS[item_type])
        self.check_fits(length, size, f"numbers of {key!r}")
        end = self.position + length * size
        numbers = None
        if depth == 0 and length <= _ARRAY_LIMIT:
            self.reserve(8 * length)
            numbers = list(self.unpack(f"{length}{_SCALARS[item_type]}"))
        self.position = end
        return numbers

    def skip_strings(self, count: int) -> None:
        unpack, view, at, last = struct.Struct("<Q").unpack_from, self.view, self.position, self.size - 8
        for _ in range(count):
            if at > last:
                raise _FormatError(f"it ends at byte {self.size}, within an array of strings")
            at += 8 + unpack(view, at)[0]
        if at > self.size:
            raise _FormatError(f"it ends at byte {self.size}, within a string")
        self.position = at

    def tensor(self, name: str) -> Tensor:
        (rank,) = self.unpack("I")
        if rank > _MAX_DIMS:
            raise _FormatError(f"tensor {name!r} has {rank} dimensions, above the limit of {_MAX_DIMS}")
        dims = self.unpack(f"{rank}Q")
        number, start = self.unpack("IQ")
        tensor_type = _types().get(number)
        if tensor_type is None:
            raise _FormatError(f"tensor {name!r} has the unknown type {number}")
        if any(extent >= 2**63 for extent in dims) or (dims[0] if dims else 1) % tensor_type.block:
            raise _FormatError(f"tensor {name!r} of {tensor_type.name} has the invalid shape {list(dims)}")
        return Tensor(tensor_type, dims, start)

    def check_offsets(self, tensors: Mapping[str, Tensor], alignment: Any) -> None:
        """Refuse tensors that are misaligned, overlap, or extend past the end of the file."""
        if not isinstance(alignment, int) or alignment <= 0 or alignment & (alignment - 1):
            raise _FormatError(f"general.alignment is {alignment!r}, not a power of 2")
        data_start = -(-self.position // alignment) * alignment
        end, previous = 0, ""
        for name, tensor in sorted(tensors.items(), key=lambda item: (item[1].start, item[1].bytes)):
            if tensor.start % alignment:
                raise _FormatError(f"tensor {name!r} starts at {tensor.start}, not a multiple of {alignment}")
            if tensor.start < end:
                raise _FormatError(
                    f"tensor {name!r} starts at {tensor.start}, within {previous!r}, which ends at {end}"
                )
            end, previous = tensor.start + tensor.bytes, name
            if data_start + end > self.size:
                raise _FormatError(
                    f"it is truncated: tensor {name!r} ends at byte {data_start + end}, the file at {self.size}"
                )
