"""The slice of a thread: shortened for itself, not for what it starts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edgehone.execution.time_slice import shorten_slice

_SHORTEN = """
import subprocess, sys
from edgehone.execution.time_slice import shorten_slice
assert shorten_slice() and shorten_slice()
print(open("/proc/self/sched").read(), flush=True)
print("=next=", flush=True)
subprocess.run(["cat", "/proc/self/sched"], check=True)
"""


def slice_of(told: str) -> int | None:
    """Return the slice in ns that /proc/PID/sched tells; None if the kernel does not tell it."""
    lines = [line for line in told.splitlines() if line.startswith("se.slice ")]
    return int(lines[0].partition(":")[2]) if lines else None


@pytest.mark.skipif(not Path("/proc/self/sched").exists(), reason="this system does not tell slices")
def test_a_thread_gets_the_shortest_slice_and_its_children_the_usual_one() -> None:
    told = subprocess.run(
        [sys.executable, "-c", _SHORTEN], capture_output=True, text=True, check=True
    ).stdout.split("=next=")
    own, child = map(slice_of, told)
    usual = (
        slice_of(Path("/proc/self/sched").read_text("utf-8")) if Path("/proc/self/sched").exists() else None
    )
    if own is None:
        pytest.skip("this kernel does not tell slices")
    assert own in {100_000, usual} and child == usual


def test_systems_without_the_call_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert shorten_slice() is False
