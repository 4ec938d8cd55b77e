"""Run a job in the foreground: its standard output is the caller's, and its result is not stored."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from edgehone.core.errors import InputError, JobError
from edgehone.execution.command import command_line, environment_variables, write_description
from edgehone.execution.failure_cause import root_cause
from edgehone.execution.job import Job
from edgehone.execution.processes import end_tree
from edgehone.execution.store import read_result

# What a worker function raises for input that it cannot use.
_REFUSALS = {"InputError", "ModelError", "TextError"}


def run_foreground(job: Job, *, refused: str | None = None, quiet: bool = False) -> dict[str, Any]:
    """Run a job, show its output as it comes (unless `quiet`), and return the facts.

    Raises InputError if the job refuses its input, with the hint `refused` if it gives none, and JobError with the root
    cause if the child fails otherwise.
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
            try:
                return _facts(folder, log, child)
            except (InputError, JobError) as error:
                failed = f"edgehone backends check {job.env.name}"
                error.hint = error.hint or (refused if isinstance(error, InputError) else failed)
                raise


class Dialogue:
    """A job that answers requests until it is closed: JSON objects through pipes, one a line."""

    def __init__(
        self, folder: Path, log: IO[str], child: subprocess.Popen[bytes], pipes: tuple[int, int]
    ) -> None:
        self._folder, self._log, self._child = folder, log, child
        self._requests = os.fdopen(pipes[0], "w", encoding="utf-8")
        self._replies = os.fdopen(pipes[1], encoding="utf-8")

    def ask(self, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Send a request and yield the replies up to the one that has `last`.

        Raises JobError with the root cause, or InputError if the job says so, if the child ends before.
        """
        try:
            print(json.dumps(request), file=self._requests, flush=True)
            for line in self._replies:
                reply: dict[str, Any] = json.loads(line)
                yield reply
                if reply.get("last"):
                    return
        except BrokenPipeError:
            pass  # the child has ended; its result says why
        self._child.wait()
        _facts(self._folder, self._log, self._child)
        raise JobError("the model's process ended in the middle of the conversation")

    def close(self) -> None:
        """Send the child the end of requests."""
        self._requests.close()
        self._replies.close()


@contextmanager
def open_dialogue(job: Job) -> Iterator[Dialogue]:
    """Run a job that reads requests from the file descriptor args["requests"] and replies to args["replies"]."""
    (read_request, send), (receive, write_reply) = os.pipe(), os.pipe()
    job = replace(job, args={**job.args, "requests": read_request, "replies": write_reply})
    with tempfile.TemporaryDirectory(prefix="edgehone-") as name:
        folder = Path(name)
        write_description(job, folder)
        with (folder / "log.txt").open("w+", encoding="utf-8", errors="replace") as log:
            child = subprocess.Popen(
                command_line(job, folder),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=folder,
                env=environment_variables(job, alone=True),
                pass_fds=(read_request, write_reply),
                start_new_session=True,
            )
            for end in (read_request, write_reply):
                os.close(end)
            dialogue = Dialogue(folder, log, child, (send, receive))
            try:
                yield dialogue
            finally:
                dialogue.close()
                end_tree(child.pid)
                child.wait()


def _facts(folder: Path, log: IO[str], child: subprocess.Popen[bytes]) -> dict[str, Any]:
    """Return the facts of an ended job. Raises InputError if it refused its input, JobError if it failed."""
    log.seek(0)
    output = log.read()
    result = read_result(folder) or {}
    if result.get("ok"):
        facts: dict[str, Any] = result["facts"]
        return facts
    error = result.get("error", {})
    cause = error.get("message") or root_cause(output) or f"ended with exit code {child.returncode}"
    kind = InputError if error.get("type") in _REFUSALS else JobError
    raise kind(cause, hint=error.get("hint"))
