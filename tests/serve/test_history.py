"""The history without a server: figures between readings, rows, clocks, answers."""

from __future__ import annotations

import asyncio
import json
import math
import sqlite3
import time
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.requests import Request

from edgehone.serve.history import query, recorder, routes
from edgehone.serve.history.clock import Clock
from edgehone.serve.history.figures import (
    Buckets,
    Interval,
    Key,
    Reading,
    Series,
    figures,
    reading_of,
)
from edgehone.serve.history.query import Asked, read
from edgehone.serve.history.recorder import Recorder
from edgehone.serve.history.store import COARSE, FILE, FINE, Resolution, Store
from edgehone.serve.http import Refused
from tests.serve.histories import NOW, A, counted, fill, no_reading, reading, said_nothing

RATE, VALUE = Series("edgehone_x_total", "rate", A), Series("edgehone_x", "value", A)


def test_counters_gauges_and_histograms_of_a_registry_become_figures() -> None:
    registry = CollectorRegistry()
    count = Counter("edgehone_x", "", ("model",), registry=registry)
    gauge = Gauge("edgehone_y", "", registry=registry)
    took = Histogram("edgehone_z_seconds", "", buckets=(1, 2, 4), registry=registry)
    margin = Histogram("edgehone_confidence_margin", "", buckets=(0.5, 1), registry=registry)
    before = reading_of(registry.collect(), 100.0)
    count.labels("a").inc(30)
    gauge.set(7)
    for one in (0.5, 1.5, 1.5, 3.0):
        took.observe(one)
    margin.observe(0.4)
    found = figures(before, reading_of(registry.collect(), 110.0))
    assert found[RATE] == 3.0 and found[Series("edgehone_y", "value", ())] == 7
    assert found[Series("edgehone_z_seconds", "rate", ())] == pytest.approx(0.4)
    assert found[Series("edgehone_z_seconds", "p50", ())] == pytest.approx(1.5)
    assert 2 < found[Series("edgehone_z_seconds", "p99", ())] <= 4
    assert {one.stat for one in found if one.metric == "edgehone_confidence_margin"} == {"p5", "p50", "rate"}
    assert not any("_created" in one.metric or "_sum" in one.metric for one in found)
    quiet = figures(reading_of(registry.collect(), 110.0), reading_of(registry.collect(), 120.0))
    assert quiet[RATE] == 0 and Series("edgehone_z_seconds", "p50", ()) not in quiet


def test_a_counter_that_began_again_counts_from_zero() -> None:
    assert figures(reading(0, count=100), reading(10, count=20))[RATE] == 2.0
    bounds: dict[Key, Buckets] = {("edgehone_z", ()): {1.0: 5.0, math.inf: 9.0}}
    again: dict[Key, Buckets] = {("edgehone_z", ()): {1.0: 2.0, math.inf: 2.0}}
    found = figures(Reading(0, histograms=bounds), Reading(10, histograms=again))
    assert found[Series("edgehone_z", "rate", ())] == pytest.approx(0.2)


@given(st.lists(st.floats(0, 1e6), min_size=2, max_size=40))
def test_rates_are_never_negative_and_add_up_to_the_growth(counts: list[float]) -> None:
    counts.sort()
    readings = [reading(10.0 * index, count=one) for index, one in enumerate(counts)]
    pairs = pairwise(readings)
    rates = [figures(before, now)[RATE] for before, now in pairs]
    assert all(one >= 0 for one in rates)
    assert 10 * sum(rates) == pytest.approx(counts[-1] - counts[0], abs=1e-3)


def test_an_interval_has_the_mean_of_gauges_and_leaves_out_what_is_no_number() -> None:
    one = Interval(reading(0, gauge=99, count=0))
    for at, value in ((10, 1.0), (20, 2.0), (30, 6.0)):
        one.add(reading(at, gauge=value, count=at))
    found = one.figures()
    assert one.seconds == 30 and found[VALUE] == 3.0 and found[RATE] == 1.0
    one.add(reading(40, gauge=math.nan))
    assert VALUE not in one.figures()


def test_figures_come_back_in_order_and_gaps_stay_gaps(tmp_path: Path) -> None:
    store = Store(tmp_path / FILE)
    store.write({FINE: {RATE: 1.0}}, NOW)
    store.write({FINE: {RATE: 2.0, VALUE: 5e9}}, NOW + 10)
    store.write({FINE: {VALUE: 1e300}}, NOW + 20)
    found = read(tmp_path / FILE, Asked(NOW - 1, None, 100), NOW + 30)
    assert found.at == [NOW, NOW + 10, NOW + 20] and found.step == 10
    (_, first), (_, second) = sorted(found.series, key=lambda one: one[0].stat)
    assert first.tolist()[:2] == [1.0, 2.0] and math.isnan(first[2])
    assert second[1] == 5e9 and math.isnan(second[0]) and math.isnan(second[2])


def test_of_several_rows_a_point_has_the_mean_or_the_worst_quantile(tmp_path: Path) -> None:
    store = Store(tmp_path / FILE)
    tail, low = Series("s", "p99", A), Series("s", "p5", A)
    for index in range(60):
        store.write(
            {FINE: {VALUE: float(index), tail: float(index % 7), low: float(index % 7)}}, NOW + 10 * index
        )
    found = read(tmp_path / FILE, Asked(NOW - 0.5, None, 10), NOW + 599.5)
    values = {one.stat: figures.tolist() for one, figures in found.series}
    assert found.step == 60 and len(found.at) == 10
    assert values["value"][:2] == [2.5, 8.5]
    assert values["p99"][:2] == [5.0, 6.0] and values["p5"][:2] == [0.0, 0.0]


@given(st.lists(st.floats(1e-9, 1e15) | st.floats(-1e15, -1e-9) | st.just(0.0), min_size=1, max_size=20))
def test_values_are_rounded_to_five_digits(values: list[float]) -> None:
    rounded = query._rounded(np.array(values, np.float64))
    for value, found in zip(values, rounded, strict=True):
        assert found == pytest.approx(value, rel=6e-5)
        assert float(f"{found:.4e}") == pytest.approx(found, rel=1e-14)


def test_a_long_time_is_read_from_the_coarse_rows_and_ended_by_the_fine_ones(tmp_path: Path) -> None:
    store = Store(tmp_path / FILE)
    begun = NOW - 2 * 86_400
    for index in range(3):
        store.write({COARSE: {VALUE: 100.0 + index}}, begun + 300 * index)
    store.write({FINE: {VALUE: 1.0}}, begun + 100)
    store.write({FINE: {VALUE: 7.0}}, NOW - 10)
    found = read(tmp_path / FILE, Asked(begun - 300, None, 2000), NOW)
    assert found.series[0][1].tolist() == [100.0, 101.0, 102.0, 7.0]
    day = read(tmp_path / FILE, Asked(NOW - 3600, None, 2000), NOW)
    assert day.series[0][1].tolist() == [7.0]


def test_old_rows_and_series_are_removed_and_their_places_used_again(tmp_path: Path) -> None:
    store = Store(tmp_path / FILE, most_series=2)
    old, other = Series("old", "value", A), Series("other", "value", A)
    assert store.write({FINE: {old: 1.0, VALUE: 1.0}, COARSE: {old: 1.0, VALUE: 1.0}}, NOW) == 0
    assert store.write({FINE: {other: 1.0}}, NOW + 10) == 1  # there is no place for it
    late = NOW + COARSE.kept + 3600
    assert store.write({FINE: {other: 3.0}, COARSE: {other: 3.0}}, late) == 0
    with sqlite3.connect(tmp_path / FILE) as database:
        assert database.execute("SELECT count(*) FROM rows").fetchone() == (2,)
        assert [one[0] for one in database.execute("SELECT metric FROM series")] == ["other"]
    found = read(tmp_path / FILE, Asked(late - 10, {"other"}, 10), late)
    assert found.series[0][1].tolist() == [3.0]


def test_the_file_stays_below_its_largest_size_by_removing_the_oldest_rows(tmp_path: Path) -> None:
    path, largest = tmp_path / FILE, 512 << 10
    store = fill(path, 900, 300, store=Store(path, largest))
    assert path.stat().st_size <= largest
    found = read(path, Asked(NOW - 1, {"m0"}, 2000), NOW + 9000)
    kept = found.series[0][1].tolist()
    assert kept[-1] == 899 and 100 < len(kept) < 900
    assert kept == sorted(kept)
    store.close()


def test_a_server_of_many_series_writes_less_than_the_largest_size_in_a_fortnight() -> None:
    rows = sum(one.kept // one.seconds for one in (FINE, COARSE))
    pages = math.ceil(1500 * 4 / 4096) + 1  # a row of that size and its remainder
    assert rows * pages * 4096 < 80 << 20  # beyond 64 MB the oldest are removed


@given(st.lists(st.floats(-7200, 7200), min_size=1, max_size=12))
def test_whatever_the_clock_does_times_rise_and_no_new_row_is_lost(
    tmp_path_factory: pytest.TempPathFactory, jumps: list[float]
) -> None:
    path = tmp_path_factory.mktemp("jumps") / FILE
    passed, ahead = 0.0, NOW
    clock = Clock(lambda: passed + ahead, lambda: passed)
    history, said = Recorder(path, no_reading, said_nothing, clock), 0
    for jump in jumps:
        for _ in range(3):
            passed += 10
            said += 1
            history.write({FINE: Interval(reading(0)), COARSE: counted(said)})
        ahead += jump
    passed += 10
    history.write({FINE: counted(said + 1), COARSE: counted(said + 1)})
    with sqlite3.connect(path) as database:
        found = database.execute("SELECT at FROM rows WHERE resolution = 300 ORDER BY at").fetchall()
    times = [at / 1000 for (at,) in found]
    assert len(times) == said + 1
    small = sum(abs(jump) for jump in jumps if abs(jump) < 1) + 1
    assert np.diff(times) == pytest.approx([10.0] * said, abs=small)
    history.close()


def test_the_timer_writes_fine_and_coarse_rows_and_never_waits_for_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fine_one = Resolution(0.02, 60)  # type: ignore[arg-type]
    monkeypatch.setattr(recorder, "FINE", fine_one)
    monkeypatch.setattr(recorder, "COARSE", Resolution(0.1, 600))  # type: ignore[arg-type]
    begun = time.monotonic()
    written = list[dict[Any, Interval]]()

    async def now() -> Reading:
        at = time.monotonic() - begun
        return reading(at, gauge=1.0, count=100 * at)

    class Slow(Recorder):
        def write(self, intervals: dict[Resolution, Interval]) -> None:
            time.sleep(0.05)
            written.append(intervals)

    async def run() -> float:
        task = asyncio.create_task(Slow(tmp_path / FILE, now, said_nothing).run())
        longest = 0.0
        for _ in range(100):
            before = time.monotonic()
            await asyncio.sleep(0.01)
            longest = max(longest, time.monotonic() - before)
        task.cancel()
        return longest

    asyncio.run(run())
    assert len(written) >= 5 and any(len(one) == 2 for one in written)
    fine = [one[fine_one] for one in written]
    ends = [(one._begun.at, one._last.at) for one in fine]
    assert all(before[1] == after[0] for before, after in pairwise(ends))
    assert all(one.figures()[RATE] == pytest.approx(100, rel=1e-6) for one in fine)


def answer(path: Path, words: str = "") -> dict[str, Any]:
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/history",
        "headers": [],
        "query_string": words.encode(),
    }
    ask: Callable[[Request], Awaitable[Any]] = routes.History(path).history

    async def asked() -> Any:
        return await ask(Request(scope))

    found: dict[str, Any] = json.loads(asyncio.run(asked()).body)
    return found


def test_the_answer_has_what_was_asked_for(tmp_path: Path) -> None:
    path, now = tmp_path / FILE, time.time()
    assert answer(path)["problem"] == "nothing was recorded yet"
    fill(path, 30, since=now - 300).close()
    found = answer(path)
    assert found["problem"] is None and len(found["at"]) == 30 and found["step"] == 10
    assert [one["metric"] for one in found["series"]] == ["m0", "m1", "m2"]
    assert found["series"][0]["labels"] == {"model": "a"} and found["series"][0]["stat"] == "value"
    found = answer(path, "metric=m1&metric=m2&since=-100")
    assert [one["metric"] for one in found["series"]] == ["m1", "m2"] and 9 <= len(found["at"]) <= 10
    assert answer(path, f"since={now - 100}&metric=none")["series"] == []
    path.write_text("no database" * 1000)
    assert "cannot be read" in answer(path)["problem"] and answer(path)["series"] == []


@pytest.mark.parametrize(
    "words", ["since=x", "since=nan", "since=1e99", "points=1", "points=5000", "points=x", "metric=" + "m" * 101,
              "&".join(["metric=a"] * 65)],
)  # fmt: skip
def test_what_cannot_be_asked_is_refused_with_the_field(tmp_path: Path, words: str) -> None:
    with pytest.raises(Refused) as refused:
        answer(tmp_path / FILE, words)
    assert refused.value.status == 400 and refused.value.field == words.partition("=")[0]


def test_an_answer_is_bounded_whatever_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query, "MOST_FIGURES", 1000)
    path = tmp_path / FILE
    fill(path, 300, 50, since=time.time() - 3000).close()
    found = answer(path, "points=2160")
    assert sum(len(one["values"]) for one in found["series"]) <= 1050 and len(found["series"]) == 50
