"""Fill the history by a timer. Files are touched by a thread only: a disk that hangs holds up no answer."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from pathlib import Path

from edgehone.serve.history.clock import Clock
from edgehone.serve.history.figures import Interval, Reading
from edgehone.serve.history.store import COARSE, FINE, Resolution, Store, Unreadable
from edgehone.serve.threads import surely

Read = Callable[[], Awaitable[Reading]]


class Recorder:
    """Writes the history of a server. If the disk cannot be written, it warns once and tries again each time."""

    def __init__(
        self, path: Path, read: Read, say: Callable[[str], None], clock: Clock | None = None
    ) -> None:
        """`read` returns a reading of all metrics as they are now."""
        self._path, self._read, self._say = path, read, say
        self._clock = clock or Clock()
        self._lock = threading.Lock()  # the thread may still write while the server ends
        self._store: Store | None = None
        self._file: tuple[int, int] | None = None
        self._problem = ""
        self._is_full = False
        self._closed = False

    async def run(self) -> None:
        """Record until cancelled."""
        loop = asyncio.get_running_loop()
        begun = await self._read()
        fine, coarse, due = Interval(begun), Interval(begun), loop.time() + FINE.seconds
        while True:
            await asyncio.sleep(max(0.0, due - loop.time()))
            due = max(due, loop.time() - FINE.seconds / 2) + FINE.seconds  # one that was missed is left out
            reading = await self._read()
            fine.add(reading)
            coarse.add(reading)
            ended, fine = {FINE: fine}, Interval(reading)
            if coarse.seconds >= COARSE.seconds - FINE.seconds / 2:
                ended[COARSE], coarse = coarse, Interval(reading)
            await surely(self.write, ended)

    def write(self, intervals: dict[Resolution, Interval]) -> None:
        """Write the figures of intervals that end now."""
        now, jumped = self._clock.wall(), self._clock.jumped()
        rows = {resolution: one.figures() for resolution, one in intervals.items()}
        with self._lock:
            if self._closed:
                return
            try:
                store = self._open()
                if jumped:
                    store.shift(jumped)
                left_out = store.write(rows, now)
            except (OSError, sqlite3.Error, Unreadable) as error:
                self._failed(error)
                return
        self._written(left_out)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._closed = True
            self._drop()

    def _open(self) -> Store:
        """Return the store. One whose file was removed or replaced is opened again."""
        if self._store and _identity(self._path) != self._file:
            self._drop()
        if self._store is None:
            try:
                self._store = Store(self._path)
            except Unreadable as error:
                self._set_aside(error)
                self._store = Store(self._path)
            self._file = _identity(self._path)
        return self._store

    def _drop(self) -> None:
        store, self._store = self._store, None
        if store:
            with suppress(sqlite3.Error):  # a file that fails when it is closed failed before, which was said
                store.close()

    def _failed(self, error: Exception) -> None:
        if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
            self._drop()  # opening it again will find the damage
        text = str(error)
        if text != self._problem:
            self._say(
                f"warning: the history {self._path} cannot be written: {text}; requests are answered as before, "
                "and it is tried again"
            )
        self._problem = text

    def _written(self, left_out: int) -> None:
        if self._problem:
            self._problem = ""
            self._say(f"the history {self._path} is written again")
        if left_out and not self._is_full:
            self._say(f"warning: the history has no place for {left_out} further series of figures")
        self._is_full = left_out > 0

    def _set_aside(self, error: Exception) -> None:
        """Keep a damaged file under another name, in the place of one that was damaged before."""
        aside = self._path.with_name(f"{self._path.name}.damaged")
        self._path.replace(aside)
        for one in _beside(self._path):
            one.unlink(missing_ok=True)
        self._say(
            f"warning: the history {self._path} is damaged ({error}); it is kept as {aside.name}, "
            "and a new one begins"
        )


def _beside(path: Path) -> Iterable[Path]:
    return (path.with_name(f"{path.name}{end}") for end in ("-wal", "-shm"))


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
