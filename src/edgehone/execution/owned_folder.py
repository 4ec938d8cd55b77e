"""Temporary folders that a later process removes if the one that made them was killed.

Each holds a file that its process keeps locked. The system releases the lock when the process ends, for whatever
reason, also in another container that shares the folder of temporary files, where process ids would mean nothing.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

PREFIX = "edgehone-"
_LOCK, _UNLOCKED = ".owner.lock", ".owner.unlocked"


@dataclass(frozen=True)
class OwnedFolder:
    """A folder of this process, and the descriptor of its locked file."""

    path: Path
    lock: int

    def remove(self) -> None:
        """Remove the folder with all that it holds."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self.lock)


def make_owned(prefix: str = PREFIX) -> OwnedFolder:
    """Return a new folder among the temporary files that only this user can read; the name begins with `prefix`.

    Raises OSError, and leaves nothing, if there is no room for it.
    """
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    try:
        # Under the name that others look for only once it is locked.
        lock = os.open(folder / _UNLOCKED, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            (folder / _UNLOCKED).rename(folder / _LOCK)
        except BaseException:
            os.close(lock)
            raise
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return OwnedFolder(folder, lock)


@contextmanager
def owned_folder(prefix: str = PREFIX) -> Iterator[Path]:
    """Yield such a folder, which is removed at the end."""
    folder = make_owned(prefix)
    try:
        yield folder.path
    finally:
        folder.remove()


def remove_abandoned() -> None:
    """Remove the folders of this user whose processes have ended without removing them."""
    with suppress(OSError), os.scandir(tempfile.gettempdir()) as entries:
        for entry in entries:
            if entry.name.startswith(PREFIX) and _is_mine(entry):
                _remove_unless_owned(Path(entry.path))


def _is_mine(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is a folder of this user, and not a link, which another user could have made."""
    try:
        about = entry.stat(follow_symlinks=False)
    except FileNotFoundError:  # another process has removed it
        return False
    return stat.S_ISDIR(about.st_mode) and about.st_uid == os.geteuid()


def _remove_unless_owned(folder: Path) -> None:
    try:
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_NOFOLLOW)
    except OSError:  # not such a folder, or one that another process removes
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    except BlockingIOError:
        pass  # its process runs
    finally:
        os.close(lock)
