"""Run a job in the foreground: its standard output is the caller's, and its result is not stored."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import Any

from edgehone.core.errors import JobError
from edgehone.execution.command import command_line, environment_variables, write_description
from edgehone.execution.failure_cause import root_cause
from edgehone.execution.job import Job
from edgehone.execution.processes import end_tree
from edgehone.execution.store import read_result


def run_foreground(job: Job, *, quiet: bool = False) -> dict[str, Any]:
    """Run a job, show its output as it comes (unless `quiet`), and return the facts.

    Raises JobError with the root cause if the child fails.
    """
    with tempfile.TemporaryDirectory(prefix="edgehone-") as name:
        folder = Path(name)
        write_description(job, folder)
        with (folder / "log.txt").open("w+", encoding="utf-8", errors="replace") as log:
            child = subprocess.Popen(
                command_line(job, folder),
                stdin=subprocess.PIPE,
                stdout=log if quiet else None,
                stderr=log,
                cwd=folder,
                env=environment_variables(job, alone=True),
                start_new_session=True,
            )
            try:
                child.wait()
            finally:
                end_tree(child.pid)
                child.wait()
            log.seek(0)
            output = log.read()
        result = read_result(folder) or {}
    if not result.get("ok"):
        error = result.get("error", {})
        cause = error.get("message") or root_cause(output) or f"ended with exit code {child.returncode}"
        raise JobError(cause, hint=error.get("hint"))
    facts: dict[str, Any] = result["facts"]
    return facts
