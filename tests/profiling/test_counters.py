"""Parsers of /proc: what is there is read, what is not is None."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgehone.profiling import counters

STAT = "42 (a (bad) name) S 1 42 42 0 -1 4194560 900 0 7 0 250 50 0 0 20 0 3 0 100 1000 200 {}\n"


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    place = tmp_path / "42"
    for task, (delay, voluntary, involuntary) in {
        "42": (2_000_000_000, 5, 1),
        "43": (500_000_000, 7, 2),
    }.items():
        folder = place / "task" / task
        folder.mkdir(parents=True)
        (folder / "schedstat").write_text(f"123456 {delay} 77\n")
        (folder / "status").write_text(
            f"Name:\tx\nvoluntary_ctxt_switches:\t{voluntary}\nnonvoluntary_ctxt_switches:\t{involuntary}\n"
        )
    (place / "stat").write_text(STAT.format("0 " * 30))
    (place / "io").write_text("rchar: 10\nread_bytes: 4096\nwrite_bytes: 0\n")
    (tmp_path / "stat").write_text(
        "cpu  30 0 10 50 5 0 5 0 0 0\ncpu0 20 0 5 20 5 0 0 0 0 0\ncpu1 10 0 5 30 0 0 5 0 0 0\n"
        "ctxt 5\nprocs_running 3\nprocs_blocked 0\n"
    )
    (tmp_path / "meminfo").write_text("MemTotal: 1000 kB\nMemAvailable:   600 kB\n")
    return tmp_path


def test_a_process_with_brackets_in_its_name(proc: Path) -> None:
    found = counters.process(42, proc)
    assert found.cpu == pytest.approx(300 / counters.TICK)
    assert found.waited == pytest.approx(2.5)
    assert (found.voluntary, found.involuntary, found.threads) == (12, 3, 2)
    assert (found.major_faults, found.read_bytes) == (7, 4096)


def test_the_machine(proc: Path) -> None:
    busy = counters.cores(proc)
    assert [round(b * counters.TICK) for b, _ in busy] == [25, 20]
    assert [round(t * counters.TICK) for _, t in busy] == [50, 50]
    assert counters.running(proc) == 3
    assert counters.available_memory(proc) == 600 * 1024


def test_a_process_that_is_gone_is_all_unknown(tmp_path: Path) -> None:
    found = counters.process(99, tmp_path)
    assert set(vars(found).values()) == {None}
    assert counters.cores(tmp_path) == [] and counters.running(tmp_path) is None


def test_a_quota_and_none(tmp_path: Path) -> None:
    own = tmp_path / "cgroup"
    own.write_text("0::/box\n")
    assert counters.quota(own, tmp_path) is None
    (tmp_path / "box").mkdir()
    (tmp_path / "box" / "cpu.stat").write_text("usage_usec 5\nnr_periods 200\nnr_throttled 20\n")
    assert counters.quota(own, tmp_path) == (200, 20)


def test_this_very_process() -> None:
    found = counters.process(os.getpid())
    if Path("/proc/self/stat").exists():
        assert found.cpu is not None and found.cpu > 0 and found.threads


@given(st.text(max_size=300), st.text(max_size=200), st.text(max_size=200))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_whatever_stands_there_nothing_is_raised(tmp_path: Path, stat: str, status: str, io: str) -> None:
    task = tmp_path / "7" / "task" / "7"
    task.mkdir(parents=True, exist_ok=True)
    (tmp_path / "7" / "stat").write_text(stat, errors="replace")
    (tmp_path / "7" / "io").write_text(io, errors="replace")
    (tmp_path / "stat").write_text(stat, errors="replace")
    (task / "status").write_text(status, errors="replace")
    (task / "schedstat").write_text(io, errors="replace")
    counters.process(7, tmp_path)
    counters.cores(tmp_path)
