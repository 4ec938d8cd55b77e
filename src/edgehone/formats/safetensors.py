"""Read the header of a safetensors file and check it against the file size, without reading the weights.

The format: header length (8 bytes, little-endian), header (JSON, at most 100 MB), data of all tensors without gaps.
Source: the README of the safetensors project, section "Format".
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgehone.core.errors import ModelError

HEADER_LIMIT = 100_000_000  # bytes; the format's own limit
_MAX_U64 = 2**64 - 1
_MAX_RANK = 64  # as in numpy; without a limit, multiplying the extents of a crafted shape takes hours

# Bits per element of every dtype in the format.
BITS: Mapping[str, int] = {
    "BOOL": 8, "U8": 8, "I8": 8, "U16": 16, "I16": 16, "U32": 32, "I32": 32, "U64": 64, "I64": 64,
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8,
    "F16": 16, "BF16": 16, "F32": 32, "F64": 64, "C64": 64,
}  # fmt: skip

HINT = "the file is damaged or incompletely copied: download or copy it again"


@dataclass(frozen=True)
class Tensor:
    """A stored tensor. `start` and `end` are byte offsets from the end of the header."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


def read_header(path: Path) -> dict[str, Tensor]:
    """Read the tensors of one safetensors file, by name, in the order of their offsets.

    Raises ModelError, with the path and the offending value, if the header violates the format or does not match
    the file size.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            raw_length = file.read(8)
            length = int.from_bytes(raw_length, "little")
            _check_length(path, size, raw_length, length)
            text = file.read(length)
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror or error}", hint=HINT) from error
    if len(text) != length:
        raise _invalid(path, f"the header ends after {len(text)} of {length} bytes")
    tensors = parse_header(path, text)
    expected = 8 + length + max((tensor.end for tensor in tensors.values()), default=0)
    if size != expected:
        what = "truncated" if size < expected else "longer than its header says"
        raise _invalid(path, f"it is {what}: expected {expected} bytes, found {size}")
    return tensors


def parse_header(path: Path, text: bytes) -> dict[str, Tensor]:
    """Parse a header in JSON. Checks each tensor's dtype, shape and size, and that the tensors are contiguous.

    `path` is only used in error messages. Raises ModelError.
    """
    if not text.startswith(b"{"):
        raise _invalid(path, f"the header does not start with '{{' but with {text[:8]!r}")
    try:
        data = json.loads(text.decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise _invalid(path, f"the header is not valid JSON: {error}") from error
    _check_metadata(path, data.pop("__metadata__", None))
    tensors = {name: _tensor(path, name, entry) for name, entry in data.items()}
    ordered = dict(sorted(tensors.items(), key=lambda item: (item[1].start, item[1].end)))
    _check_contiguous(path, ordered)
    return ordered


def _check_length(path: Path, size: int, raw: bytes, length: int) -> None:
    if len(raw) < 8:
        raise _invalid(path, f"it has {size} bytes, too few for a header")
    if raw == b"version ":
        message = f"{path} is a Git LFS pointer, not the weights"
        raise ModelError(message, hint=f"fetch the weights: cd {path.parent} && git lfs pull")
    if length > HEADER_LIMIT:
        raise _invalid(path, f"the header's length is {length} bytes, above the format's {HEADER_LIMIT}")
    if length > size - 8:
        raise _invalid(path, f"it is truncated: a header of {length} bytes does not fit in {size} bytes")


def _check_metadata(path: Path, metadata: Any) -> None:
    if metadata is None:
        return
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _invalid(path, "__metadata__ is not an object of strings")


def _tensor(path: Path, name: str, entry: Any) -> Tensor:
    if not isinstance(entry, dict):
        raise _invalid(path, f"tensor {name!r} is described by {_short(entry)}, not by an object")
    dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in BITS:
        raise _invalid(path, f"tensor {name!r} has the unknown dtype {_short(dtype)}")
    if not isinstance(shape, list) or len(shape) > _MAX_RANK or not all(_is_size(extent) for extent in shape):
        raise _invalid(path, f"tensor {name!r} has the invalid shape {_short(shape)}")
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(_is_size(offset) for offset in offsets):
        raise _invalid(path, f"tensor {name!r} has the invalid data_offsets {_short(offsets)}")
    tensor = Tensor(dtype, tuple(shape), offsets[0], offsets[1])
    bits = tensor.elements * BITS[dtype]
    span = tensor.end - tensor.start
    if bits != span * 8:
        raise _invalid(
            path,
            f"tensor {name!r} of {dtype} {_short(shape)} needs {_short(-(-bits // 8))} bytes, "
            f"its data_offsets {_short(offsets)} span {span}",
        )
    return tensor


def _check_contiguous(path: Path, ordered: Mapping[str, Tensor]) -> None:
    end = 0
    for name, tensor in ordered.items():
        if tensor.start != end:
            problem = "overlaps" if tensor.start < end else "leaves a gap after"
            raise _invalid(
                path,
                f"tensor {name!r} starts at byte {tensor.start} and {problem} the previous one, which ends at {end}",
            )
        end = tensor.end


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_U64


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        counts = Counter(key for key, _ in pairs)
        raise ValueError(f"the key {counts.most_common(1)[0][0]!r} occurs twice")
    return result


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _invalid(path: Path, problem: str) -> ModelError:
    return ModelError(f"{path} is not a valid safetensors file: {problem}", hint=HINT)
