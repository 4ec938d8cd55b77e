"""Notes on who holds a lock, for the messages of those that wait for it. The lock itself does not depend on them.

    NAME.lock.PID-N.holder    {"pid", "started", "command", "since"}; there while that process holds NAME.lock

A killed process leaves its note, which is recognized by the process that has ended.
"""

from __future__ import annotations

import functools
import itertools
import json
import os
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

_COUNT = itertools.count()
# Characters of a command line that are shown.
_SHOWN = 80


@contextmanager
def noted(lock: Path, *, alone: bool) -> Iterator[None]:
    """Leave a note while this process holds a lock. `alone`: an exclusive lock, so any other note is out of date."""
    if alone:
        for old in _notes(lock):
            old.unlink(missing_ok=True)
    note = lock.with_name(f"{lock.name}.{os.getpid()}-{next(_COUNT)}.holder")
    content = {
        "pid": os.getpid(),
        "started": _started(os.getpid()),
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "since": time.time(),
    }
    with suppress(OSError):  # on a full disk there is no note
        note.write_text(json.dumps(content), "utf-8")
    try:
        yield
    finally:
        with suppress(OSError):
            note.unlink(missing_ok=True)


def holders(lock: Path) -> str:
    """Return who holds a lock and since when: "edgehone optimize m (process 7) for 40 s", or "another process"."""
    found = sorted(filter(None, map(_describe, _notes(lock))))
    if not found:
        return "another process"
    return found[0] + (f" and {len(found) - 1} more" if len(found) > 1 else "")


def _notes(lock: Path) -> list[Path]:
    return [*lock.parent.glob(f"{lock.name}.*.holder")]


def _describe(note: Path) -> str | None:
    """Return the process that left a note; None if that process has ended, or is not visible from here."""
    try:
        content = json.loads(note.read_text("utf-8"))
        pid, command, since = content["pid"], content["command"], content["since"]
        if _started(pid) != content["started"]:
            return None
    except (OSError, ValueError, KeyError, TypeError, psutil.Error):  # it is being written or removed
        return None
    who = "this run" if pid == os.getpid() else command
    shown = who if len(who) <= _SHOWN else who[: _SHOWN - 1] + "…"
    return f"{shown} (process {pid}) for {max(0.0, time.time() - since):.0f} s"


@functools.lru_cache(maxsize=64)
def _started_once(pid: int) -> float:
    return psutil.Process(pid).create_time()


def _started(pid: int) -> float:
    """Return when a process started, by which a new process with the same number is told from it."""
    return _started_once(pid) if pid == os.getpid() else psutil.Process(pid).create_time()
