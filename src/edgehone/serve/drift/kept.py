"""Recent requests, kept encrypted for those who opted in (--keep-samples): what a re-optimization needs.

Records are in files of an eighth of the wanted number, in a folder for each served bundle; the oldest file is removed
before there are more samples than wanted, or more bytes than 256 MiB.
"""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

import msgspec

from edgehone.serve.drift import sealed
from edgehone.serve.model import Model
from edgehone.serve.observation import Feedback, Observation
from edgehone.serve.threads import surely

FOLDER: Final = "samples"
_SUFFIX = ".sealed"
_PARTS = 8
_MOST_BYTES, _LONGEST = 256 << 20, 1 << 20
_WRITE_SECONDS = 1.0
# Records that wait to be written: more than come within a second.
_WAITING = 4096


@dataclass(frozen=True)
class KeepRules:
    """Keep up to `most` requests of each served bundle, encrypted with `key`."""

    most: int
    key: bytes


class Ring:
    """The kept records of one served bundle. `add` is called in a thread."""

    def __init__(self, folder: Path, header: Mapping[str, Any], rules: KeepRules) -> None:
        self.folder, self._header, self._rules = folder, dict(header), rules
        self._writer: sealed.Writer | None = None
        self._closed: dict[Path, tuple[int, int]] | None = (
            None  # records and bytes of files, the oldest first
        )

    @property
    def count(self) -> int:
        """The number of records on the disk."""
        if self._closed is None:
            self._closed = self._found()
        return sum(one for one, _ in self._closed.values()) + (self._writer.records if self._writer else 0)

    @property
    def _part(self) -> int:
        return max(1, self._rules.most // _PARTS)

    def add(self, records: Sequence[bytes]) -> None:
        """Append records. Raises OSError if they cannot be written; a file that is begun is then given up."""
        for at in range(0, len(records), self._part):
            self._add(list(records[at : at + self._part]))

    def _add(self, records: list[bytes]) -> None:
        if self._writer is not None and self._writer.records + len(records) > self._part:
            self._close()
        self._make_room(len(records), sum(map(len, records)))
        try:
            if self._writer is None:
                self._writer = self._new()
            self._writer.add(records)
        except OSError:
            if self._writer is not None:
                self._close()
            raise

    def _new(self) -> sealed.Writer:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        numbers = [int(one.stem) for one in self.folder.glob(f"*{_SUFFIX}") if one.stem.isdigit()]
        path = self.folder / f"{max(numbers, default=0) + 1:08d}{_SUFFIX}"
        return sealed.Writer(path, self._rules.key, self._header)

    def _make_room(self, records: int, size: int) -> None:
        if self._closed is None:
            self._closed = self._found()
        open_records = self._writer.records if self._writer else 0
        open_bytes = self._writer.bytes if self._writer else 0
        while self._closed and (
            open_records + records + sum(one for one, _ in self._closed.values()) > self._rules.most
            or open_bytes + size + sum(one for _, one in self._closed.values()) > _MOST_BYTES
        ):
            oldest = next(iter(self._closed))
            oldest.unlink(missing_ok=True)
            del self._closed[oldest]

    def _found(self) -> dict[Path, tuple[int, int]]:
        """Return the samples that earlier servers kept."""
        files = sorted(self.folder.glob(f"*{_SUFFIX}"))
        return {one: (sealed.count(one), one.stat().st_size) for one in files}

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            assert self._closed is not None
            self._closed[self._writer.path] = self._writer.records, self._writer.bytes
            self._writer = None


class Keeper:
    """An observer that keeps requests, and the labels that clients send of their answers."""

    def __init__(
        self, models: Mapping[str, Model], state: Path, rules: KeepRules, say: Callable[[str], None]
    ) -> None:
        self._models, self._folder, self._rules, self._say = models, state / FOLDER, rules, say
        self._rings: dict[tuple[str, str], Ring] = {}
        self._waiting: deque[tuple[tuple[str, str], bytes]] = deque()
        self._lock = threading.Lock()  # the server's end does not wait for a thread that writes
        self.left_out: Counter[str] = Counter()  # by reason
        self.problem: str | None = None

    def observe(self, seen: Observation) -> None:
        """Keep a request that was answered."""
        if seen.status == 200 and (record := record_of(seen)) is not None:
            self._wait(seen.model, record)

    def feedback(self, seen: Feedback) -> None:
        """Keep the label of an answer."""
        if seen.label is not None:
            self._wait(seen.model, {"id": seen.id, "label": seen.label})

    def about(self, name: str) -> dict[str, Any]:
        """Return the facts for GET /admin/watch."""
        return {"most": self._rules.most, "left_out": dict(self.left_out), "not_written": self.problem}

    def count(self, name: str) -> int:
        """Return how many records are kept of the bundle that is served under a name."""
        model = self._models.get(name)
        return 0 if model is None else self._ring((name, model.served.bundle.manifest.digest)).count

    async def run(self, seconds: float = _WRITE_SECONDS) -> NoReturn:
        """Write new samples at a fixed interval."""
        while True:
            await asyncio.sleep(seconds)
            if self._waiting:
                await surely(self._flush)

    def end(self) -> None:
        """Write the samples since the last call."""
        self._flush()

    def _flush(self) -> None:
        """Write the waiting samples."""
        with self._lock:
            waiting = [self._waiting.popleft() for _ in range(len(self._waiting))]
            if waiting:
                self._write(waiting)

    def _wait(self, model: str, record: Mapping[str, Any]) -> None:
        served = self._models.get(model)
        if served is None:
            return
        if len(self._waiting) >= _WAITING:
            self.left_out["too many at once"] += 1
            return
        packed = msgspec.msgpack.encode(record)
        if len(packed) > _LONGEST:
            self.left_out["longer than 1 MiB"] += 1
            return
        self._waiting.append(((model, served.served.bundle.manifest.digest), packed))

    def _write(self, waiting: Sequence[tuple[tuple[str, str], bytes]]) -> None:
        by_ring: dict[tuple[str, str], list[bytes]] = {}
        for key, record in waiting:
            by_ring.setdefault(key, []).append(record)
        try:
            for key, records in by_ring.items():
                self._ring(key).add(records)
        except OSError as error:
            if self.problem is None:
                self._say(f"warning: samples are not kept: {error.strerror or error}")
            self.problem = f"{error.strerror or error}"
            self.left_out["could not be written"] += len(waiting)
        else:
            self.problem = None

    def _ring(self, key: tuple[str, str]) -> Ring:
        if key not in self._rings:
            model, manifest = key
            header = {"model": model, "manifest": manifest}
            self._rings[key] = Ring(folder_of(self._folder, model, manifest), header, self._rules)
        return self._rings[key]


def record_of(seen: Observation) -> dict[str, Any] | None:
    """Return what is kept of a request; None for one without an input that could be used again."""
    if seen.tensors:
        tensors = [[one.name, one.dtype, list(one.shape), bytes(one.data)] for one in seen.tensors.values()]
        return {"at": seen.at, "id": seen.id, "tensors": tensors, "classes": seen.classes}
    if seen.ids:
        return {"at": seen.at, "id": seen.id, "ids": list(seen.ids)}
    return None


def folder_of(samples: Path, model: str, manifest: str) -> Path:
    """Return the folder of the kept records of a bundle that is served under a name."""
    return samples / hashlib.sha256(f"{model}\0{manifest}".encode()).hexdigest()[:24]


def remove(state: Path) -> int:
    """Remove all kept samples below the folder of --state; return the number of files. Raises OSError if it cannot."""
    folder = state / FOLDER
    files = sum(1 for one in folder.rglob("*") if one.is_file()) if folder.exists() else 0
    if folder.exists():
        shutil.rmtree(folder)
    return files
