"""Run a job: look in the store, else start a child, watch it, keep what it made."""

from __future__ import annotations

import errno
import json
import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgehone.core.errors import JobError, SetupError
from edgehone.execution import store
from edgehone.execution.environments.environment import Env
from edgehone.execution.failure_cause import root_cause
from edgehone.execution.home import file_lock, home
from edgehone.execution.processes import CHILDREN, end_tree, resident_bytes
from edgehone.execution.source_digest import module_digest, package_path, source_digest
from edgehone.execution.store import JobResult
from edgehone.execution.watch import Watch

# Nothing phones home and nothing asks a hub, unless a job says so.
QUIET = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "OLIVE_DISABLE_TELEMETRY": "1",
    "ORT_DISABLE_TELEMETRY": "1",
    "OPENVINO_TELEMETRY_DISABLE": "1",
    "NNCF_TELEMETRY_DISABLE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONUNBUFFERED": "1",
    "PYTHONUTF8": "1",
}

# Hears how far a job is, 0 to 1, and what it does.
Progress = Callable[[float, str], None]

# A disk with less than this left is full: no log, result or model file fits.
FULL = 1 << 20


@dataclass(frozen=True)
class Input:
    """A path that a job reads, and what identifies its content: a digest, or the key of the job that made it.

    `files` are those that count, relative to the folder that `path` is or lies in; none named: all of `path`.
    """

    path: Path
    identity: str
    files: tuple[str, ...] = ()

    @classmethod
    def of(cls, result: JobResult, part: str = "") -> Input:
        """The output folder of a finished job, or a part of it."""
        return cls(result.out / part, f"{result.identity}/{part}")


@dataclass(frozen=True)
class Limits:
    """What a job may use: wall seconds, and resident bytes of its whole process group (None: no limit).

    `silent` seconds may pass between two words of progress: for jobs that tell it in small steps.
    """

    seconds: float = 4 * 3600
    bytes: int | None = None
    silent: float | None = None


@dataclass(frozen=True)
class Job:
    """A call to make in an environment.

    `exclusive` jobs are measurements: they run with no other job of this machine beside them. `backend` is the
    module whose session the job opens, if any (its source is part of the key). `also` is whatever else
    determines the result: for measurements the device. `watch` is asked for a sample of the child's
    process id every `watch_seconds`; what it returns at the end is kept in watch.json. `links` tells that the
    result holds links to its inputs, so that it is good only where they lie now.

    `environment_independent` is for a job whose result is the same in every environment and depends on no code but the
    function's own module, such as a download: its key then contains neither the environment nor imported modules, and
    an upgrade of either does not run it again.
    """

    call: str
    env: Env
    args: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, Input] = field(default_factory=dict)
    threads: int = 1
    exclusive: bool = False
    backend: str | None = None
    also: Mapping[str, Any] = field(default_factory=dict)
    limits: Limits = Limits()
    online: bool = False
    watch: Callable[[], Watch] = Watch
    links: bool = False
    environment_independent: bool = False

    @property
    def key(self) -> str:
        """The store's key: the identity, and where the inputs lie if the result links to them."""
        if not self.links:
            return self.identity
        places = {name: str(given.path) for name, given in self.inputs.items()}
        return store.key_of({"identity": self.identity, "places": places})

    @property
    def identity(self) -> str:
        """A digest of all that determines the result's content: what jobs that read it name it by."""
        module = self.call.partition(":")[0]
        if self.environment_independent:
            environment, source = None, module_digest(module)
        else:
            environment = self.env.digest
            source = source_digest(*sorted({module, *([self.backend] if self.backend else [])}))
        return store.key_of(
            {
                "call": self.call,
                "args": dict(self.args),
                "inputs": {name: given.identity for name, given in self.inputs.items()},
                "environment": environment,
                "threads": self.threads,
                "source": source,
                "also": dict(self.also),
            }
        )


def fill(job: Job, folder: Path, on_progress: Progress) -> None:
    """Fill a work folder with what a job leaves, by running it on this machine. Raises JobError if it fails."""
    with _machine(job, on_progress):
        _run_child(job, folder, on_progress)


def run(
    job: Job,
    on_progress: Progress = lambda fraction, what: None,
    fill: Callable[[Job, Path, Progress], None] = fill,
    *,
    fresh: bool = False,
) -> JobResult:
    """The job's result, from the store if it is there; else `fill` runs it, here or on another machine.

    `fresh` runs it anew and keeps that instead.
    Raises JobError with the root cause and the log's path if the child fails, is killed or outlives its
    limits; SetupError if the disk is full. A failure is not cached.
    """
    key, identity = job.key, job.identity
    if not fresh and (found := store.find(key, identity)):
        return found
    CHILDREN.check()
    try:
        with store.claim(key) as folder:
            if not fresh and (found := store.find(key, identity)):
                return found
            fill(job, folder, on_progress)
            return store.keep(key, identity, folder)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise SetupError(
                f"no space left on the disk of {home()}",
                hint="free some space, or set EDGEHONE_HOME to a folder on another disk; finished jobs are kept",
            ) from error
        raise


@contextmanager
def _machine(job: Job, on_progress: Progress) -> Iterator[None]:
    """Hold the machine: shared for builds, alone for measurements. Tells when others have to be waited for."""
    path = home() / "locks" / "machine.lock"
    with ExitStack() as held:
        try:
            held.enter_context(file_lock(path, shared=not job.exclusive, wait=False))
        except BlockingIOError:
            busy = "other jobs" if job.exclusive else "a measurement"
            on_progress(0.0, f"waiting: {busy} of this machine must end first")
            held.enter_context(file_lock(path, shared=not job.exclusive))
        yield


def _run_child(job: Job, folder: Path, on_progress: Progress) -> None:
    describe(job, folder)
    watch = job.watch()
    with (folder / "log.txt").open("wb") as log:
        child = subprocess.Popen(
            command(job, folder),
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=environment(job, alone=job.exclusive),
            start_new_session=True,
        )
        CHILDREN.add(child.pid)
        try:
            stopped = _wait(child, job, folder, watch, on_progress)
        finally:
            # The whole session: a toolchain's own children must not outlive the job, nor Ctrl-C.
            end_tree(child.pid)
            child.wait()
            CHILDREN.remove(child.pid)
            if child.stdin:
                child.stdin.close()
    result = _read_result(folder)
    if result.get("ok"):
        (folder / "watch.json").write_text(json.dumps(watch.result()), "utf-8")
        (folder / "progress").unlink(missing_ok=True)
        return
    message, hint = _why(result, stopped, child.returncode, folder / "log.txt")
    if "No space left" in message or shutil.disk_usage(folder).free < FULL:
        # The child may not even have been able to say so.
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))
    raise JobError(message, log=store.keep_failure(job.key, folder), hint=hint)


def _wait(
    child: subprocess.Popen[bytes],
    job: Job,
    folder: Path,
    watch: Watch,
    on_progress: Progress,
) -> str | None:
    """Wait for the child; returns why it was stopped, or None."""
    heard = time.monotonic()
    deadline = heard + job.limits.seconds
    last = ""
    while True:
        with suppress(subprocess.TimeoutExpired):
            child.wait(timeout=watch.seconds)
            return None
        watch.sample(child.pid)
        if time.monotonic() > deadline:
            return f"stopped after its time limit of {job.limits.seconds:.0f} s"
        if job.limits.bytes is not None and (used := resident_bytes(child.pid)) > job.limits.bytes:
            return (
                f"stopped at its memory limit: it held {used / 2**20:.0f} MiB of "
                f"{job.limits.bytes / 2**20:.0f} MiB allowed"
            )
        said = _report(folder / "progress", last, on_progress)
        if said != last:
            last, heard = said, time.monotonic()
        elif job.limits.silent is not None and time.monotonic() - heard > job.limits.silent:
            return f"stopped: nothing went on for {job.limits.silent:.0f} s"


def _report(path: Path, last: str, on_progress: Progress) -> str:
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return last
    if text != last:
        fraction, what = json.loads(text)
        on_progress(fraction, what)
    return text


def _read_result(folder: Path) -> dict[str, Any]:
    try:
        result: dict[str, Any] = json.loads((folder / "result.json").read_text("utf-8"))
    except FileNotFoundError:
        return {}
    return result


def _why(
    result: Mapping[str, Any], stopped: str | None, code: int | None, log: Path
) -> tuple[str, str | None]:
    if stopped:
        return stopped, None
    if error := result.get("error"):
        return error["message"], error.get("hint")
    cause = root_cause(log.read_text("utf-8", "replace"))
    if code == -signal.SIGKILL:
        return (
            f"killed by signal 9, most often for want of memory{f'; last words: {cause}' if cause else ''}",
            None,
        )
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        return f"crashed with {name}{f': {cause}' if cause else ''}", None
    return cause or f"ended with exit code {code} and without a result", None


def describe(job: Job, folder: Path) -> None:
    """Write job.json, and reproduce.sh beside it."""
    description = {
        "call": job.call,
        "args": dict(job.args),
        "inputs": {name: str(given.path) for name, given in job.inputs.items()},
        "identities": {name: given.identity for name, given in job.inputs.items()},
        "toolchain": str(job.env.toolchain) if job.env.toolchain else None,
        "threads": job.threads,
        "environment": {"name": job.env.name, "digest": job.env.digest, "versions": job.env.versions},
        "also": dict(job.also),
    }
    (folder / "job.json").write_text(json.dumps(description, indent=1), "utf-8")
    variables = " ".join(
        f"{name}={shlex.quote(value)}" for name, value in sorted({**QUIET, **_threads(job)}.items())
    )
    line = " ".join(shlex.quote(part) for part in command(job, Path("AGAIN")))
    line = line.replace("AGAIN", "'\"$again\"'")
    script = f"""#!/bin/sh
# Runs this job again by hand, in a folder of its own (the first argument, or a fresh one).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
again=$(cd "${{1:-$(mktemp -d)}}" && pwd)
cp "$here/job.json" "$again/job.json"
cd "$again"
env {variables} {line}
cat "$again/result.json"
"""
    (folder / "reproduce.sh").write_text(script, "utf-8")


def command(job: Job, folder: Path) -> list[str]:
    """The command line of a job's child."""
    packages = {"edgehone": str(package_path("edgehone"))}
    for name in (job.call, job.backend):
        if name and (top := name.partition(":")[0].partition(".")[0]) not in packages:
            packages[top] = str(package_path(top))
    start = {"packages": packages, "call": "edgehone.execution.worker_process:main", "args": [str(folder)]}
    bootstrap = package_path("edgehone") / "execution" / "bootstrap.py"
    return [str(job.env.python), "-I", str(bootstrap), json.dumps(start)]


def environment(job: Job, *, alone: bool = False) -> dict[str, str]:
    """The environment variables of a job's child: the caller's, made quiet, offline and of known threads."""
    variables = {**os.environ, **QUIET, **_threads(job), "EDGEHONE_JOB": "1"}
    if not alone:
        # Threads that spin at OpenMP barriers while another job has the core make both several times slower.
        variables["OMP_WAIT_POLICY"] = "passive"
    if job.online:
        for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE"):
            variables.pop(name, None)
    # Neither the caller's Python settings nor a display belong in a toolchain's process.
    for name in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"):
        variables.pop(name, None)
    return variables


def _threads(job: Job) -> dict[str, str]:
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    return {name: str(job.threads) for name in names}
