"""The first rows of the arrays in an npz file, without loading the others."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray


def first_rows(path: Path, most: int, whole: frozenset[str] = frozenset()) -> dict[str, NDArray[Any]]:
    """Return the first `most` rows of each array, and all of those in `whole`.

    Raises ValueError for an array that is not stored row by row.
    """
    import numpy as np
    from numpy.lib import format as npy

    readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    arrays: dict[str, NDArray[Any]] = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            name = member.removesuffix(".npy")
            with archive.open(member) as file:
                if name in whole:
                    arrays[name] = npy.read_array(file, allow_pickle=False)
                    continue
                shape, columns_first, dtype = readers[npy.read_magic(file)](file)
                if (columns_first and len(shape) > 1) or not shape:
                    raise ValueError(f"{path}: {member} is not stored row by row")
                rows = min(most, shape[0])
                data = file.read(rows * int(np.prod(shape[1:], dtype=np.int64)) * dtype.itemsize)
                arrays[name] = np.frombuffer(data, dtype).reshape(rows, *shape[1:])
    return arrays
