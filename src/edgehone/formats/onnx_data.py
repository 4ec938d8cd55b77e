"""Check the data of an ONNX model's tensors: type, size, and position in the model or in external data files."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from edgehone.core.absence import why_absent
from edgehone.core.errors import ModelError

RANK_LIMIT = 64  # as in numpy; without a limit, multiplying the extents of a crafted shape takes hours


@dataclass(frozen=True)
class Type:
    """A data type: its name in numpy, its name in safetensors (upper case), and bits per element, 0 for strings."""

    numpy: str
    stored: str
    bits: int


# TensorProto.DataType (onnx.proto, onnx 1.23)
TYPES = {
    number: Type(*row)
    for number, row in {
        1: ("float32", "F32", 32), 2: ("uint8", "U8", 8), 3: ("int8", "I8", 8), 4: ("uint16", "U16", 16),
        5: ("int16", "I16", 16), 6: ("int32", "I32", 32), 7: ("int64", "I64", 64), 8: ("str", "STRING", 0),
        9: ("bool", "BOOL", 8), 10: ("float16", "F16", 16), 11: ("float64", "F64", 64),
        12: ("uint32", "U32", 32), 13: ("uint64", "U64", 64), 14: ("complex64", "C64", 64),
        15: ("complex128", "C128", 128), 16: ("bfloat16", "BF16", 16), 17: ("float8_e4m3fn", "F8_E4M3", 8),
        18: ("float8_e4m3fnuz", "F8_E4M3FNUZ", 8), 19: ("float8_e5m2", "F8_E5M2", 8),
        20: ("float8_e5m2fnuz", "F8_E5M2FNUZ", 8), 21: ("uint4", "U4", 4), 22: ("int4", "I4", 4),
        23: ("float4_e2m1fn", "F4", 4), 24: ("float8_e8m0fnu", "F8_E8M0", 8), 25: ("uint2", "U2", 2),
        26: ("int2", "I2", 2), 27: ("float6_e2m3fn", "F6_E2M3", 6), 28: ("float6_e3m2fn", "F6_E3M2", 6),
    }.items()
}  # fmt: skip


@dataclass
class Stored:
    """The header of a TensorProto.

    `raw_bytes`: length of raw_data in the model's file, None without it. `typed_limit`: the most elements that the
    typed data fields can hold. `external`: location, offset and length of external data.
    """

    name: str = ""
    type: int = 0
    dims: list[int] = field(default_factory=list)
    raw_bytes: int | None = None
    typed_limit: int = 0
    is_external: bool = False
    external: dict[str, str] = field(default_factory=dict)

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.dims)


class Data:
    """The tensor data of the model in `path`. `sizes`: bytes of each external file, by path relative to the model."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sizes: dict[str, int] = {}
        self._size_of: dict[str, int] = {}  # by location as written in the model

    def check(self, tensor: Stored) -> None:
        """Raise ModelError, with the tensor's name, unless data of the size that the shape requires exists."""
        if tensor.type not in TYPES:
            raise self._invalid(tensor, f"has the unknown data type {tensor.type}")
        if len(tensor.dims) > RANK_LIMIT or any(extent < 0 for extent in tensor.dims):
            raise self._invalid(tensor, f"has the shape {_short(tensor.dims)}")
        kind = TYPES[tensor.type]
        needed = -(-tensor.elements * kind.bits // 8)
        if tensor.is_external:
            self._check_external(tensor, needed)
        elif tensor.raw_bytes is None:
            if tensor.elements > tensor.typed_limit:
                raise self._invalid(tensor, f"of {kind.numpy} {_short(tensor.dims)} has no data")
        elif kind.bits != 6 and tensor.raw_bytes != needed:
            raise self._invalid(
                tensor,
                f"of {kind.numpy} {_short(tensor.dims)} needs {needed} bytes, but has {tensor.raw_bytes}",
            )

    def _check_external(self, tensor: Stored, needed: int) -> None:
        location = tensor.external.get("location", "")
        size = self._size_of.get(location)
        if size is None:
            size = self._size(tensor, location)
            self._size_of[location] = self.sizes[PurePosixPath(location).as_posix()] = size
        offset = self._number(tensor, "offset") or 0
        length = self._number(tensor, "length")
        if length is not None and length < needed:
            raise self._invalid(tensor, f"needs {needed} bytes, but its length in {location} is {length}")
        end = offset + (needed if length is None else length)
        if end > size:
            raise self._invalid(
                tensor,
                f"ends at byte {end} of {location}, which has {size} bytes",
                hint="download or copy it again",
            )

    def _number(self, tensor: Stored, key: str) -> int | None:
        text = tensor.external.get(key)
        if text is None:
            return None
        if not (text.isascii() and text.isdigit() and len(text) <= 19):
            raise self._invalid(tensor, f"has the invalid {key} {text[:80]!r} in its data file")
        return int(text)

    def _size(self, tensor: Stored, location: str) -> int:
        folder = self.path.parent
        relative = PurePosixPath(location)
        problem = f"has its data in {location[:200]!r}, which is not a file in the model's folder"
        if (
            not location
            or relative.is_absolute()
            or ".." in relative.parts
            or "\0" in location
            or "\\" in location
            or Path(location).drive
        ):
            raise self._invalid(tensor, problem)
        file = folder / relative
        try:
            real = file.resolve()
            # The Hugging Face cache links all files of a model to files in one folder.
            if not any(real.is_relative_to(root) for root in (folder.resolve(), self.path.resolve().parent)):
                raise self._invalid(tensor, f"{problem}: it is a link to {real}")
            if not real.is_file():
                hint = f"copy it to the folder of {self.path.name}"
                link = why_absent(file, "")
                missing = f"{file}, but {link}" if link else f"{file}, which is missing"
                raise self._invalid(tensor, f"has its data in {missing}", hint=hint)
            return real.stat().st_size
        except (OSError, RuntimeError) as error:  # a name that is too long, or links that form a loop
            raise self._invalid(tensor, f"{problem}: {error}") from error

    def _invalid(self, tensor: Stored, problem: str, hint: str | None = None) -> ModelError:
        return ModelError(
            f"{self.path}: tensor {tensor.name!r} {problem}",
            hint=hint or "download or export the model again, together with its data files",
        )


def _short(dims: list[int]) -> str:
    text = str(dims[: RANK_LIMIT + 1])
    return text if len(text) <= 80 else f"{text[:77]}..."
