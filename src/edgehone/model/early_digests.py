"""Hash large files in a thread while this process does something else, such as importing.

`digest_file` and `attestation.files` ask here before they read a file, so that a file which both verify is read once.
A digest is of the file that is asked for if its device, inode, size and times are those that it had before and after
it was read. The time of change (ctime) is among them, which a user cannot set.
"""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from edgehone.core.files import open_regular

# Other threads run while a block is read and hashed; after each, this one waits for its turn, up to some milliseconds.
_BLOCK: Final = 16 << 20
# Smaller files take less time than a thread for them.
_LEAST: Final = 1 << 20


class _Reading:
    """A file that is read, or was; `digest` is None until then, and if it could not be read."""

    def __init__(self, path: Path, state: tuple[int, ...]) -> None:
        self.path, self.state = path, state
        self.digest: str | None = None
        self.done = threading.Event()


# By device and inode.
_BEGUN: dict[tuple[int, ...], _Reading] = {}


@contextmanager
def hashing(files: Iterable[Path]) -> Iterator[None]:
    """Begin to hash the large ones of some files. Their digests are known in this context.

    What cannot be read is left to those who ask, and tell why.
    """
    begun = {one.state[:2]: one for one in map(_begun, files) if one}
    ended = threading.Event()
    arguments = (list(begun.values()), ended)
    thread = threading.Thread(target=_hash, args=arguments, daemon=True, name="hashing")
    if begun:
        with suppress(RuntimeError):  # the group has no room for a thread: whoever asks reads
            thread.start()
            _BEGUN.update(begun)
    try:
        yield
    finally:
        ended.set()
        for key in begun:
            _BEGUN.pop(key, None)


def early_digest(descriptor: int) -> str | None:
    """Return the SHA-256 of an open file in hexadecimal, once it is hashed; None for one that is not hashed early."""
    if not _BEGUN:
        return None
    state = _state(os.fstat(descriptor))
    reading = _BEGUN.get(state[:2])
    if reading is None or reading.state != state:
        return None
    reading.done.wait()
    return reading.digest if _state(os.fstat(descriptor)) == state else None


def _begun(path: Path) -> _Reading | None:
    try:
        status = path.lstat()
    except OSError:
        return None
    is_large = stat.S_ISREG(status.st_mode) and status.st_size >= _LEAST
    return _Reading(path, _state(status)) if is_large else None


def _hash(readings: Sequence[_Reading], ended: threading.Event) -> None:
    """Hash the largest file first: whoever asks waits for it the longest."""
    largest_first = sorted(readings, key=lambda reading: -reading.state[2])
    block = memoryview(bytearray(min(_BLOCK, largest_first[0].state[2])))
    for one in largest_first:
        try:
            one.digest = _digest(one, block, ended)
        except OSError:
            pass  # whoever asks for it reads it, and tells what is wrong
        finally:
            one.done.set()


def _digest(one: _Reading, block: memoryview, ended: threading.Event) -> str | None:
    whole = hashlib.sha256()
    with open_regular(one.path) as file:
        if _state(os.fstat(file.fileno())) != one.state:
            return None
        while (count := file.raw.readinto(block)) and not ended.is_set():
            whole.update(block[:count])
        return None if ended.is_set() or _state(os.fstat(file.fileno())) != one.state else whole.hexdigest()


def _state(status: os.stat_result) -> tuple[int, ...]:
    times = (status.st_mtime_ns, status.st_ctime_ns)
    return status.st_dev, status.st_ino, status.st_size, *times
