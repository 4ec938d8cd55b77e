"""How the child process of a job is started: command line, environment variables, job.json, reproduce.sh."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from edgehone.execution.job import Job
from edgehone.execution.source_digest import package_path

# Frameworks must not send telemetry and must not use the network.
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
_SCRIPT = """#!/bin/sh
# Run this job again by hand, in a separate folder (the first argument, or a new temporary one).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
again=$(cd "${{1:-$(mktemp -d)}}" && pwd)
cp "$here/job.json" "$again/job.json"
cd "$again"
env {variables} {command}
cat "$again/result.json"
"""


# What a waiting child reads once its job.json is there.
GO = b"\n"


class _Threads(Protocol):
    @property
    def threads(self) -> int: ...


def command_line(job: Job, folder: Path) -> list[str]:
    """Return the command line of the child of a job that runs in `folder`."""
    return _command_line(job.env.python, job.call, job.backend, "main", [str(folder)])


def waiting_command_line(
    python: Path, call: str, backend: str | None, folder: Path, channel: int, modules: Sequence[str]
) -> list[str]:
    """Return the command line of a child that imports modules, and reads GO from `channel` before its job."""
    return _command_line(python, call, backend, "wait", [str(folder), channel, list(modules)])


def _command_line(
    python: Path, call: str, backend: str | None, function: str, args: Sequence[object]
) -> list[str]:
    packages = {"edgehone": str(package_path("edgehone"))}
    for name in (call, backend):
        if name and (top := name.partition(":")[0].partition(".")[0]) not in packages:
            packages[top] = str(package_path(top))
    start = {"packages": packages, "call": f"edgehone.execution.worker_process:{function}", "args": args}
    bootstrap = package_path("edgehone") / "execution" / "bootstrap.py"
    return [str(python), "-I", str(bootstrap), json.dumps(start)]


def environment_variables(job: _Threads, *, alone: bool) -> dict[str, str]:
    """Return the environment variables of the child: the caller's, without telemetry and network, with fixed threads.

    `alone` says that no other job runs on this machine at the same time.
    """
    variables = {**os.environ, **QUIET, **_thread_variables(job), "EDGEHONE_JOB": "1"}
    if not alone:
        # Threads that spin at OpenMP barriers while another job uses the core make both several times slower.
        variables["OMP_WAIT_POLICY"] = "passive"
    # Settings of the caller's own Python must not affect that of the environment.
    for name in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"):
        variables.pop(name, None)
    return variables


def write_description(job: Job, folder: Path) -> None:
    """Write job.json, which the child reads, and reproduce.sh."""
    description = {
        "call": job.call,
        "args": dict(job.args),
        "inputs": {name: str(one.path) for name, one in job.inputs.items()},
        "identities": {name: one.identity for name, one in job.inputs.items()},
        "toolchain": str(job.env.toolchain) if job.env.toolchain else None,
        "threads": job.threads,
        "environment": {"name": job.env.name, "digest": job.env.digest, "versions": job.env.versions},
        "also": dict(job.also),
    }
    (folder / "job.json").write_text(json.dumps(description, indent=1), "utf-8")
    variables = sorted({**QUIET, **_thread_variables(job)}.items())
    command = " ".join(shlex.quote(part) for part in command_line(job, Path("AGAIN")))
    script = _SCRIPT.format(
        variables=" ".join(f"{name}={shlex.quote(value)}" for name, value in variables),
        command=command.replace("AGAIN", "'\"$again\"'"),
    )
    (folder / "reproduce.sh").write_text(script, "utf-8")


def _thread_variables(job: _Threads) -> dict[str, str]:
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    return {name: str(job.threads) for name in names}
