"""Run an installer as a child process, line by line, unaffected by the caller's own Python settings."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from edgehone.execution.processes import CHILDREN, end_tree

# Variables that would change where Python looks for packages or where uv installs them.
_REMOVED = (
    "VIRTUAL_ENV",
    "CONDA_PREFIX",
    "PYTHONPATH",
    "PYTHONHOME",
    "UV_PYTHON",
    "UV_PROJECT",
    "UV_SYSTEM_PYTHON",
)


def clean(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables without those that change where Python or uv looks for packages or installs them."""
    return {key: value for key, value in environment.items() if key not in _REMOVED}


def run_lines(
    command: Sequence[str],
    on_line: Callable[[str], None],
    *,
    env: Mapping[str, str],
    cwd: Path,
    stderr: int | IO[Any] = subprocess.STDOUT,
) -> int:
    """Run a command, pass each line of its standard output to `on_line`, and return its exit code.

    The child leads a session, which is ended together with it, so that nothing it started outlives it. Its standard
    input is a pipe to which nothing is written and that closes when this process ends.
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
