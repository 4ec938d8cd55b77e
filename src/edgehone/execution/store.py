"""The store: finished jobs by key, failures apart.

store/jobs/KEY/      finished; appears by one rename, so it is whole or not there
store/work/KEY/      being run, by whoever holds the lock of the key; what a killed run left is swept then
store/failed/KEY/    the last failure: its log and job.json, for people; never a cached result
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgehone.execution.home import file_lock, home


@dataclass(frozen=True)
class JobResult:
    """A finished job: `out` is the folder it filled, `facts` what it returned, `seconds` its wall time.

    `identity` is what jobs that read it name it by: the key, but for a result that links to where its inputs lie.
    `cached` tells whether this run found it finished. `watch` holds the samples that the parent took. `jump` says what
    happened to the clocks meanwhile that spoils what it timed (`device.clocks`), None if nothing did.
    """

    key: str
    folder: Path
    facts: Mapping[str, Any]
    seconds: float
    cached: bool
    watch: Mapping[str, Any]
    identity: str
    jump: str | None = None

    @property
    def out(self) -> Path:
        """The files it made."""
        return self.folder / "out"


def key_of(identity: Mapping[str, Any]) -> str:
    """The key of everything that determines a result: 32 hex digits of SHA-256 over canonical JSON."""
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def find(key: str, identity: str, *, cached: bool = True) -> JobResult | None:
    """The finished job of this key, or None."""
    folder = _root() / "jobs" / key
    try:
        result = json.loads((folder / "result.json").read_text("utf-8"))
        watch = folder / "watch.json"
        samples = json.loads(watch.read_text("utf-8")) if watch.exists() else {}
    except FileNotFoundError:
        return None
    jump = result.get("clocks")
    return JobResult(key, folder, result["facts"], result["seconds"], cached, samples, identity, jump)


@contextmanager
def claim(key: str) -> Iterator[Path]:
    """Hold a key: yields a fresh work folder. A second process (or thread) waits here for the first."""
    with file_lock(_root() / "locks" / f"{key}.lock"):
        folder = _root() / "work" / key
        # Whoever left something here is gone: we hold the lock.
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def keep(key: str, identity: str, folder: Path) -> JobResult:
    """Move a work folder whose job succeeded among the finished."""
    final = _root() / "jobs" / key
    final.parent.mkdir(parents=True, exist_ok=True)
    if final.exists():  # without a result, or one that is asked for anew
        shutil.rmtree(final)
    folder.rename(final)
    found = find(key, identity, cached=False)
    assert found is not None
    return found


def keep_failure(key: str, folder: Path) -> Path:
    """Keep what a failed job left for people to read, without its output files; returns the log's path."""
    final = _root() / "failed" / key
    shutil.rmtree(final, ignore_errors=True)
    shutil.rmtree(folder / "out", ignore_errors=True)
    final.parent.mkdir(parents=True, exist_ok=True)
    folder.rename(final)
    return final / "log.txt"


def _root() -> Path:
    return home() / "store"
