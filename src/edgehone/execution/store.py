"""The store: results of finished jobs by key, and the logs of failed ones.

    store/jobs/KEY/      a finished job; appears by one rename, so it is complete or absent
    store/work/KEY/      a running job, held by the lock of its key; what an interrupted run left is removed by the next
    store/failed/KEY/    the last failure of a job, for people to read: its log and job.json; never used as a result

Results are only ever looked up by key and never listed, so a folder for each key is index enough.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgehone.execution.home import OnWait, file_lock, home

# The name of the file that says so.
PRUNED = "pruned"


@dataclass(frozen=True)
class JobResult:
    """A finished job: `facts` is what its function returned, `seconds` its wall time.

    `identity` is what jobs that read the result name it by: the key, unless the result links to its inputs.
    `cached` is True if the result was in the store before this run. `watch` holds the samples that the parent took.
    `jump` describes a change of the clocks during the job that spoils its timings (`device.clocks`), else None.
    `pruned`: its bulky files were removed to save space (`pruning`).
    """

    key: str
    folder: Path
    facts: Mapping[str, Any]
    seconds: float
    cached: bool
    watch: Mapping[str, Any]
    identity: str
    jump: str | None = None
    pruned: bool = False

    @property
    def out(self) -> Path:
        """The folder of the files that the job wrote."""
        return self.folder / "out"


def key_of(identity: Mapping[str, Any]) -> str:
    """Return the key of all that determines a result: 32 hex digits of the SHA-256 of its canonical JSON."""
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def find(key: str, identity: str, *, cached: bool = True) -> JobResult | None:
    """Return the finished job of this key, or None. A job without a readable result counts as not finished."""
    folder = folder_of(key)
    result = read_result(folder)
    if result is None or not {"facts", "seconds"} <= result.keys():
        return None
    watch = _read_object(folder / "watch.json") or {}
    return JobResult(
        key,
        folder,
        result["facts"],
        result["seconds"],
        cached,
        watch,
        identity,
        result.get("clocks"),
        is_pruned(folder),
    )


def is_pruned(folder: Path) -> bool:
    """Return whether bulky files of a finished job were removed (`pruning`)."""
    return (folder / PRUNED).exists()


def folder_of(key: str) -> Path:
    """Return the folder of the finished job of this key, whether or not it is there."""
    return _root() / "jobs" / key


def read_result(folder: Path) -> dict[str, Any] | None:
    """Return the content of result.json in the folder of a job; None if it is missing, empty or broken."""
    return _read_object(folder / "result.json")


@contextmanager
def claim(key: str, on_wait: OnWait = lambda held: None) -> Iterator[Path]:
    """Hold the lock of a key and yield an empty work folder. A second process or thread waits for the first.

    Meanwhile `on_wait` is told which (`home.file_lock`).
    """
    with file_lock(_root() / "locks" / f"{key}.lock", on_wait=on_wait):
        folder = _root() / "work" / key
        # What is left here belongs to a run that was interrupted, because the lock is ours.
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def store_result(key: str, identity: str, folder: Path) -> JobResult:
    """Move the work folder of a job that succeeded to the finished jobs, so that it survives a power failure.

    Everything in it is on the disk before the rename, and the rename before this returns: after a power failure the job
    is there whole, or not at all. (Where 400 MB are written in 0.2 s, flushing them takes another 0.2 s. They would
    have to be written back anyway, for example before a cold load is measured.)
    """
    final = folder_of(key)
    final.parent.mkdir(parents=True, exist_ok=True)
    flush_to_disk(folder / "out")
    for name in ("job.json", "result.json", "watch.json"):
        if (folder / name).exists():
            _fsync(folder / name)
    _fsync(folder)
    if final.exists():  # unreadable, or to be replaced by a fresh result
        shutil.rmtree(final)
    folder.rename(final)
    _fsync(final.parent)
    result = find(key, identity, cached=False)
    assert result is not None
    return result


def store_failure(key: str, folder: Path) -> Path:
    """Move the work folder of a failed job, without its output files, to the failures. Return the path of its log."""
    final = _root() / "failed" / key
    shutil.rmtree(final, ignore_errors=True)
    shutil.rmtree(folder / "out", ignore_errors=True)
    final.parent.mkdir(parents=True, exist_ok=True)
    folder.rename(final)
    return final / "log.txt"


def flush_to_disk(folder: Path) -> None:
    """Flush every file and folder below a folder to the disk. Links are not followed.

    A file that was written and renamed but not flushed may be empty after a power failure.
    """
    for parent, _, names in os.walk(folder):
        for path in (Path(parent, name) for name in names):
            if not path.is_symlink():
                _fsync(path)
        _fsync(Path(parent))


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read_object(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _root() -> Path:
    return home() / "store"
