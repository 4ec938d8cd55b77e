"""The share of processor time of other processes."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgehone.device.busy import Busy, others_share, pressure, read_busy, stolen_share


def test_time_of_this_process_is_not_counted_as_others() -> None:
    assert others_share(Busy(100, 10, 1000), Busy(110, 20, 1020)) == 0
    assert others_share(Busy(100, 10, 1000), Busy(110, 12, 1020)) == pytest.approx(0.4)


def test_unreadable_counters_give_no_share(tmp_path: Path) -> None:
    assert read_busy(tmp_path) is None
    (tmp_path / "stat").write_text("intr 5\n")
    assert read_busy(tmp_path) is None
    assert others_share(None, Busy(1, 1, 1)) is None
    assert others_share(Busy(1, 1, 1), Busy(1, 1, 1)) is None


def test_stolen_time_counts_and_guest_time_counts_once(tmp_path: Path) -> None:
    (tmp_path / "stat").write_text("cpu  100 0 0 100 0 0 0 50 100 0\ncpu0 1 1\n")
    found = read_busy(tmp_path)
    assert found is not None
    assert found.all_processes / found.total == pytest.approx(150 / 250)


def test_stolen_time_is_a_share_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "stat").write_text("cpu  100 0 0 100 0 0 0 50 100 0\n")
    before = read_busy(tmp_path)
    (tmp_path / "stat").write_text("cpu  110 0 0 140 0 0 0 100 100 0\n")
    assert stolen_share(before, read_busy(tmp_path)) == pytest.approx(0.5)
    assert stolen_share(before, before) is None and stolen_share(None, before) is None
    (tmp_path / "stat").write_text("cpu  100 0 0 100 0\n")  # a kernel that does not tell it
    old = read_busy(tmp_path)
    assert old is not None and old.stolen == 0


def test_pressure_is_the_time_for_which_a_thread_waited(tmp_path: Path) -> None:
    (tmp_path / "stat").write_text("cpu  100 0 0 100 0 0 0 0 0 0\n")
    without = read_busy(tmp_path)
    (tmp_path / "pressure").mkdir()
    (tmp_path / "pressure" / "cpu").write_text(
        "some avg10=3.10 avg60=1.02 avg300=0.50 total=1500000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n"
    )
    before = read_busy(tmp_path)
    assert before is not None and before.pressure == pytest.approx(1.5)
    (tmp_path / "pressure" / "cpu").write_text("some avg10=9 avg60=1 avg300=1 total=4000000\n")
    assert pressure(before, read_busy(tmp_path)) == pytest.approx(2.5)
    assert pressure(without, before) is None and pressure(None, before) is None
    (tmp_path / "pressure" / "cpu").write_text("")
    assert pressure(before, read_busy(tmp_path)) is None


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="needs /proc/stat")
def test_a_busy_process_raises_the_share_of_others() -> None:
    neighbour = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        time.sleep(0.1)
        before = read_busy()
        time.sleep(0.5)
        share = others_share(before, read_busy())
    finally:
        neighbour.kill()
        neighbour.wait()
    assert share is not None and share > 0.02
