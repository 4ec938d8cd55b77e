"""Servers and other programs that end with this process, whatever way it ends, `kill -9` included.

A child that this process merely ends in a `finally` block runs on when this process is killed. Here the child leads a
session and watches the pipe of its standard input, which closes when this process ends; then it kills its session.
"""

from __future__ import annotations

import runpy
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

from edgehone.execution.bootstrap import end_session, end_with_parent
from edgehone.execution.processes import end_tree

_MODULE: Final = "module"
_PROGRAM: Final = "program"


@contextmanager
def tied_module(
    name: str,
    words: Sequence[str],
    *,
    stdout: int | IO[Any] | None = None,
    stderr: int | IO[Any] | None = None,
    env: Mapping[str, str] | None = None,
) -> Iterator[subprocess.Popen[str]]:
    """Run a Python module as `python -m` does, in a process that ends with this one, until the block ends.

    At the end of the block it gets SIGTERM and is waited for; what it started and left running is killed.
    """
    # The current folder, which is the user's, is on the import path for modules only that are not edgehone's.
    apart = ["-P"] if name.startswith("edgehone.") else []
    command = [sys.executable, *apart, "-m", __name__, _MODULE, name, *words]
    with _started(command, stdout=stdout, stderr=stderr, env=env) as child:
        try:
            yield child
        finally:
            child.terminate()
            child.wait()  # before its standard input is closed, which would kill it
            end_session(child.pid)


@contextmanager
def tied_program(
    words: Sequence[str],
    *,
    stdout: int | IO[Any] | None = None,
    stderr: int | IO[Any] | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Iterator[subprocess.Popen[str]]:
    """Run a program below a process that ends with this one, until the block ends; then both are killed.

    The process that is given ends with the program's exit code, with 127 if it cannot be started.
    """
    command = [sys.executable, "-P", "-m", __name__, _PROGRAM, *words]
    with _started(command, stdout=stdout, stderr=stderr, env=env, cwd=cwd) as child:
        try:
            yield child
        finally:
            end_tree(child.pid)


def _started(command: Sequence[str], **more: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(command, stdin=subprocess.PIPE, text=True, start_new_session=True, **more)


def _ran(command: Sequence[str]) -> int:
    try:
        return subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode
    except OSError as error:
        sys.stderr.write(f"{command[0]}: {error.strerror}\n")
        return 127  # as a shell


def _main(kind: str, name: str, words: Sequence[str]) -> int:
    end_with_parent()
    if kind == _PROGRAM:
        return _ran([name, *words])
    sys.argv = [name, *words]
    runpy.run_module(name, run_name="__main__", alter_sys=True)
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1], sys.argv[2], sys.argv[3:]))
