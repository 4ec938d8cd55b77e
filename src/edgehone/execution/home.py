"""EDGEHONE_HOME, the folder of everything that edgehone stores, and locks between processes.

envs/  toolchains/   environments and compiled toolchains of backends   (environments/)
store/               results of jobs                                    (store.py)
merged/              models with an adapter merged in                   (optimize/adapter.py, pruning.py)
locks/               lock files, which are empty and never removed, and notes on who holds them (lock_notes.py)
logs/                the complete output of installers
registry/            versions of bundles, unless another registry is named   (registry/)
rollouts/            bundles that were rolled out from a registry            (rollout/drive/)
speeds.sqlite        latencies of earlier runs                          (optimize/evaluate/drift.py)
history.sqlite       every trial of every run                           (optimize/search/history.py)
"""

from __future__ import annotations

import errno
import fcntl
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from edgehone.core.errors import SetupError
from edgehone.execution.lock_notes import holders, noted
from edgehone.execution.processes import CHILDREN

VARIABLE = "EDGEHONE_HOME"
# The time between two attempts to get a lock.
_RETRY_SECONDS = 0.02
# The time between two reports of a thread that waits. Without a terminal one in 30 s is printed (`report.live`).
REPORT_SECONDS = 5.0
# Callback for waiting: who holds the lock, and how long this thread has waited.
OnWait = Callable[[str], None]
HINT = f"choose a folder that can be written: export {VARIABLE}=/path/to/folder"


def home_path() -> Path:
    """Return the path of $EDGEHONE_HOME, or of `edgehone` in the user's cache folder, for readers."""
    value = os.environ.get(VARIABLE)
    return Path(os.path.expandvars(value)).expanduser().absolute() if value else _cache_folder() / "edgehone"


def home() -> Path:
    """Return `home_path`. The folder is created if it does not exist.

    Raises SetupError, naming the path, if it cannot be created or written.
    """
    folder = home_path()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SetupError(
            f"the cache folder {folder} cannot be created: {error.strerror}", hint=HINT
        ) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise SetupError(f"the cache folder {folder} cannot be written", hint=HINT)
    return folder


def _cache_folder() -> Path:
    """Return the user's cache folder by the convention of the operating system."""
    try:
        user = Path.home()
    except RuntimeError as error:
        raise SetupError("the user has no home folder, so there is no cache folder", hint=HINT) from error
    if sys.platform == "darwin":
        return user / "Library" / "Caches"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or user / "AppData" / "Local")
    value = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG base directory specification says that a relative path must be ignored.
    return Path(value) if value.startswith("/") else user / ".cache"


@contextmanager
def file_lock(
    path: Path, shared: bool = False, wait: bool = True, on_wait: OnWait = lambda held: None
) -> Iterator[None]:
    """Hold the lock of a file against every other process and thread. The file is created if it does not exist.

    `shared` locks exclude only exclusive ones. While another process or thread holds the lock, `on_wait` is called now
    and then with a text that says who, and how long this one has waited.
    The system releases the lock when the process ends, for whatever reason.

    Raises BlockingIOError if the lock is held and `wait` is False, SetupError if the file cannot be written, and
    JobError if all jobs of this process are being ended while it waits.
    """
    mode = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
    descriptor = _lock(path, mode, on_wait)
    try:
        with noted(path, alone=not shared):
            yield
    finally:
        # Closing is not enough: a forked child that inherited the descriptor would still hold the lock.
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def _lock(path: Path, mode: int, on_wait: OnWait) -> int:
    while True:
        descriptor = _open(path)
        try:
            _flock(path, descriptor, mode, on_wait)
            if _is_at(path, descriptor):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        # The file was removed while this thread waited. Others lock the new file, so this thread must as well.
        os.close(descriptor)


def _flock(path: Path, descriptor: int, mode: int, on_wait: OnWait) -> None:
    """Lock a descriptor. Waiting ends with JobError when the process ends its jobs, for example after Ctrl-C.

    A thread cannot be interrupted while it waits in flock(2): only the main thread receives signals, and the process
    cannot end before its threads do. A waiting thread therefore tries again and again.
    """
    if mode & fcntl.LOCK_NB:
        fcntl.flock(descriptor, mode)
        return
    begun = time.monotonic()
    next_report = begun
    while True:
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
            return
        if (now := time.monotonic()) >= next_report:
            waited = f"; waited {now - begun:.0f} s" if now - begun >= 1 else ""
            on_wait(f"held by {holders(path)}{waited}")
            next_report = now + REPORT_SECONDS
        CHILDREN.check()
        time.sleep(_RETRY_SECONDS)


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
