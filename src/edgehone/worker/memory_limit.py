"""Limit the memory that some code may take, on systems that tell and limit it (worker side)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_STATUS = Path("/proc/self/status")


@contextmanager
def at_most(more: int) -> Iterator[None]:
    """Let the process take so many bytes more than it has. Beyond them MemoryError is raised.

    Without /proc there is no limit.
    """
    taken = _taken()
    if taken is None:
        yield
        return
    import resource

    before, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = taken + more
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (before, hard))


def _taken() -> int | None:
    """Return the bytes of private memory that the process has, or None if the system does not tell."""
    try:
        lines = _STATUS.read_text("utf-8").splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith("VmData:")]
    return int(found[0]) << 10 if found else None
