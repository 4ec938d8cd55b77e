"""Run a job unless its result is in the store already."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from edgehone.core.errors import JobError, SetupError
from edgehone.execution import store
from edgehone.execution.child_process import execute_locally
from edgehone.execution.home import home
from edgehone.execution.job import Job, Progress
from edgehone.execution.processes import CHILDREN
from edgehone.execution.store import JobResult

Execute = Callable[[Job, Path, Progress], None]

# How to run each job that this process has asked for again, by the folder of its result.
_ASKED: dict[Path, Callable[[], JobResult]] = {}
# Jobs are asked for in several threads.
_LOCK = threading.Lock()


def run(
    job: Job,
    on_progress: Progress = lambda fraction, doing: None,
    execute: Execute = execute_locally,
    *,
    fresh: bool = False,
    whole: bool = False,
) -> JobResult:
    """Return the job's result from the store; if it is not there, `execute` the job first, here or on another machine.

    With `fresh`, the job runs in any case and replaces the stored result; with `whole`, if its files were removed to
    save space (`pruning`). Without, those are made again once a job reads them.

    Processes and threads that want the same job wait for the first one. Failures are not stored as results. Raises
    JobError with the root cause and the log's path if the child fails, is killed or exceeds a limit; SetupError if the
    disk is full.
    """
    key, identity = job.key, job.identity
    with _LOCK:
        _ASKED[store.folder_of(key)] = partial(run, job, on_progress, execute, whole=True)
    if (stored := store.find(key, identity)) and not fresh and not (whole and stored.pruned):
        return stored
    CHILDREN.check()
    try:
        with store.claim(
            key, lambda held: on_progress(0.0, f"waiting: the same job is running already ({held})")
        ) as folder:
            if (stored := store.find(key, identity)) and not fresh and not (whole and stored.pruned):
                return stored
            _execute(job, folder, on_progress, execute)
            return store.store_result(key, identity, folder)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise SetupError(
                f"no space left on the disk of {home()}",
                hint="free some space, or set EDGEHONE_HOME to a folder on another disk; finished jobs are kept",
            ) from error
        raise


def restore(paths: Iterable[Path]) -> bool:
    """Run those jobs again whose results contain the paths and whose files were removed. Return whether any was."""
    with _LOCK:
        asked = dict(_ASKED)
    restored = False
    for folder, again in asked.items():
        if store.is_pruned(folder) and any(path.is_relative_to(folder) for path in paths):
            again()
            restored = True
    return restored


def _execute(job: Job, folder: Path, on_progress: Progress, execute: Execute) -> None:
    paths = [one.path for one in job.inputs.values()]
    restore(paths)
    try:
        execute(job, folder, on_progress)
    except JobError:
        if not restore(paths):  # else another run has removed them before the job could start
            raise
        folder.mkdir(parents=True, exist_ok=True)
        execute(job, folder, on_progress)
