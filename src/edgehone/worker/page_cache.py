"""Drop files from the page cache, so that loading them reads the disk, and see whether that worked."""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Iterator
from pathlib import Path

# A few pages may stay, e.g. those that another process has mapped. Loading is still cold if nearly all is read anew.
_NEGLIGIBLE = 0.01


def drop(folder: Path) -> str | None:
    """Drop a folder's files from the page cache. Return None, or the reason why they are still in it.

    The kernel only drops pages that are on the disk (posix_fadvise(2), POSIX_FADV_DONTNEED), so each file is written
    back first.
    """
    if not hasattr(os, "posix_fadvise"):
        return "this system has no call that drops a file from its page cache"
    for path in _files(folder):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)
    total = sum(path.stat().st_size for path in _files(folder))
    cached = cached_bytes(folder)
    if cached > _NEGLIGIBLE * total:
        return f"{cached / total:.0%} of the artifact stayed in the page cache"
    return None


def cached_bytes(folder: Path) -> int:
    """Return how many bytes of a folder's files are in the page cache, in whole pages (mincore(2))."""
    return sum(_cached_bytes_of(path) for path in _files(folder))


def _cached_bytes_of(path: Path) -> int:
    if not (size := path.stat().st_size):
        return 0
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]
    with path.open("rb") as file, mmap.mmap(file.fileno(), size, mmap.MAP_PRIVATE) as mapped:
        resident = ctypes.create_string_buffer(-(-size // mmap.PAGESIZE))
        # A private, writable mapping has an address that ctypes can take; nothing is written to it.
        first = ctypes.c_char.from_buffer(mapped)
        try:
            if libc.mincore(ctypes.addressof(first), size, resident):
                error = ctypes.get_errno()
                raise OSError(error, os.strerror(error), str(path))
        finally:
            del first  # else the mapping cannot be closed
    # The lowest bit of a page's byte tells whether it is resident; the others are reserved.
    return sum(byte & 1 for byte in resident.raw) * mmap.PAGESIZE


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())
