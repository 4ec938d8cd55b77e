"""The share of processor time of other processes."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgehone.device.busy import Busy, others_share, read_busy


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
