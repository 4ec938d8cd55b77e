"""What other programs take of the processors, and their names."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgehone.device import others


def stat_line(pid: int, name: str, user: int, system: int) -> str:
    """A line of /proc/PID/stat (man 5 proc)."""
    before = "R 1 1 1 0 -1 4194304 100 0 0 0"
    return f"{pid} ({name}) {before} {user} {system} 0 0 20 0 1 0 100 1000 10\n"


def test_processor_seconds_of_each_process(tmp_path: Path) -> None:
    tick = os.sysconf("SC_CLK_TCK")
    lines = {
        "7": stat_line(7, "cc1", 3 * tick, tick),
        "8": stat_line(8, "odd) (name 1 2", tick, 0),
        "9": "",  # it has just ended
        "10": "10 (half",
        "net": stat_line(11, "no process", tick, tick),
    }
    for folder, line in lines.items():
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "stat").write_text(line)
    (tmp_path / "12").mkdir()
    assert others._seconds_by_process(tmp_path) == {7: ("cc1", 4.0), 8: ("odd) (name 1 2", 1.0)}
    assert others._seconds_by_process(tmp_path / "none") == {}


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="needs /proc/stat")
def test_a_busy_program_is_named_and_this_process_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    busy = "print(flush=True)\nwhile True: pass"
    neighbour = subprocess.Popen([sys.executable, "-c", busy], stdout=subprocess.PIPE)
    name = Path(f"/proc/{neighbour.pid}/stat").read_text().partition("(")[2].rpartition(")")[0]
    try:
        assert neighbour.stdout and neighbour.stdout.readline()
        # On a machine of many processors, one busy program takes little of all of them.
        monkeypatch.setattr(others, "NAMED", 0.2 / (os.cpu_count() or 1))
        seen = others.others_now()
    finally:
        neighbour.kill()
        neighbour.wait()
    assert name in [program for program, _ in seen["programs"]]
    assert seen["share"] > 0
    assert all(0 < share <= 1.1 for _, share in seen["programs"])
    assert [share for _, share in seen["programs"]] == sorted((s for _, s in seen["programs"]), reverse=True)
