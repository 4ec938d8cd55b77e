"""Alerts evaluated from scrapes: counters that reset, scrapes that fail, clocks that jump."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgehone.monitor.alert import Alert
from edgehone.monitor.evaluate import Evaluator
from edgehone.monitor.expression import Series, Total
from edgehone.monitor.planted import TEST_INTERVAL_S, cases, lines, seconds
from edgehone.monitor.promql import number, quoted
from edgehone.monitor.samples import Samples
from edgehone.monitor.scraped import quantile_between
from edgehone.serve.measured.quantile import interpolated
from tests.monitor.certified import all_alerts

ALERTS = all_alerts()


def named(*names: str) -> list[Alert]:
    return [one for one in ALERTS if one.name in names]


def ready(value: float) -> str:
    return f'edgehone_ready{{model="bundle"}} {value}\n'


def restarts(value: float) -> str:
    return f'edgehone_engine_restarts{{model="bundle"}} {value}\n'


def fed(alerts: Iterable[Alert], scrapes: Iterable[tuple[float, str | None]]) -> Evaluator:
    found = Evaluator(list(alerts))
    for at, text in scrapes:
        found.add(at, text)
    return found


def firing(found: Evaluator) -> set[str]:
    return {one.alert.name for one in found.firing()}


def regular(
    text: Callable[[int], str | None], scrapes: int, begun: float = 0.0
) -> list[tuple[float, str | None]]:
    return [(begun + at * TEST_INTERVAL_S, text(at)) for at in range(scrapes)]


@pytest.mark.parametrize("alert", ALERTS, ids=lambda one: one.name)
def test_each_alert_fires_on_what_breaks_its_limit_and_on_nothing_else(alert: Alert) -> None:
    scrapes = math.ceil(seconds(alert) / TEST_INTERVAL_S)
    for case in cases(alert):
        planted = lines(alert, case, scrapes)

        def text(at: int, planted: list = planted) -> str:  # type: ignore[type-arg]
            return "".join(
                f"{one.metric}{{{','.join(f'{key}={quoted(label)}' for key, label in one.labels.items())}}}"
                f" {number(one.start + at * one.step)}\n"
                for one in planted
            )

        scraped = regular(text, scrapes + 1)
        if alert.name == "down":
            scraped = [(at, None if case == "breaks" else "") for at, _ in scraped]
        found = fed(ALERTS, scraped)
        assert (alert.name in firing(found)) is (case == "breaks"), case
        if case == "breaks":
            (one,) = [one for one in found.firing() if one.alert == alert]
            assert one.figure is not None and set(one.labels) == set(alert.labels)
            assert "{" not in one.says + one.do


def test_an_alert_is_pending_before_it_fires_and_ends_with_its_cause() -> None:
    found = fed(named("not_ready"), [(0, ready(1)), (10, ready(0)), (39, ready(0))])
    assert firing(found) == set() and [one.alert.name for one in found.pending()] == ["not_ready"]
    found.add(40, ready(0))
    (one,) = found.firing()
    assert (one.since, one.value, one.labels) == (10, 0, {"model": "bundle"})
    assert one.says.startswith("bundle is not ready")
    found.add(50, ready(1))
    assert not found.firing() and not found.pending()


def test_a_model_that_is_told_no_longer_raises_no_alert() -> None:
    found = fed(named("not_ready"), [(at * 10, ready(0)) for at in range(5)])
    assert firing(found) == {"not_ready"}
    found.add(50, "")
    assert firing(found) == set()


def test_a_counter_that_begins_again_at_0_is_counted_on() -> None:
    total = Total(Series("edgehone_engine_restarts"), "increase", 3600, ("model",))
    found = fed(named("restarts"), regular(lambda at: restarts(at if at < 20 else at - 20), 40))
    assert found.value(total)[("bundle",)] == pytest.approx(38, rel=0.02)
    steady = fed(named("restarts"), regular(lambda at: restarts(7), 40))
    assert firing(steady) == set()
    begun_again = fed(named("restarts"), regular(lambda at: restarts(7 if at < 20 else 0), 40))
    assert firing(begun_again) == set()  # a server that was started again has restarted no engine


def test_scrapes_that_fail_are_the_servers_fault_and_no_alert_of_its_models() -> None:
    found = fed(ALERTS, [(at * 10, ready(0) if at < 3 else None) for at in range(7)])
    assert firing(found) == {"down"}
    assert found.problem is None
    found.add(70, ready(1))
    assert firing(found) == set()


def test_text_that_cannot_be_read_is_a_failed_scrape_with_its_reason() -> None:
    found = fed(ALERTS, [(at * 10, "edgehone_ready{ <html>") for at in range(5)])
    assert firing(found) == {"down"} and found.problem is not None and "<html>" in found.problem


@pytest.mark.parametrize("jump", [-5.0, -15.0, -3600.0, -1e9])
def test_a_clock_that_jumps_back_neither_raises_nor_hides_an_alert(jump: float) -> None:
    scraped = regular(lambda at: ready(0) + restarts(at // 30), 20)
    after = regular(
        lambda at: ready(0) + restarts((at + 20) // 30), 20, scraped[-1][0] + jump + TEST_INTERVAL_S
    )
    found = fed(named("not_ready", "restarts"), scraped)
    assert firing(found) == {"not_ready"}
    for at, text in after:
        found.add(at, text)
        assert "not_ready" in firing(found)
    assert firing(found) == {"not_ready", "restarts"}


def test_a_clock_that_jumps_ahead_lets_a_pending_alert_begin_anew() -> None:
    found = fed(named("not_ready"), [(0, ready(1)), (10, ready(0)), (20, ready(0)), (4000, ready(0))])
    assert firing(found) == set() and len(found.pending()) == 1
    found.add(4030, ready(0))
    assert firing(found) == {"not_ready"}
    found.add(9999, ready(0))
    assert firing(found) == {"not_ready"}  # it fired before, and still holds


def test_scrapes_at_the_same_moment_are_taken_as_later() -> None:
    found = fed(named("not_ready"), [(0.0, ready(0))] * 6)
    assert firing(found) == {"not_ready"}


def test_a_series_that_a_scrape_tells_twice_counts_once() -> None:
    found = fed(ALERTS, regular(lambda at: (ready(1) + restarts(at)) + (ready(0) + restarts(9 * at)), 30))
    assert firing(found) == {"restarts"}
    (one,) = found.firing()
    assert one.value == pytest.approx(29, rel=0.05)


def test_nan_is_no_value() -> None:
    assert not fed(named("not_ready"), [(at * 10, ready(math.nan)) for at in range(6)]).pending()


def test_old_samples_are_thinned_and_dropped_and_windows_stay_right() -> None:
    series, kept = Samples(259_200), 400_000
    for at in range(0, kept, 15):
        series.add(float(at), float(at))
    assert len(series._times) < 259_200 / 60 + 7200 / 15 + 3000
    for window in (300.0, 3600.0, 21_600.0, 259_200.0):
        assert series.increase(float(kept), window) == pytest.approx(window, rel=0.01)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=8), st.floats(0.01, 0.99))
def test_a_quantile_lies_in_its_bucket(counts: list[int], q: float) -> None:
    bounds = [float(one + 1) for one in range(len(counts))] + [math.inf]
    cumulative = [float(sum(counts[: at + 1])) for at in range(len(counts))]
    cumulative.append(cumulative[-1])
    found = interpolated(q, list(zip(bounds, cumulative, strict=True)))
    if not cumulative[-1]:
        assert math.isnan(found)
        return
    at = next(index for index, count in enumerate(cumulative) if count >= q * cumulative[-1])
    assert bounds[at] - 1 <= found <= bounds[at]


def test_a_quantile_between_two_scrapes_is_about_what_came_between() -> None:
    def text(early: int, late: int) -> str:
        counts = {"0.1": early, "1.0": early + late, "+Inf": early + late}
        return "".join(f'x_bucket{{model="a",le="{bound}"}} {count}\n' for bound, count in counts.items())

    assert quantile_between(text(100, 0), text(100, 50), "x", 0.5) == pytest.approx(0.55)
    assert math.isnan(quantile_between(text(5, 5), text(5, 5), "x", 0.5))
    assert math.isnan(quantile_between("", "", "x", 0.5))
