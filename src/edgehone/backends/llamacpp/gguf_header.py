"""The header of a GGUF file: its values and the types of its tensors, without the weights.

Format: docs/gguf.md of ggml, versions 2 and 3, little-endian.
"""

from __future__ import annotations

import re
import struct
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from edgehone.core.errors import EdgehoneError

# enum ggml_type, ggml/include/ggml.h
TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 6: "Q5_0", 7: "Q5_1", 8: "Q8_0", 9: "Q8_1", 10: "Q2_K",
    11: "Q3_K", 12: "Q4_K", 13: "Q5_K", 14: "Q6_K", 15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS",
    19: "IQ1_S", 20: "IQ4_NL", 21: "IQ3_S", 22: "IQ2_S", 23: "IQ4_XS", 24: "I8", 25: "I16", 26: "I32",
    27: "I64", 28: "F64", 29: "IQ1_M", 30: "BF16", 34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4",
}  # fmt: skip

# enum gguf_type: scalar formats of struct; 8 is a string, 9 an array
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_MOST = 1 << 28  # bytes of a string, values of an array: more is damage, not data


# Names of a mixture's tensors, gguf-py/gguf/constants.py: FFN_GATE_INP, FFN_GATE_EXP and its like.
_PARTS = {
    "router": re.compile(r"\.ffn_gate_inp\.weight$"),
    "experts": re.compile(r"\.ffn_(gate|up|down|gate_up)_exps\.weight$"),
}


@dataclass(frozen=True)
class Header:
    """`values`: scalars and strings by key, no arrays; `types`: the GGML type of each tensor by its name."""

    values: dict[str, Any]
    types: dict[str, str]

    @property
    def tensor_types(self) -> dict[str, int]:
        """GGML type → number of tensors."""
        return dict(sorted(Counter(self.types.values()).items()))

    @property
    def expert_types(self) -> dict[str, dict[str, int]]:
        """The same of a mixture's routers and of its experts apart; empty for what is no mixture."""
        found = {
            part: Counter(kind for name, kind in self.types.items() if pattern.search(name))
            for part, pattern in _PARTS.items()
        }
        return {part: dict(sorted(kinds.items())) for part, kinds in found.items() if kinds}


def read(path: Path) -> Header:
    """The header of a GGUF file. EdgehoneError when it is none or cut short."""
    try:
        with path.open("rb") as file:
            return _read(file)
    except (struct.error, UnicodeDecodeError, KeyError, ValueError, OverflowError) as error:
        raise EdgehoneError(f"{path} is not a whole GGUF file: {error}") from error


def _read(file: BinaryIO) -> Header:
    if (magic := file.read(4)) != b"GGUF":
        raise ValueError(f"it starts with {magic!r}")
    version, tensors, count = _unpack(file, "IQQ")
    if version not in (2, 3):
        raise ValueError(f"version {version}")
    values = {}
    for _ in range(count):
        key = _string(file)
        (kind,) = _unpack(file, "I")
        value = _value(file, kind)
        if kind != _ARRAY:
            values[key] = value
    return Header(values, dict(_tensor(file) for _ in range(tensors)))


def _value(file: BinaryIO, kind: int) -> Any:
    if kind == _STRING:
        return _string(file)
    if kind != _ARRAY:
        return _unpack(file, _SCALARS[kind])[0]
    inner, length = _unpack(file, "IQ")
    if length > _MOST:
        raise ValueError(f"an array of {length} values")
    if inner in _SCALARS:
        file.seek(length * struct.calcsize(_SCALARS[inner]), 1)
    else:
        for _ in range(length):
            _value(file, inner)
    return None


def _tensor(file: BinaryIO) -> tuple[str, str]:
    """A tensor's name and GGML type."""
    name = _string(file)
    (dimensions,) = _unpack(file, "I")
    file.seek(8 * dimensions, 1)
    kind, _ = _unpack(file, "IQ")
    return name, TYPES.get(kind, f"type {kind}")


def _string(file: BinaryIO) -> str:
    (length,) = _unpack(file, "Q")
    raw = file.read(min(length, _MOST))
    if len(raw) != length:
        raise ValueError("it ends within its header")
    return raw.decode("utf-8", "replace")


def _unpack(file: BinaryIO, form: str) -> tuple[Any, ...]:
    form = "<" + form
    return struct.unpack(form, file.read(struct.calcsize(form)))
