"""Read files that others may have put there: no pipe that blocks, no device without an end, nothing too large."""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path


def open_regular(path: Path) -> BufferedReader:
    """Open a file to be read. Raises OSError if it cannot be opened, or if it is no regular file."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    file = os.fdopen(handle, "rb")
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "it is a pipe, a device or a folder, not a file", str(path))
    return file


def read_limited(path: Path, most: int) -> bytes:
    """Return the content of a file. Raises OSError as `open_regular`, and if it has more than `most` bytes."""
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        data = file.read() if size <= most else b""
    if max(size, len(data)) > most:
        raise OSError(errno.EFBIG, f"it is larger than {most / 1e6:.0f} MB", str(path))
    return data
