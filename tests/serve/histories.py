"""Readings and files of the history."""

from __future__ import annotations

from pathlib import Path

from edgehone.serve.history.figures import (
    Interval,
    Labels,
    Reading,
    Series,
)
from edgehone.serve.history.store import FINE, Store

A: Labels = (("model", "a"),)
NOW = 1_700_000_000.0


def reading(at: float, gauge: float | None = None, count: float | None = None) -> Reading:
    gauges = {} if gauge is None else {("edgehone_x", A): gauge}
    return Reading(at, gauges, {} if count is None else {("edgehone_x_total", A): count})


def fill(path: Path, rows: int, series: int = 3, *, since: float = NOW, store: Store | None = None) -> Store:
    store = store or Store(path)
    for index in range(rows):
        values = {Series(f"m{number}", "value", A): index + number / 1000 for number in range(series)}
        store.write({FINE: values}, since + 10 * index)
    return store


async def no_reading() -> Reading:
    return reading(0)


def said_nothing(text: str) -> None:
    raise AssertionError(text)


def counted(value: float) -> Interval:
    found = Interval(reading(0, gauge=value))
    found.add(reading(10, gauge=value))
    return found
