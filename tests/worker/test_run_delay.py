"""The scheduler's run delay, read from files as the kernel writes them, and from this process."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from edgehone.worker.run_delay import RunDelay


def write(tasks: Path, thread: str, waited_ns: int, ran_ns: int = 85_028) -> None:
    """Write /proc/PID/task/TID/schedstat: nanoseconds run, nanoseconds waited, time slices."""
    (tasks / thread).mkdir(exist_ok=True)
    (tasks / thread / "schedstat").write_text(f"{ran_ns} {waited_ns} 2\n", "ascii")


def remove(tasks: Path, thread: str) -> None:
    (tasks / thread / "schedstat").unlink()
    (tasks / thread).rmdir()


def test_the_delay_of_all_threads_since_the_start_is_summed(tmp_path: Path) -> None:
    write(tmp_path, "10", 2_000_000_000)
    write(tmp_path, "11", 5_000_000_000)
    delay = RunDelay(tmp_path)
    assert delay.known
    assert delay.seconds() == 0.0
    write(tmp_path, "10", 2_250_000_000)
    write(tmp_path, "11", 5_500_000_000)
    assert delay.seconds() == pytest.approx(0.75)
    delay.close()


def test_a_thread_counts_from_the_refresh_that_sees_it(tmp_path: Path) -> None:
    write(tmp_path, "10", 0)
    delay = RunDelay(tmp_path)
    write(tmp_path, "11", 7_000_000_000)
    assert delay.seconds() == 0.0
    delay.refresh()
    assert delay.seconds() == 0.0
    write(tmp_path, "11", 7_100_000_000)
    assert delay.seconds() == pytest.approx(0.1)
    delay.close()


def test_what_a_thread_waited_stays_after_it_has_ended(tmp_path: Path) -> None:
    write(tmp_path, "10", 0)
    write(tmp_path, "11", 0)
    delay = RunDelay(tmp_path)
    write(tmp_path, "11", 300_000_000)
    assert delay.seconds() == pytest.approx(0.3)
    (tmp_path / "11" / "schedstat").write_text("")  # read of a thread that has ended
    assert delay.seconds() == pytest.approx(0.3)
    remove(tmp_path, "11")
    delay.refresh()
    write(tmp_path, "10", 50_000_000)
    assert delay.seconds() == pytest.approx(0.35)
    assert delay.known
    delay.close()


def test_another_thread_of_the_same_id_starts_from_its_own_counter(tmp_path: Path) -> None:
    write(tmp_path, "10", 0)
    write(tmp_path, "11", 900_000_000)
    delay = RunDelay(tmp_path)
    remove(tmp_path, "11")
    delay.refresh()
    write(tmp_path, "11", 0)
    delay.refresh()
    assert delay.seconds() == 0.0
    delay.close()


def test_without_counters_the_delay_is_not_known(tmp_path: Path) -> None:
    missing = RunDelay(tmp_path / "none")
    assert not missing.known and missing.seconds() == 0.0
    (tmp_path / "10").mkdir()
    without_file = RunDelay(tmp_path)
    assert not without_file.known
    write(tmp_path, "11", 0)
    (tmp_path / "11" / "schedstat").write_text("nonsense\n")
    assert not RunDelay(tmp_path).known


def test_a_kernel_that_does_not_account_for_scheduling_shows_zeros_which_are_no_delay(tmp_path: Path) -> None:
    """Without CONFIG_SCHEDSTATS and delayacct the file is there and contains "0 0 0"."""
    write(tmp_path, "10", 0, ran_ns=0)
    delay = RunDelay(tmp_path)
    assert not delay.known
    delay.close()


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")
def test_the_files_are_closed() -> None:
    RunDelay().close()
    before = len(list(Path("/proc/self/fd").iterdir()))
    ended = threading.Thread(target=lambda: None)
    delay = RunDelay()
    ended.start()
    delay.refresh()
    ended.join()
    delay.refresh()
    delay.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs affinity")
def test_a_process_on_the_same_processor_delays_this_one() -> None:
    """Two threads that never sleep share one processor: each waits about half of the time."""
    allowed = os.sched_getaffinity(0)
    one = min(allowed)
    delay = RunDelay()
    if not delay.known:
        pytest.skip("this kernel does not count the run delay")
    busy = "import os, sys; os.sched_setaffinity(0, {int(sys.argv[1])}); print(flush=True)\nwhile True: pass"
    neighbour = subprocess.Popen([sys.executable, "-c", busy, str(one)], stdout=subprocess.PIPE)
    try:
        assert neighbour.stdout and neighbour.stdout.readline()
        os.sched_setaffinity(0, {one})
        before, started = delay.seconds(), time.perf_counter()
        while time.perf_counter() - started < 0.2:
            pass
        waited, took = delay.seconds() - before, time.perf_counter() - started
    finally:
        os.sched_setaffinity(0, allowed)
        neighbour.kill()
        neighbour.wait()
        delay.close()
    assert 0.03 < waited < took
