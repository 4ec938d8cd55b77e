"""Run a job unless its result is in the store already."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

from edgehone.core.errors import SetupError
from edgehone.execution import store
from edgehone.execution.child_process import execute_locally
from edgehone.execution.home import home
from edgehone.execution.job import Job, Progress
from edgehone.execution.processes import CHILDREN
from edgehone.execution.store import JobResult


def run(
    job: Job,
    on_progress: Progress = lambda fraction, doing: None,
    execute: Callable[[Job, Path, Progress], None] = execute_locally,
    *,
    fresh: bool = False,
) -> JobResult:
    """Return the job's result from the store; if it is not there, `execute` the job first, here or on another machine.

    With `fresh`, the job runs in any case and replaces the stored result. Processes and threads that want the same
    job wait for the first one. Failures are not stored as results. Raises JobError with the root cause and the log's
    path if the child fails, is killed or exceeds a limit; SetupError if the disk is full.
    """
    key, identity = job.key, job.identity
    if not fresh and (stored := store.find(key, identity)):
        return stored
    CHILDREN.check()
    try:
        with store.claim(
            key, lambda held: on_progress(0.0, f"waiting: the same job is running already ({held})")
        ) as folder:
            if not fresh and (stored := store.find(key, identity)):
                return stored
            execute(job, folder, on_progress)
            return store.store_result(key, identity, folder)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise SetupError(
                f"no space left on the disk of {home()}",
                hint="free some space, or set EDGEHONE_HOME to a folder on another disk; finished jobs are kept",
            ) from error
        raise
