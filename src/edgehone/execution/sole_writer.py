"""Let one process at a time write to a folder of the user: a bundle, a package, a pulled version."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgehone.core.errors import SetupError
from edgehone.execution.home import file_lock, home
from edgehone.execution.lock_notes import holders


@contextmanager
def sole_writer(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Keep other processes of this EDGEHONE_HOME from writing to `folder` meanwhile; it need not exist.

    Raises SetupError if another one writes there, unless this one is to `wait` until it has ended.
    """
    name = hashlib.sha256(str(folder.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:24]
    lock = home() / "locks" / f"folder-{name}.lock"
    held = file_lock(lock, wait=wait)
    try:
        held.__enter__()
    except BlockingIOError as error:
        raise SetupError(
            f"{folder} is being written by {holders(lock)}",
            hint="repeat the command when that has ended, or name another folder",
        ) from error
    try:
        yield
    finally:
        held.__exit__(None, None, None)
