"""EDGEHONE_HOME: the folder under which everything that edgehone keeps lives, and locks between processes.

envs/  toolchains/   one environment a backend, and what it compiled     (environments.py)
store/               finished jobs                                       (store.py)
locks/               lock files; never removed, they are empty
logs/                the whole output of installers
"""

from __future__ import annotations

import errno
import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgehone.core.errors import SetupError

VARIABLE = "EDGEHONE_HOME"
HINT = f"choose a folder that can be written: export {VARIABLE}=/path/to/folder"


def home() -> Path:
    """$EDGEHONE_HOME, or `edgehone` in the user's cache folder; made if it is not there.

    Raises SetupError, naming the path, if it cannot be made or written.
    """
    given = os.environ.get(VARIABLE)
    place = Path(os.path.expandvars(given)).expanduser().absolute() if given else _caches() / "edgehone"
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SetupError(f"the cache folder {place} cannot be made: {error.strerror}", hint=HINT) from error
    if not os.access(place, os.W_OK | os.X_OK):
        raise SetupError(f"the cache folder {place} cannot be written", hint=HINT)
    return place


def _caches() -> Path:
    """The user's cache folder, as each system has it."""
    try:
        user = Path.home()
    except RuntimeError as error:
        raise SetupError(
            "the user has no home folder, so there is no place for a cache", hint=HINT
        ) from error
    if sys.platform == "darwin":
        return user / "Library" / "Caches"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or user / "AppData" / "Local")
    given = os.environ.get("XDG_CACHE_HOME", "")
    # The base directory specification: a relative path is to be ignored.
    return Path(given) if given.startswith("/") else user / ".cache"


@contextmanager
def file_lock(path: Path, shared: bool = False, wait: bool = True) -> Iterator[None]:
    """Hold the lock of a file, made if it is not there, against every other process and thread.

    Readers may share it. Raises BlockingIOError at once if it is taken and `wait` is off, SetupError if the
    file cannot be written. The system lets go of it when the process ends, however it ends.
    """
    mode = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
    descriptor = _lock(path, mode)
    try:
        yield
    finally:
        # Closing alone would leave it held by a forked child that has the descriptor too.
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def _lock(path: Path, mode: int) -> int:
    while True:
        descriptor = _open(path)
        try:
            fcntl.flock(descriptor, mode)
            if _is_at(path, descriptor):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        # Somebody removed the file while we waited: others lock the new one, so must we.
        os.close(descriptor)


def _open(path: Path) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise SetupError(
                f"the lock file {path} cannot be written: {error.strerror}", hint=HINT
            ) from error
        raise


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
