"""Find weights that 16-bit floats cannot hold: the usual cause of logits that are not finite."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.formats.safetensors import read_header

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FLOAT16_MAX = 65504.0
_CHUNK = 1 << 24  # elements at a time
# The magnitudes of floats are ordered as their bits without the sign are, as unsigned integers.
_BITS = {"BF16": ("<u2", 0x7FFF), "F32": ("<u4", 0x7FFF_FFFF), "F64": ("<u8", 0x7FFF_FFFF_FFFF_FFFF)}


def beyond_float16(folder: Path, files: tuple[str, ...]) -> tuple[str, str, float] | None:
    """Return file, tensor and magnitude of the largest stored weight beyond float16; None if there is none.

    Reads all weights in safetensors `files` of dtypes with a wider range. The magnitude may be infinite or NaN.
    """
    import math

    largest_weight: tuple[str, str, float] | None = None
    for file, name, value in _largest(folder, files):
        # A NaN is the worst, and is not comparable.
        worse = largest_weight is None or math.isnan(value) or value > largest_weight[2]
        if worse and not value <= FLOAT16_MAX:
            largest_weight = (file, name, value)
    return largest_weight


def _largest(folder: Path, files: tuple[str, ...]) -> Iterator[tuple[str, str, float]]:
    import numpy as np

    for file in files:
        if not file.endswith(".safetensors"):
            continue
        path = folder / file
        with path.open("rb") as opened:
            begin = 8 + int.from_bytes(opened.read(8), "little")
        for name, tensor in read_header(path).items():
            if tensor.dtype not in _BITS or not tensor.elements:
                continue
            dtype, mask = _BITS[tensor.dtype]
            stored = np.memmap(path, np.dtype(dtype), "r", begin + tensor.start, tensor.elements)
            parts = range(0, tensor.elements, _CHUNK)
            yield file, name, _value(max(int((stored[at : at + _CHUNK] & mask).max()) for at in parts), dtype)


def _value(bits: int, dtype: str) -> float:
    """Return the number with these bits; a bfloat16 is the upper half of a float32."""
    import numpy as np

    if dtype == "<u2":
        bits, dtype = bits << 16, "<u4"
    whole: NDArray[np.unsignedinteger[Any]] = np.array([bits], dtype)
    return float(whole.view(dtype.replace("u", "f"))[0])
