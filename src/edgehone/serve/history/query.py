"""Read figures out of the history, as many as a plot has room for."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from edgehone.core.arrays import Array, NDArray, np
from edgehone.serve.history.figures import Series
from edgehone.serve.history.store import COARSE, FINE, Resolution, series_in

# The figures of an answer: about 1.5 MB of JSON.
MOST_FIGURES = 200_000
_BUSY_SECONDS = 2.0
_DIGITS = 5


@dataclass(frozen=True)
class Asked:
    """A query of the history: since a time (Unix, seconds), of these metrics (None: all), with a limit of points."""

    since: float
    metrics: Collection[str] | None
    points: int


@dataclass(frozen=True)
class Plotted:
    """Series with a figure for each time, NaN where there is none. Times are `step` seconds apart but for gaps."""

    step: float
    at: Sequence[float]
    series: Sequence[tuple[Series, Array]]

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON data; NaN becomes null."""
        told = [
            {"metric": one.metric, "stat": one.stat, "labels": dict(one.labels), "values": values.tolist()}
            for one, values in self.series
        ]
        return {"step": self.step, "at": list(self.at), "series": told}


def read(path: Path, asked: Asked, now: float) -> Plotted:
    """Return the result of a query, up to now. A point of several rows has their mean, or the worst quantile.

    Raises sqlite3.Error if the file cannot be read.
    """
    fine = now - asked.since <= FINE.kept
    with closing(
        sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=_BUSY_SECONDS)
    ) as database:
        chosen = sorted(
            (number, one)
            for number, one in series_in(database)
            if asked.metrics is None or one.metric in asked.metrics
        )
        rows = [] if fine else _rows(database, COARSE, asked.since, now)
        # The newest rows of a coarse plot are not there yet: the fine ones end it.
        rows += _rows(database, FINE, rows[-1][0] / 1000 if rows else asked.since, now)
    points = max(2, min(asked.points, MOST_FIGURES // max(1, len(chosen))))
    step = max(float((FINE if fine else COARSE).seconds), (now - asked.since) / points)
    if not rows or not chosen:
        return Plotted(step, (), ())
    table = _table([blob for _, blob in rows], [number for number, _ in chosen])
    times = np.array([at for at, _ in rows]) / 1000
    bins = np.floor((times - asked.since) / step)
    starts = np.flatnonzero(np.diff(bins, prepend=-1))
    ends = [*starts[1:] - 1, len(rows) - 1]
    found = []
    for column, (_, one) in zip(table.T, chosen, strict=True):
        values = _reduced(column, starts, one.stat)
        if not np.isnan(values).all():
            found.append((one, _rounded(values)))
    return Plotted(step, [round(float(times[end]), 1) for end in ends], found)


def _rows(
    database: sqlite3.Connection, resolution: Resolution, after: float, now: float
) -> list[tuple[int, bytes]]:
    return database.execute(
        "SELECT at, figures FROM rows WHERE resolution = ? AND at > ? AND at <= ? ORDER BY at",
        (resolution.seconds, after * 1000, now * 1000),
    ).fetchall()


def _table(blobs: Sequence[bytes], ids: Sequence[int]) -> Array:
    """Return rows by series."""
    found = np.full((len(blobs), ids[-1] + 1), np.nan, np.float32)
    for row, blob in zip(found, blobs, strict=True):
        values = np.frombuffer(blob, np.float32)[: len(row)]
        row[: len(values)] = values
    return found[:, list(ids)].astype(np.float64)


def _reduced(column: Array, starts: NDArray[np.intp], stat: str) -> Array:
    if stat == "p5":
        return np.fmin.reduceat(column, starts)
    if stat.startswith("p"):
        return np.fmax.reduceat(column, starts)
    there = ~np.isnan(column)
    counts = np.add.reduceat(there.astype(np.float64), starts)
    with np.errstate(invalid="ignore"):
        return np.add.reduceat(np.where(there, column, 0.0), starts) / counts


def _rounded(values: Array) -> Array:
    """Return values of a few digits, so that their text is short."""
    with np.errstate(divide="ignore", invalid="ignore"):
        shift = _DIGITS - 1 - np.floor(np.log10(np.abs(values)))
    shift = np.where(np.isfinite(shift), np.clip(shift, -20, 20), 0.0)
    up, down = 10.0 ** np.maximum(shift, 0), 10.0 ** np.maximum(-shift, 0)
    rounded: Array = np.rint(values * up / down) * down / up
    return rounded
