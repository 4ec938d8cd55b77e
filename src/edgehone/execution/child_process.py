"""Run a job in a child process of this machine: hold the machine lock, watch the child, enforce its limits."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgehone.core.errors import JobError
from edgehone.execution import store
from edgehone.execution.command import command_line, environment_variables, write_description
from edgehone.execution.failure_cause import root_cause
from edgehone.execution.job import Job, Progress
from edgehone.execution.machine_lock import machine_lock
from edgehone.execution.processes import CHILDREN, end_tree, unreclaimable_bytes, wait
from edgehone.execution.watch import Watch

# A disk with less space left than this is full: no log, result or model file fits.
FULL = 1 << 20


def execute_locally(job: Job, folder: Path, on_progress: Progress) -> None:
    """Run a job on this machine, in the work folder `folder`, which then contains its result.

    Raises JobError, with the root cause and the log's path, if the job fails or exceeds a limit, and OSError (ENOSPC)
    if the disk is full.
    """
    busy = "other jobs" if job.exclusive else "a measurement"
    waiting = f"waiting: {busy} of this machine must end first"
    with machine_lock(job.exclusive, lambda held: on_progress(0.0, f"{waiting} ({held})")):
        _run_child(job, folder, on_progress)


def _run_child(job: Job, folder: Path, on_progress: Progress) -> None:
    write_description(job, folder)
    watch = job.watch()
    with (folder / "log.txt").open("wb") as log:
        child = subprocess.Popen(
            command_line(job, folder),
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=environment_variables(job, alone=job.exclusive),
            start_new_session=True,
        )
        CHILDREN.add(child.pid)
        try:
            stopped = _wait(child, job, folder, watch, on_progress)
        finally:
            # End the whole session: processes that a toolchain started must not outlive the job, also after Ctrl-C.
            end_tree(child.pid)
            child.wait()
            CHILDREN.remove(child.pid)
            if child.stdin:
                child.stdin.close()
    result = store.read_result(folder) or {}
    if result.get("ok"):
        (folder / "watch.json").write_text(json.dumps(watch.result()), "utf-8")
        (folder / "progress").unlink(missing_ok=True)
        return
    if CHILDREN.ending and child.returncode == -signal.SIGKILL:
        raise JobError("ended, since the run was stopped")  # by Ctrl-C, or by an error elsewhere
    message, hint = _failure(result, stopped, child.returncode, folder / "log.txt")
    if "No space left" in message or shutil.disk_usage(folder).free < FULL:
        # The child may have been unable to write the reason.
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))
    raise JobError(message, log=store.store_failure(job.key, folder), hint=hint)


def _wait(
    child: subprocess.Popen[bytes], job: Job, folder: Path, watch: Watch, on_progress: Progress
) -> str | None:
    """Wait for the child. Return None if it ended by itself, else the limit that it exceeded."""
    last_report = time.monotonic()
    deadline = last_report + job.limits.seconds
    text = ""
    while True:
        if wait(child, watch.seconds):
            return None
        watch.sample(child.pid)
        if time.monotonic() > deadline:
            return f"stopped after its time limit of {job.limits.seconds:.0f} s"
        if job.limits.bytes is not None and (used := unreclaimable_bytes(child.pid)) > job.limits.bytes:
            return (
                f"stopped at its memory limit: it used {used / 2**20:.0f} MiB of the "
                f"{job.limits.bytes / 2**20:.0f} MiB allowed"
            )
        previous, text = text, _forward_progress(folder / "progress", text, on_progress)
        if text != previous:
            last_report = time.monotonic()
        elif job.limits.silent is not None and time.monotonic() - last_report > job.limits.silent:
            return f"stopped: no progress for {job.limits.silent:.0f} s"


def _forward_progress(path: Path, previous: str, on_progress: Progress) -> str:
    """Report the child's progress if it has changed. Return the text of its progress file."""
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return previous
    if text != previous:
        fraction, doing = json.loads(text)
        on_progress(fraction, doing)
    return text


def _failure(
    result: Mapping[str, Any], stopped: str | None, code: int | None, log: Path
) -> tuple[str, str | None]:
    """Return the message and the hint of a failed job."""
    if stopped:
        return stopped, None
    if error := result.get("error"):
        return error["message"], error.get("hint")
    cause = root_cause(log.read_text("utf-8", "replace"))
    if code == -signal.SIGKILL:
        last = f"; last line of its log: {cause}" if cause else ""
        return f"killed by signal 9, most often because memory ran out{last}", None
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        return f"crashed with {name}{f': {cause}' if cause else ''}", None
    return cause or f"ended with exit code {code} and without a result", None
