"""From samples to figures: differences of counters, shares, and what is not known."""

from __future__ import annotations

from typing import Any

import pytest

from edgehone.core.figure import Figure
from edgehone.profiling import bottlenecks, figures
from edgehone.profiling.counters import ProcessCounters
from edgehone.profiling.figures import Observation
from edgehone.profiling.watch import Sample

GB = 10**9


def sample(at: float, **more: Any) -> Sample:
    process = ProcessCounters(
        cpu=more.pop("cpu", at),
        waited=more.pop("waited", 0.0),
        voluntary=more.pop("voluntary", int(10 * at)),
        involuntary=more.pop("involuntary", int(2 * at)),
        threads=2,
        major_faults=0,
        read_bytes=0,
    )
    known = {
        "cores": ((at, 2 * at), (0.0, 2 * at)),
        "running": 2,
        "anonymous": GB,
        "file_mapped": GB // 2,
        "shared": 0,
        "available": 4 * GB,
        "mhz": (3000.0, 3000.0),
        "warmest_c": 50.0,
        "throttles": 0,
        "quota": None,
        "joules": (),
    }
    return Sample(at=at, process=process, **{**known, **more})


def seen(samples: list[Sample], latencies: list[float] | None = None, **more: Any) -> Observation:
    values = [0.1] * 10 if latencies is None else latencies
    known: dict[str, Any] = {
        "ttfts": [], "seconds": 2.0, "threads": 2, "usable_bytes": 8 * GB, "generated": 0, "batch": 1, "reasons": {},
    }  # fmt: skip
    return Observation(latencies=values, samples=samples, **{**known, **more})


def test_a_busy_process() -> None:
    found = figures.figures(
        seen([sample(1.0, cpu=0.0), sample(2.0, cpu=1.8), sample(3.0, cpu=3.6, waited=0.4)])
    )
    assert found["cpu_use"].value == pytest.approx(3.6 / (2.0 * 2))
    assert found["run_delay"].value == pytest.approx(0.4 / 4.0)
    assert found["switches_per_s"].value == pytest.approx(24 / 2)
    assert found["resident_bytes"].value == 1.5 * GB
    assert found["memory_share"].value == pytest.approx(1.5 / 8)
    named = {one.name: one for one in bottlenecks.judge(found) if one.holds}
    assert list(named) == ["cpu_bound"] and named["cpu_bound"].threshold == 0.8


def test_rates_and_tokens() -> None:
    latencies, firsts = [0.2, 0.2, 0.3, 0.2], [0.1, 0.1, 0.1, 0.1]
    found = figures.figures(seen([sample(1.0), sample(2.0)], latencies, ttfts=firsts, generated=11))
    assert found["requests_per_s"].value == 2.0
    assert found["tokens_per_s"].value == 22.0
    assert found["decode_tokens_per_s"].value == pytest.approx(100.0)
    assert found["latency_p99_ms"].value is None and "needs 662" in str(found["latency_p99_ms"].reason)
    assert found["latency_cv"].value == pytest.approx(0.222, abs=0.01)


def test_a_clock_that_falls_and_counters_that_rise() -> None:
    samples = [sample(t, mhz=(3000.0 - 200 * t,), throttles=int(t)) for t in (1.0, 2.0, 3.0, 4.0)]
    found = figures.figures(seen(samples))
    assert found["mhz_drop"].value == pytest.approx(1 - 2200 / 2800)
    assert found["throttles"].value == 3
    assert {one.figure for one in bottlenecks.judge(found) if one.name == "throttled" and one.holds} == {
        "throttles",
        "mhz_drop",
    }


def test_a_quota_that_is_used_up() -> None:
    found = figures.figures(seen([sample(1.0, quota=(100, 10)), sample(2.0, quota=(200, 70))]))
    assert found["quota_share"].value == pytest.approx(0.6)


def test_too_few_samples_leave_rules_open() -> None:
    found = figures.figures(seen([sample(1.0)], [0.1]))
    assert found["cpu_use"].value is None and found["latency_cv"].value is None
    judged = bottlenecks.judge(found)
    assert all(
        one.holds is None and one.reason for one in judged if one.name in ("cpu_bound", "inconsistent")
    )


def test_counters_of_threads_that_ended_never_go_below_zero() -> None:
    found = figures.figures(seen([sample(1.0, waited=5.0), sample(2.0, waited=1.0)]))
    assert found["run_delay"].value == 0.0


def test_the_start() -> None:
    found = figures.start_figures({"open": 0.8, "first": 0.2}, {"open": 0.2, "first": 0.1})
    assert found["load_cold_ms"].value == pytest.approx(1000) and found["disk_share"].value == pytest.approx(
        0.7
    )
    assert figures.start_figures(None, None)["disk_share"].value is None


def test_a_start_that_was_not_cold_has_no_cold_figure() -> None:
    cold = {"open": 0.8, "first": 0.2, "still_cached": "90% of the artifact stayed in the page cache"}
    found = figures.start_figures(cold, {"open": 0.2, "first": 0.1, "still_cached": None})
    for name in ("load_cold_ms", "disk_share"):
        assert found[name].value is None and found[name].reason == cold["still_cached"]
    assert found["load_warm_ms"].value == pytest.approx(300)


def test_bandwidth() -> None:
    decode, gigabytes = Figure(100.0, n=1, unit="tokens/s"), Figure(40.0, n=3, unit="GB/s")
    share = figures.bandwidth_share(380_000_000, decode, gigabytes, 32_000_000)
    assert share.value == pytest.approx(0.95)
    assert "caches" in str(figures.bandwidth_share(2_000_000, decode, gigabytes, 32_000_000).reason)
    lacking = figures.bandwidth_share(2_000_000, Figure.missing("none"), gigabytes, None)
    assert lacking.value is None and lacking.reason == "none"


def test_a_timeline_is_of_differences_and_short() -> None:
    moments = figures.timeline([sample(t / 4) for t in range(4, 2000)], begun=2.0, most=100)
    assert len(moments) <= 101
    assert moments[-1].at == pytest.approx(1999 / 4 - 2.0)
    assert moments[5].cores == pytest.approx((0.5, 0.0))
    assert moments[5].switches_per_s == pytest.approx(12, rel=0.2)
    assert figures.timeline([], 0.0) == ()
