"""Limits out of baselines, and the alerts that are left out."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from edgehone.monitor.alert import Baselines, alerts, faster, left_out
from edgehone.monitor.expression import Share, Total
from edgehone.monitor.promql import all_of
from edgehone.monitor.table import table
from edgehone.serve.buckets import BOUNDS
from tests.monitor.certified import FACTORS, all_alerts, baselines


def named(name: str, *of: Baselines) -> str:
    (found,) = [one for one in alerts(of or (baselines(),)) if one.name == name]
    return all_of(found.conditions)


def test_a_limit_is_a_factor_times_a_baseline() -> None:
    by_name = {one.name: one for one in all_alerts()}
    assert by_name["latency_p95"].limit == pytest.approx(0.015)
    assert by_name["memory"].limit == pytest.approx(1.2e8)
    assert by_name["throughput"].limit == pytest.approx(35)
    assert by_name["accuracy"].limit == pytest.approx(0.9215)
    assert by_name["error_rate"].limit == 0.01
    assert "1.5 times served_p95_s of the certificate, 0.01" in by_name["latency_p95"].basis


def test_a_quantile_is_compared_at_the_next_bound_of_a_bucket() -> None:
    assert 'le="0.016"' in named("latency_p95")
    assert "> 0.05" in named("latency_p95")
    assert 'le="0.05"' in named(
        "latency_p95", baselines(served_p95_s=0.05 / 1.5)
    )  # not below the limit: exactly


def test_bounds_are_at_most_1_28_times_apart() -> None:
    for bounds in BOUNDS.values():
        for low, high in pairwise(bounds):
            assert 1 < high / low <= 1.2801, (low, high)


def test_an_alert_without_its_baseline_is_left_out_with_the_reason() -> None:
    found = (baselines(served_p95_s=None),)
    assert "latency_p95" not in {one.name for one in alerts(found)}
    assert {(one.name, one.model, one.reason) for one in left_out(found)} == {
        ("latency_p95", "bundle", "not measured"),
        ("latency", "bundle", "not measured"),
    }
    assert left_out((baselines(),)) == ()


def test_a_limit_beyond_the_last_bucket_is_left_out() -> None:
    (one,) = [one for one in left_out((baselines(served_p95_s=100.0),)) if one.name == "latency_p95"]
    assert "beyond 120 s" in one.reason


def test_each_model_has_limits_of_its_own_and_the_server_the_strictest() -> None:
    of = (baselines("a"), replace(baselines("b", served_p95_s=0.1), factors={**FACTORS, "error_rate": 0.002}))
    found = alerts(of)
    assert {one.model for one in found if one.name == "latency_p95"} == {"a", "b"}
    (rate,) = [one for one in found if one.name == "error_rate"]
    assert rate.limit == 0.002 and rate.model is None
    assert [one.name for one in found if one.model is None] == [
        one.name for one in alerts([baselines()]) if one.model is None
    ]


def test_a_model_without_a_certificate_keeps_the_alerts_that_need_none() -> None:
    found = (Baselines("a", {}, {}, reason="no certificate"), baselines("b"))
    assert {one.reason for one in left_out(found) if one.model == "a"} == {"no certificate"}
    assert "a" not in {one.model for one in alerts(found)}
    assert "not_ready" in {one.name for one in alerts(found)}


def test_burn_rates_are_those_of_the_workbook() -> None:
    found = {one.name: one for one in all_alerts() if one.burn}
    assert {name: (one.limit, one.severity) for name, one in found.items()} == {
        "availability_budget_fast": (0.072, "page"),
        "availability_budget_medium": (0.03, "page"),
        "availability_budget_slow": (0.005, "ticket"),
        "latency_budget_fast": (0.72, "page"),
        "latency_budget_medium": (0.3, "page"),
        "latency_budget_slow": (0.05, "ticket"),
    }
    shares = {
        name: [one.value.part.window_s for one in alert.conditions if isinstance(one.value, Share)]
        for name, alert in found.items()
    }
    assert shares["availability_budget_fast"] == [3600, 300]
    assert shares["latency_budget_medium"] == [21600, 1800]
    assert shares["latency_budget_slow"] == [259200, 21600]


def test_an_objective_that_cannot_burn_so_fast_is_refused() -> None:
    rows = table()
    loose = replace(rows, objective=tuple(replace(one, objective=0.9) for one in rows.objective))
    with pytest.raises(ValueError, match=r"14\.4 times too fast"):
        alerts([baselines()], loose)


def test_faster_shortens_all_windows() -> None:
    for one in all_alerts():
        quick = faster(one, 60)
        assert quick.for_s == one.for_s / 60 and quick.limit == one.limit
        for before, after in zip(one.conditions, quick.conditions, strict=True):
            assert after.limit == before.limit
            if isinstance(before.value, Total) and isinstance(after.value, Total):
                assert after.value.window_s == before.value.window_s / 60
