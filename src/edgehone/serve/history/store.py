"""The file of the history: SQLite, with a row for each moment and resolution.

A row holds the figures of all series as an array of 4-byte floats, NaN where there is none; the place of a series in it
is its id. So a row of 200 series takes 800 bytes, and the figures of many series at once are read as one table. Ids of
series that are in no kept row any more are given to new ones.

The journal is a write-ahead log: after kill -9 the file has all rows but perhaps the last, and readers never wait for
the writer.
"""

from __future__ import annotations

import json
import sqlite3
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgehone.serve.history.figures import Labels, Series

FILE = "history.sqlite"
# Of this layout. A file of another one is moved aside.
_VERSION = 1
# Milliseconds that a reader or writer waits for a lock, which is held for one transaction at most.
_BUSY_MS = 2000
_LAYOUT = f"""
PRAGMA user_version = {_VERSION};
CREATE TABLE series (id INTEGER PRIMARY KEY, metric TEXT, stat TEXT, labels TEXT, used INTEGER,
    UNIQUE (metric, stat, labels));
CREATE TABLE rows (resolution INTEGER, at INTEGER, run INTEGER, figures BLOB,
    PRIMARY KEY (resolution, at));
"""


@dataclass(frozen=True)
class Resolution:
    """Rows so many seconds apart, kept for so many seconds."""

    seconds: int
    kept: int


# 10 s shows a burst or a restart while one looks at it: 6 h are a shift. 5 min show a fortnight, so that this
# week can be compared with the last. Together at most 2,160 + 4,032 rows.
FINE, COARSE = Resolution(10, 6 * 3600), Resolution(300, 14 * 86_400)
RESOLUTIONS = (FINE, COARSE)
# A server of a few models has 100 to 400 series. 6,192 rows of 1,500 floats are 37 MB, in pages of 4 KiB up to 50 MB.
MOST_SERIES = 1500
LARGEST_BYTES = 64 << 20
# Rows that are this far ahead of the clock were written by a clock that was wrong: they would never get old.
_AHEAD_SECONDS = 86_400
# The share of the oldest rows that is removed when the file is full although none is too old.
_SHARE = 0.1


class Unreadable(Exception):
    """The file is no history of this layout."""


class Store:
    """The writer of a file, for one thread at a time. Raises sqlite3.Error where the disk fails."""

    def __init__(self, path: Path, largest: int = LARGEST_BYTES, most_series: int = MOST_SERIES) -> None:
        """Open or make the file. Raises Unreadable for a damaged one."""
        self._largest, self._most = largest, most_series
        self._database = sqlite3.connect(path, timeout=_BUSY_MS / 1000, check_same_thread=False)
        try:
            self._prepare()
            (last,) = self._database.execute("SELECT max(run) FROM rows").fetchone()
            self._run = (last or 0) + 1
            self._ids = {series: number for number, series in series_in(self._database)}
        except sqlite3.DatabaseError as error:
            self._database.close()
            if isinstance(error, sqlite3.OperationalError):
                raise
            raise Unreadable(str(error)) from error
        except (Unreadable, ValueError) as error:
            self._database.close()
            raise Unreadable(str(error)) from error

    def close(self) -> None:
        """Close the file, with the log written into it."""
        self._database.close()

    def write(self, rows: Mapping[Resolution, Mapping[Series, float]], now: float) -> int:
        """Add a row to each of some resolutions, at a time (Unix, seconds), and remove what is too old.

        Returns how many series had no place. All is one transaction.
        """
        try:
            return self._write(rows, now)
        except sqlite3.OperationalError as error:
            if not _is_full(error) or not self._size() > self._largest // 2:
                raise  # the disk is full, not the file
            self._remove_oldest()
            return self._write(rows, now)

    def shift(self, seconds: float) -> None:
        """Move the rows of this run by some seconds: the clock by which they were written was wrong by that.

        Rows of earlier runs that would then lie after the first of this one are removed.
        """
        by = round(seconds * 1000)
        with self._database as database:
            moved = database.execute(
                "SELECT resolution, at + ?, run, figures FROM rows WHERE run = ?", (by, self._run)
            ).fetchall()
            database.execute("DELETE FROM rows WHERE run = ?", (self._run,))
            if moved:
                database.execute("DELETE FROM rows WHERE at >= ?", (min(row[1] for row in moved),))
            database.executemany("INSERT INTO rows VALUES (?, ?, ?, ?)", moved)

    def _prepare(self) -> None:
        database = self._database
        database.execute("PRAGMA auto_vacuum = INCREMENTAL")  # has an effect on a new file only
        database.execute("PRAGMA journal_mode = WAL")
        # A commit then waits for no disk; a loss of power may cost the last rows, never the file.
        database.execute("PRAGMA synchronous = NORMAL")
        database.execute("PRAGMA journal_size_limit = 1048576")
        (version,) = database.execute("PRAGMA user_version").fetchone()
        tables = database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if not version and not tables:
            database.executescript(f"BEGIN; {_LAYOUT} COMMIT;")
        elif version != _VERSION:
            raise Unreadable(f"it has layout {version}, not {_VERSION}")
        (damage,) = database.execute("PRAGMA quick_check(1)").fetchone()
        if damage != "ok":
            raise Unreadable(str(damage))
        (page,) = database.execute("PRAGMA page_size").fetchone()
        database.execute(f"PRAGMA max_page_count = {self._largest // page}")

    def _write(self, rows: Mapping[Resolution, Mapping[Series, float]], now: float) -> int:
        at = round(now * 1000)
        ids = dict(self._ids)
        with self._database as database:
            if COARSE in rows:
                self._remove_old(now)
                ids = {series: number for number, series in series_in(database)}
            left_out = self._add_series({one for figures in rows.values() for one in figures}, ids, at)
            if COARSE in rows:
                used = [(at, ids[one]) for one in rows[COARSE] if one in ids]
                database.executemany("UPDATE series SET used = ? WHERE id = ?", used)
            for resolution, figures in rows.items():
                packed = _packed(figures, ids)
                database.execute(
                    "INSERT OR REPLACE INTO rows VALUES (?, ?, ?, ?)",
                    (resolution.seconds, at, self._run, packed),
                )
        self._ids = ids
        if COARSE in rows:
            self._database.execute("PRAGMA incremental_vacuum").fetchall()
        return left_out

    def _add_series(self, found: Iterable[Series], ids: dict[Series, int], at: int) -> int:
        """Give ids to new series, the lowest that are free. Returns for how many there is none."""
        new = sorted(one for one in found if one not in ids)
        if not new:
            return 0
        taken = set(ids.values())
        free = (number for number in range(self._most) if number not in taken)
        for series, number in zip(new, free, strict=False):
            labels = json.dumps(series.labels)
            self._database.execute(
                "INSERT INTO series VALUES (?, ?, ?, ?, ?)", (number, series.metric, series.stat, labels, at)
            )
            ids[series] = number
        return sum(one not in ids for one in new)

    def _remove_old(self, now: float) -> None:
        """Remove old rows, and series that are in none any more."""
        for one in RESOLUTIONS:
            self._database.execute(
                "DELETE FROM rows WHERE resolution = ? AND (at < ? OR at > ?)",
                (one.seconds, (now - one.kept) * 1000, (now + _AHEAD_SECONDS) * 1000),
            )
        unused = (now - COARSE.kept - 2 * COARSE.seconds) * 1000
        self._database.execute("DELETE FROM series WHERE used < ?", (unused,))

    def _remove_oldest(self) -> None:
        with self._database as database:
            for one in RESOLUTIONS:
                (count,) = database.execute(
                    "SELECT count(*) FROM rows WHERE resolution = ?", (one.seconds,)
                ).fetchone()
                database.execute(
                    "DELETE FROM rows WHERE resolution = ? AND at IN "
                    "(SELECT at FROM rows WHERE resolution = ? ORDER BY at LIMIT ?)",
                    (one.seconds, one.seconds, max(1, round(count * _SHARE))),
                )

    def _size(self) -> int:
        (pages,) = self._database.execute("PRAGMA page_count").fetchone()
        (page,) = self._database.execute("PRAGMA page_size").fetchone()
        return int(pages * page)


def _is_full(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL


def series_in(database: sqlite3.Connection) -> list[tuple[int, Series]]:
    """Return all series with their ids."""
    found = database.execute("SELECT id, metric, stat, labels FROM series").fetchall()
    return [(number, Series(metric, stat, _labels(text))) for number, metric, stat, text in found]


def _labels(text: str) -> Labels:
    return tuple((str(name), str(value)) for name, value in json.loads(text))


def _packed(figures: Mapping[Series, float], ids: Mapping[Series, int]) -> bytes:
    placed = {ids[one]: value for one, value in figures.items() if one in ids}
    values = array("f", [float("nan")]) * (max(placed, default=-1) + 1)
    for number, value in placed.items():
        # Beyond the range of such a float nothing is measured; it would raise an error.
        values[number] = value if abs(value) < 3e38 else float("nan")
    return values.tobytes()
