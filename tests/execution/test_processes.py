"""Waiting for a child: it ends, or the time does, with a pidfd and on systems without one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from edgehone.execution.processes import wait


@pytest.mark.parametrize("has_pidfd", [True, False])
def test_the_end_of_a_child_and_of_the_time_are_told_apart(
    monkeypatch: pytest.MonkeyPatch, has_pidfd: bool
) -> None:
    if not has_pidfd:
        monkeypatch.delattr(os, "pidfd_open", raising=False)
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        begun = time.monotonic()
        assert not wait(child, 0.1)
        assert time.monotonic() - begun >= 0.1
        assert child.stdin
        child.stdin.write(b"\n")
        child.stdin.close()
        assert wait(child, 60) and child.returncode == 0
        assert time.monotonic() - begun < 60
        assert wait(child, 60)  # a child that has been waited for
    finally:
        child.kill()
        child.wait()


def test_a_killed_child_has_ended() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    child.send_signal(signal.SIGKILL)
    assert wait(child, 60) and child.returncode == -signal.SIGKILL
    assert child.stdin
    child.stdin.close()
