"""A control group of version 1 with a limit of memory, for runs that must fit a small machine."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_MOUNT = Path("/sys/fs/cgroup/memory")


@dataclass(frozen=True)
class MemoryGroup:
    """The folder of a control group. Processes in it share the limit, and are killed where nothing can be freed."""

    folder: Path

    def around(self, command: Sequence[str]) -> list[str]:
        """Return a command that joins the group before it becomes the given one."""
        return ["/bin/sh", "-c", 'echo $$ > "$0" && exec "$@"', str(self.folder / "cgroup.procs"), *command]

    def killed(self) -> int:
        """Return how many processes were killed at the limit."""
        words = (self.folder / "memory.oom_control").read_text().split()
        return int(dict(zip(words[::2], words[1::2], strict=True)).get("oom_kill", 0))

    def peak(self) -> int:
        """Return the most bytes that were charged to the group, mapped and cached files included."""
        return int((self.folder / "memory.max_usage_in_bytes").read_text())


def available() -> bool:
    """Return True if this user may make such groups."""
    return os.access(_MOUNT / "cgroup.procs", os.W_OK)


@contextmanager
def memory_group(limit: int) -> Iterator[MemoryGroup]:
    """Yield a new group with a limit in bytes. What still runs in it at the end goes back to the group above."""
    folder = _MOUNT / f"edgehone-{os.getpid()}"
    folder.mkdir()
    try:
        (folder / "memory.limit_in_bytes").write_text(str(limit))
        yield MemoryGroup(folder)
    finally:
        for pid in (folder / "cgroup.procs").read_text().split():
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                (_MOUNT / "cgroup.procs").write_text(pid)
        _remove(folder)


def _remove(folder: Path) -> None:
    """Remove a group; processes that have ended leave it a moment later."""
    for _ in range(50):
        with contextlib.suppress(OSError):
            folder.rmdir()
            return
        time.sleep(0.1)
    folder.rmdir()
