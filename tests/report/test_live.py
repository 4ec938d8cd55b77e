"""Progress: lines that do not repeat, and a table that keeps within its terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from edgehone.core.events import Event
from edgehone.report.live import live

ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
# Emits events for so many candidates into the live table, then leaves.
CHILD = """
import sys, time
from edgehone.core.events import Event
from edgehone.report.live import live
with live(plain=False) as emit:
    for number in range(int(sys.argv[1])):
        emit(Event(f"backend/recipe-with-a-long-name-{number}", "building", "converting the model to its format", 0.5))
    emit(Event("", detail="environment x: installing [with brackets]"))
    time.sleep(0.4)
    emit(Event("backend/recipe-with-a-long-name-0", "failed", "line one [/not markup]\\nline two " + "and more " * 20))
    for number in range(1, int(sys.argv[1])):
        emit(Event(f"backend/recipe-with-a-long-name-{number}", "done", "decode 100 tokens/s, peak 80 MiB"))
"""


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Standard error's lines without their time."""
    captured = capsys.readouterr()
    assert captured.out == ""
    return [re.sub(r"^\[ *\d+\.\d s\] ", "", line) for line in captured.err.splitlines()]


def test_plain_lines_tell_each_new_state_once(capsys: pytest.CaptureFixture[str]) -> None:
    with live(plain=True) as emit:
        emit(Event("", detail="hashing"))
        emit(Event("a/q4", "waiting"))
        emit(Event("a/q4", "building", "convert"))
        emit(Event("a/q4", "building", "convert"))
        emit(Event("a/q8", "building", "convert"))
        emit(Event("a/q4", "building", "quantize"))
        emit(Event("a/q4", "failed", "out of memory [killed]"))
        emit(Event("", detail="hashing"))
    assert lines(capsys) == [
        "hashing",
        "a/q4 waiting",
        "a/q4 building convert",
        "a/q8 building convert",
        "a/q4 building quantize",
        "a/q4 failed out of memory [killed]",
    ]


def test_plain_lines_tell_progress_where_nothing_else_was_said_for_long(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("edgehone.report.live.time.monotonic", lambda: now[0])
    with live(plain=True) as emit:
        emit(Event("a/q4", "building", "GPTQ"))
        for seconds, fraction in ((10, 0.1), (29, 0.2), (31, 0.3), (50, 0.4), (62, 0.0)):
            now[0] = seconds
            emit(Event("a/q4", "building", "waiting: measurements must end first", fraction))
    assert lines(capsys) == [
        "a/q4 building GPTQ",
        "a/q4 building 30% waiting: measurements must end first",
        "a/q4 building waiting: measurements must end first",
    ]


def test_plain_lines_leave_progress_and_nothing_out(capsys: pytest.CaptureFixture[str]) -> None:
    with live(plain=True) as emit:
        emit(Event("a/q4", "scoring"))
        for step in range(10):
            emit(Event("a/q4", "scoring", f"window {step}", step / 10))
        emit(Event("a/q4", "scoring"))  # the same state as before the progress
        emit(Event("a/q4", "done"))
        emit(Event(""))  # nothing to tell
    assert lines(capsys) == ["a/q4 scoring", "a/q4 done"]


def on_a_terminal(candidates: int, columns: int, rows: int = 24) -> str:
    """What the live table writes to a terminal of that size."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(candidates)],
        stdin=follower,
        stderr=follower,
        stdout=subprocess.PIPE,
        env={**environment, "TERM": "xterm-256color"},
    )
    os.close(follower)
    written = b""
    while True:
        try:
            block = os.read(leader, 65536)
        except OSError:  # the other end is closed: so says Linux
            break
        if not block:
            break
        written += block
    os.close(leader)
    out, _ = child.communicate(timeout=30)
    assert child.returncode == 0, written.decode()
    assert out == b""  # standard output is for results
    return written.decode()


def test_the_table_shows_states_on_a_terminal() -> None:
    text = ESCAPE.sub("", on_a_terminal(2, 120))
    assert "backend/recipe-with-a-long-name-0" in text
    assert "building" in text and "50%" in text and "converting the model" in text
    assert "environment x: installing [with brackets]" in text
    last = text[text.rindex("candidate") :]
    assert "failed" in last and "line one [/not markup] line two" in last
    assert "done" in last and "decode 100 tokens/s, peak 80 MiB" in last


@pytest.mark.parametrize(("candidates", "columns"), [(40, 80), (40, 120), (3, 60)])
def test_many_candidates_stay_within_the_terminal(candidates: int, columns: int) -> None:
    written = on_a_terminal(candidates, columns)
    shown = ESCAPE.sub("", written).replace("\r", "\n").splitlines()
    assert max(map(len, shown)) <= columns
    # While it runs a table that is too high is cut; what stays on the screen is whole.
    last = "\n".join(shown[max(place for place, line in enumerate(shown) if "candidate" in line) :])
    assert last.count("done") == candidates - 1 and last.count("failed") == 1


def test_an_error_inside_leaves_the_terminal_whole(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), live(plain=True) as emit:
        emit(Event("a/q4", "waiting"))
        raise ZeroDivisionError
