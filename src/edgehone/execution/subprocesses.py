"""Run an installer's child process to its end, line by line, in an environment that does not bend it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from edgehone.execution.processes import CHILDREN, end_tree

# Settings of the caller's that would bend where uv installs to.
_NOT_OURS = (
    "VIRTUAL_ENV",
    "CONDA_PREFIX",
    "PYTHONPATH",
    "PYTHONHOME",
    "UV_PYTHON",
    "UV_PROJECT",
    "UV_SYSTEM_PYTHON",
)


def clean(environment: Mapping[str, str]) -> dict[str, str]:
    """The caller's variables without those that bend Python's or uv's idea of where it is."""
    return {key: value for key, value in environment.items() if key not in _NOT_OURS}


def run_lines(
    command: Sequence[str],
    on_line: Callable[[str], None],
    *,
    env: Mapping[str, str],
    cwd: Path,
    stderr: int | IO[Any] = subprocess.STDOUT,
) -> int:
    """Give each line of the child's standard output to `on_line`; returns its exit code.

    The child leads a session of its own that is ended with it: nothing it started outlives it. Its standard
    input is a pipe that nobody writes to and that closes when this process ends.
    """
    CHILDREN.check()
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        env=env,
        cwd=cwd,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    ) as child:
        CHILDREN.add(child.pid)
        try:
            assert child.stdout is not None
            for line in child.stdout:
                on_line(line.rstrip("\n"))
            return child.wait()
        finally:
            end_tree(child.pid)
            child.wait()
            CHILDREN.remove(child.pid)
