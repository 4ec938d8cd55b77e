"""Servers and programs that this process starts end with it, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from edgehone.execution.tied import tied_module, tied_program

# Starts a child that tells its ids, and then waits for its end.
PARENT = """
import subprocess, sys, time
from edgehone.execution.tied import tied_module, tied_program
with {start} as child:
    sys.stdout.write(child.stdout.readline())
    sys.stdout.flush()
    time.sleep(600)
"""
STARTS = {
    "module": "tied_module('sleeper', [], stdout=subprocess.PIPE)",
    "program": "tied_program(['sh', '-c', 'sleep 600 & echo $$ $!; wait'], stdout=subprocess.PIPE)",
}
SLEEPER = """
import os, subprocess, sys, time
other = subprocess.Popen(["sleep", "600"])
print(os.getpid(), other.pid, flush=True)
time.sleep(600)
"""


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_for_end(pids: list[int]) -> None:
    end = time.monotonic() + 60
    while any(map(alive, pids)):
        assert time.monotonic() < end, f"{[pid for pid in pids if alive(pid)]} of {pids} run on"
        time.sleep(0.01)


@pytest.mark.parametrize("kind", STARTS)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_what_was_started_ends_with_its_parent(kind: str, number: int, tmp_path: Path) -> None:
    (tmp_path / "sleeper.py").write_text(SLEEPER)
    command = [sys.executable, "-c", PARENT.format(start=STARTS[kind])]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=tmp_path
    ) as parent:
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        assert len(pids) == 2 and all(map(alive, pids))
        parent.send_signal(number)
        parent.wait(60)
    wait_for_end(pids)


def test_a_module_ends_by_sigterm_at_the_end_of_the_block_and_may_take_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "polite.py").write_text(
        "import signal, sys, time\n"
        "def end(*_):\n    time.sleep(0.3)\n    open('said', 'w').write(' '.join(sys.argv[1:]))\n    sys.exit(7)\n"
        "signal.signal(signal.SIGTERM, end)\nprint('ready', flush=True)\ntime.sleep(600)\n"
    )
    with tied_module("polite", ["good", "bye"], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None and child.stdout.readline() == "ready\n"
    assert (tmp_path / "said").read_text() == "good bye" and child.returncode == 7


def test_modules_of_the_current_folder_do_not_stand_in_for_those_that_edgehone_imports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "argparse.py").write_text("raise SystemExit(9)")
    monkeypatch.chdir(tmp_path)
    with tied_module("edgehone.cli.main", ["--version"], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None and child.stdout.read().startswith("edgehone")


@pytest.mark.parametrize(("words", "code"), [(["sh", "-c", "exit 5"], 5), (["no-such-program"], 127)])
def test_the_exit_code_is_the_programs(words: list[str], code: int) -> None:
    with tied_program(words, stderr=subprocess.PIPE) as child:
        assert child.wait(60) == code and child.stderr is not None
        assert ("no-such-program: No such file" in child.stderr.read()) is (code == 127)


def test_a_program_and_its_children_are_killed_at_the_end_of_the_block() -> None:
    with tied_program(["sh", "-c", "sleep 600 & echo $$ $!; wait"], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        pids = [int(word) for word in child.stdout.readline().split()]
        assert os.getsid(pids[1]) == child.pid
    wait_for_end(pids)
