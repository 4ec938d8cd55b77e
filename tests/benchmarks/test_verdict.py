"""The short form of `make bench-verdict`."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import verdict


@pytest.mark.real
@pytest.mark.long
@pytest.mark.alone
def test_the_choice_is_the_same_under_load(tmp_path: Path) -> None:
    words = ["--runs", "3", "--loads", "0,25", "--results", str(tmp_path / "runs")]
    assert verdict.main(words) == 0


def run(load: int, chosen: str, latency: float, failed: tuple[str, ...] = ()) -> dict[str, object]:
    interval = [latency, 0.95 * latency, 1.05 * latency]
    speedup = [100 / latency, 95 / latency, 105 / latency]
    figures = {"workload_latency_ms": interval, "speedup": speedup, "observed_latency_ms": interval}
    gates = {"speedup", "latency_cv"} - {*failed}
    return {
        "load": load,
        "number": 0,
        "seconds": 1.0,
        "probes": [1.0, 1.0],
        "code": 0,
        "chosen": chosen,
        "figures": {"a": figures, "b": {**figures, "workload_latency_ms": [1.2 * one for one in interval]}},
        "failed": [["a", gate] for gate in failed],
        "passed": [["a", gate] for gate in sorted(gates)],
    }


def test_what_is_wrong_is_found() -> None:
    idle = [run(0, "a", 10.0)] * 3
    assert verdict.row(0, [idle])["problems"] == []
    assert verdict.row(25, [[*idle, run(25, "a", 10.1)]])["problems"] == []
    # The other candidate is 20 % slower.
    [problem] = verdict.row(25, [[*idle, run(25, "b", 10.1)]])["problems"]
    assert "near in 0 of 1" in problem
    [problem] = verdict.row(25, [[*idle, run(25, "a", 10.1, ("latency_cv",))]])["problems"]
    assert "a fails latency_cv" in problem
    # Intervals of 5 % that lie 30 % off, in each of three runs.
    problems = verdict.row(25, [[*idle, *[run(25, "a", 13.0)] * 3]])["problems"]
    assert ["cover 0%" in one for one in problems] == [True, True]


def test_few_runs_are_judged_with_their_own_uncertainty() -> None:
    assert verdict.below([0.8, 1.0, 0.86], 0.9) is False
    assert verdict.below([0.5, 0.52, 0.48], 0.9) is True
    assert verdict.below([0.5], 0.9) is False  # one run tells nothing
    assert verdict.below([0.88] * 20, 0.9) is True
    assert verdict.below([0.8, 0.98] * 10, 0.9) is True  # whole runs are judged by their mean


def test_latency_is_judged_where_the_host_has_its_usual_speed() -> None:
    idle = [run(0, "a", 10.0)] * 3
    slow = {**run(25, "a", 13.0), "probes": [1.0, 1.3]}
    assert verdict.at_usual_speed([*idle, slow]) == idle
    # Speedup is a ratio of one run: the host's speed does not excuse it.
    problems = verdict.row(25, [[*idle, *[slow] * 3]])["problems"]
    assert problems == ["25 %: the intervals of speedup cover 0%"]
    assert verdict.row(25, [[*idle, *[slow] * 3]])["steady"] == "–"
    assert "from 1.00 to 1.30" in verdict.host_speed([*idle, slow])


def test_runs_of_each_machine_are_compared_with_its_own_idle_runs(tmp_path: Path) -> None:
    fast = [*[run(0, "a", 10.0)] * 3, *[run(25, "a", 10.1)] * 3]
    slow = [*[run(0, "a", 20.0)] * 3, *[run(25, "a", 20.2)] * 3]
    found = verdict.row(25, [fast, slow])
    assert (found["runs"], found["near"], found["problems"]) == (6, 6, [])
    assert verdict.row(25, [[run(25, "a", 10.1)], fast])["runs"] == 3  # without idle runs there is no truth
    verdict.keep(tmp_path / "runs" / "2026-01-02.json", slow)
    assert verdict.read_series(tmp_path / "runs") == {"2026-01-02": slow}
    assert verdict.read_series(tmp_path / "none") == {}
