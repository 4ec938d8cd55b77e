"""Tensors of safetensors files as arrays of float64, and back as bytes of their stored type, rounded once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.core.errors import ModelError
from edgehone.formats.safetensors import Tensor

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}


def load(path: Path, name: str, tensor: Tensor) -> Floats:
    """Return a stored tensor. Raises ModelError if its type is no float of 16 bits or more."""
    if tensor.dtype not in _DTYPES:
        raise ModelError(
            f"{path}: the tensor {name!r} is stored as {tensor.dtype}, and adapters are merged into floats only",
            hint="give the unquantized base model",
        )
    with path.open("rb") as file:
        begin = 8 + int.from_bytes(file.read(8), "little")
        file.seek(begin + tensor.start)
        return decoded(file.read(tensor.end - tensor.start), tensor.dtype, tensor.shape)


def decoded(raw: bytes, dtype: str, shape: tuple[int, ...]) -> Floats:
    """Return the values of stored bytes; exact, since float64 holds them all."""
    import numpy as np

    values: NDArray[Any] = np.frombuffer(raw, _DTYPES[dtype])
    if dtype == "BF16":  # the upper half of a float32
        values = (values.astype("<u4") << 16).view("<f4")
    return values.astype(np.float64).reshape(shape)


def encoded(array: Floats, dtype: str) -> bytes:
    """Return the bytes of an array in a type of safetensors: the nearest value, on a tie the one that ends in 0."""
    import numpy as np

    if dtype != "BF16":
        with np.errstate(
            over="ignore"
        ):  # beyond float16: infinite, as in every framework; the run tells of it
            return array.astype(_DTYPES[dtype]).tobytes()
    return _bfloat16(array).tobytes()


def _bfloat16(array: Floats) -> NDArray[np.uint16]:
    """Round float64 to bfloat16 directly: by way of float32 some values would be rounded twice."""
    import numpy as np

    with np.errstate(over="ignore"):
        single = array.astype("<f4")
    # Move a float32 that was rounded onto a tie of bfloat16 back to the side on which the exact value lies.
    back, bits = single.astype(np.float64), single.view("<u4").astype(np.int64)
    tied = ((bits & 0xFFFF) == 0x8000) & (back != array) & np.isfinite(back)
    toward_zero = tied & (np.abs(back) > np.abs(array))
    bits = bits + np.where(tied & ~toward_zero, 1, 0) - np.where(toward_zero, 1, 0)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(single), 0x7FC0, rounded).astype("<u2")
