"""Bound the disk space of intermediate results: files that later jobs read, but that are no artifact of a candidate.

    store/jobs/KEY/intermediate.json    the files that may be removed; its time is when a run last used the result
    store/jobs/KEY/pruned               they have been removed; facts and small files are still there

Beyond KEEP_BYTES the files of the results that were used least recently are removed. A job that needs them makes them
again first (`edgehone.execution.run`), so what is removed costs time and nothing else.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from edgehone.execution.home import file_lock, home
from edgehone.execution.machine_lock import NAME
from edgehone.execution.store import PRUNED, JobResult

# Enough to keep those of a few small models, whose runs are repeated most often. One run of a model of 11 MB can leave
# 1 GB: the original's logits in float32 (200 MB for each effort), conversions, Hessians.
KEEP_BYTES = 256 << 20
# Smaller files are kept: importance matrices and the like take no space, and long to compute.
BULKY_BYTES = 1 << 20
_MARK = "intermediate.json"


def mark(result: JobResult, files: Iterable[Path]) -> None:
    """Let files of a result be removed once intermediate results exceed the limit. Small files are left out."""
    names = [path.relative_to(result.folder).as_posix() for path in files if _size(path) >= BULKY_BYTES]
    if names:
        (result.folder / _MARK).write_text(json.dumps(names), "utf-8")
    elif result.pruned and (result.folder / _MARK).exists():
        os.utime(result.folder / _MARK)


def unmark(result: JobResult) -> None:
    """Keep a result: it is the artifact of a candidate."""
    (result.folder / _MARK).unlink(missing_ok=True)


def prune(limit: int = KEEP_BYTES) -> int:
    """Remove marked files, the least recently used first, until at most `limit` bytes of them are left.

    Returns the bytes removed. Does nothing while any job runs on this machine: it may read them.
    """
    try:
        with file_lock(home() / "locks" / NAME, wait=False):
            return _prune(limit)
    except BlockingIOError:
        return 0


def _prune(limit: int) -> int:
    marks = sorted((home() / "store" / "jobs").glob(f"*/{_MARK}"), key=_modified, reverse=True)
    left = removed = 0
    for path in marks:
        with suppress(OSError, ValueError):  # a run has just replaced the result or removed the mark
            files = [path.parent / name for name in json.loads(path.read_text("utf-8"))]
            size = sum(map(_size, files))
            if left + size <= limit:
                left += size
                continue
            (
                path.parent / PRUNED
            ).touch()  # first, so that a result with a part of its files never counts as whole
            for file in files:
                file.unlink(missing_ok=True)
            removed += size
    return removed


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() and not path.is_symlink() else 0


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
