"""Check numpy's files without unpickling: arrays of objects are refused, and the size must be that of the header."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import IO

# Bytes of a header, far above any real one.
_HEADER_LIMIT = 65_536


def check_npy(path: Path) -> list[str]:
    """Return the problems of an .npy file."""
    with path.open("rb") as file:
        return _problems(file, path.stat().st_size)


def check_npz(path: Path) -> list[str]:
    """Return the problems of the arrays of an .npz file. Raises zipfile.BadZipFile for what is no zip archive."""
    found = []
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if not entry.filename.endswith(".npy"):
                found.append(f"the member {entry.filename!r} is no array")
                continue
            with archive.open(entry) as file:
                found += [f"{entry.filename}: {one}" for one in _problems(file, entry.file_size)]
    return found


def _problems(file: IO[bytes], size: int) -> list[str]:
    import numpy as np

    try:
        version = np.lib.format.read_magic(file)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }.get(version)
        if read is None:
            return [f"it is version {version}"]
        shape, _, dtype = read(file, max_header_size=_HEADER_LIMIT)
        header = file.tell()
    except (ValueError, OSError, EOFError) as error:
        return [f"it is no array: {error}"]
    if dtype.hasobject:
        return ["its entries are pickled objects"]
    if min(shape, default=1) < 0:
        return [f"its shape is {shape}"]
    wanted = header + dtype.itemsize * int(np.prod([int(one) for one in shape], dtype=object))
    return [] if wanted == size else [f"it has {size} bytes; its shape {shape} of {dtype} needs {wanted}"]
