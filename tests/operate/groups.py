"""Control groups of version 1 that a test makes, and processes that are put into them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.serve.server import Server

_MOUNTS = Path("/sys/fs/cgroup")


@contextmanager
def group_of(server: Server, controller: str) -> Iterator[Path]:
    """Put a server and what it started into a new group of a controller. It is removed at the end of the block."""
    if not os.access(_MOUNTS / controller / "cgroup.procs", os.W_OK):
        pytest.skip(f"no control group of version 1 with the controller {controller} that this user may make")
    group = _MOUNTS / controller / f"edgehone-test-{os.getpid()}"
    group.mkdir()
    try:
        for one in (server.process.pid, *(child.pid for child in tree(server))):
            join(group, one)
        yield group
    finally:
        # What still runs in it goes back, so that it can be removed.
        for pid in (group / "cgroup.procs").read_text().split():
            (_MOUNTS / controller / "cgroup.procs").write_text(pid)
        group.rmdir()


def join(group: Path, process: int) -> None:
    """Put a process into a group."""
    (group / "cgroup.procs").write_text(str(process))


def tree(server: Server) -> list[psutil.Process]:
    """Return what a server started."""
    return psutil.Process(server.process.pid).children(recursive=True)
