"""Run a job in the foreground: nothing is kept, and its standard output is the caller's."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from edgehone.core.errors import JobError
from edgehone.execution.failure_cause import root_cause
from edgehone.execution.job import Job, command, describe, environment
from edgehone.execution.processes import end_tree


def run_foreground(job: Job, *, quiet: bool = False) -> dict[str, Any]:
    """The facts of a job whose output is shown as it comes (or, if quiet, not at all).

    Raises JobError with the root cause if the child fails.
    """
    with tempfile.TemporaryDirectory(prefix="edgehone-") as place:
        folder = Path(place)
        describe(job, folder)
        with (folder / "log.txt").open("w+", encoding="utf-8", errors="replace") as log:
            child = subprocess.Popen(
                command(job, folder),
                stdin=subprocess.PIPE,
                stdout=log if quiet else None,
                stderr=log,
                cwd=folder,
                env=environment(job, alone=True),
                start_new_session=True,
            )
            try:
                child.wait()
            finally:
                end_tree(child.pid)
                child.wait()
            log.seek(0)
            said = log.read()
        done = folder / "result.json"
        result = json.loads(done.read_text("utf-8")) if done.exists() else {}
    if not result.get("ok"):
        error = result.get("error", {})
        cause = error.get("message") or root_cause(said) or f"ended with exit code {child.returncode}"
        raise JobError(cause, hint=error.get("hint"))
    facts: dict[str, Any] = result["facts"]
    return facts
