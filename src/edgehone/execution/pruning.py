"""Bound the disk space of intermediate results: files that later jobs read, but that are no artifact of a candidate.

    store/jobs/KEY/intermediate.json    the files that may be removed; its time is when a run last used the result
    store/jobs/KEY/pruned               they have been removed; facts and small files are still there

Beyond KEEP_BYTES the files of the results that were used least recently are removed. A job that needs them makes them
again first (`edgehone.execution.run`), so what is removed costs time and nothing else.

    merged/KEY/edgehone-merge.json      a merged model (base and adapter) is complete; its time is that of its last use

Merged models are removed in the same order beyond as many bytes, but not within a day of their last use: a run reads
its model until it ends.
"""

from __future__ import annotations

import json
import os
import shutil
import time
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
MERGED, MERGED_NOTE = "merged", "edgehone-merge.json"
# Seconds after its last use in which a merged model is kept.
_IN_USE_SECONDS = 24 * 3600.0


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
    """Remove marked files and merged models, the least recently used first, beyond `limit` bytes of each.

    Returns the bytes removed. Does nothing while any job runs on this machine: it may read them.
    """
    try:
        with file_lock(home() / "locks" / NAME, wait=False):
            return _prune(limit) + _prune_merged(limit)
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


def merged_lock(key: str) -> Path:
    """Return the lock of a merged model."""
    return home() / "locks" / f"{MERGED}-{key}.lock"


def _prune_merged(limit: int) -> int:
    left = removed = 0
    for note in sorted((home() / MERGED).glob(f"*/{MERGED_NOTE}"), key=_modified, reverse=True):
        folder = note.parent
        size = sum(map(_size, folder.rglob("*")))
        if left + size <= limit or _in_use(note):
            left += size
            continue
        with suppress(OSError), file_lock(merged_lock(folder.name), wait=False):
            if _in_use(note):  # a run has just begun to use it
                continue
            note.unlink()  # first, so that a part of the model never counts as whole
            shutil.rmtree(folder, ignore_errors=True)
            removed += size
    return removed


def _in_use(note: Path) -> bool:
    return time.time() - _modified(note) < _IN_USE_SECONDS


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() and not path.is_symlink() else 0


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
