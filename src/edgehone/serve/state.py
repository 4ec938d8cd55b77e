"""The folder in which a server keeps what shall outlive it: history, the state of watchers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from edgehone.core.errors import InputError
from edgehone.execution.home import file_lock
from edgehone.execution.owned_folder import owned_folder

_LOCK = "server.lock"


@contextmanager
def state_folder(path: str | None) -> Iterator[Path]:
    """Yield a folder that only this server writes to: the one at `path`, made if needed, or else a temporary one.

    Raises InputError if it cannot be written, or another server uses it.
    """
    with ExitStack() as stack:
        if path is None:
            state = stack.enter_context(owned_folder("edgehone-state-")) / "state"
            state.mkdir()
            yield state
            return
        state = Path(path)
        try:
            state.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not os.access(state, os.W_OK | os.X_OK):
                raise PermissionError(None, "no permission to write")
            stack.enter_context(file_lock(state / _LOCK, wait=False))
        except BlockingIOError as error:
            raise InputError(
                f"another server keeps its state in {state}",
                hint="give each server a folder of its own: --state DIR",
            ) from error
        except OSError as error:
            raise InputError(
                f"the folder {state} cannot be written: {error.strerror or error}",
                hint="give another folder: --state DIR",
            ) from error
        yield state
