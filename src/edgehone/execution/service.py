"""A job that runs until it is ended, and that exchanges lines with its parent through a socket."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from edgehone.execution.command import command_line, environment_variables, write_description
from edgehone.execution.failure_cause import root_cause
from edgehone.execution.job import Job
from edgehone.execution.processes import end_tree
from edgehone.execution.store import read_result


@dataclass(frozen=True)
class Service:
    """A running service: its process, the parent's end of the socket, and the folder of its log."""

    child: subprocess.Popen[bytes]
    channel: socket.socket
    folder: Path

    @property
    def cause(self) -> str:
        """Why the process has ended, from its result or its log; a SIGKILL leaves nothing in the log."""
        code = self.child.poll()
        if code == -signal.SIGKILL:
            return f"killed by signal {signal.SIGKILL.value}, as the system kills if memory is short"
        error = (read_result(self.folder) or {}).get("error") or {}
        log = self.folder / "log.txt"
        cause = error.get("message") or root_cause(log.read_text("utf-8", "replace") if log.is_file() else "")
        return str(
            cause or (f"killed by signal {-code}" if code and code < 0 else f"ended with exit code {code}")
        )

    def end(self) -> None:
        """Kill the process and all that it started, and remove its folder."""
        end_tree(self.child.pid)
        self.child.wait()
        if self.child.stdin:
            self.child.stdin.close()
        self.channel.close()
        shutil.rmtree(self.folder, ignore_errors=True)


# The services of `begun`, by the identity of their jobs, which the context keeps alive.
_BEGUN: dict[int, Service] = {}


@contextmanager
def begun(jobs: Iterable[Job]) -> Iterator[None]:
    """Start jobs now for those who start them later, which saves the time until then. The rest ends with the context.

    One that cannot be started now is started later, by `start`, which tells why if it still cannot be.
    """
    known = {id(one): one for one in jobs}
    try:
        with suppress(OSError):
            for number, job in known.items():
                _BEGUN[number] = start(job)
        yield
    finally:
        for number in known:
            if service := _BEGUN.pop(number, None):
                service.end()


def start(job: Job) -> Service:
    """Return the service of a job that was begun, or start it.

    The job's function reads and writes lines on the socket args["channel"]. It ends with this process.

    Raises OSError, and leaves nothing, if there is no room for its folder or the interpreter cannot be run.
    """
    return _BEGUN.pop(id(job), None) or _started(job)


def _started(job: Job) -> Service:
    folder = Path(tempfile.mkdtemp(prefix="edgehone-"))
    mine, its = socket.socketpair()
    with its:
        try:
            child = _child(replace(job, args={**job.args, "channel": its.fileno()}), folder, its)
        except BaseException:
            mine.close()
            shutil.rmtree(folder, ignore_errors=True)
            raise
    return Service(child, mine, folder)


def _child(job: Job, folder: Path, its: socket.socket) -> subprocess.Popen[bytes]:
    write_description(job, folder)
    with (folder / "log.txt").open("wb") as log:
        return subprocess.Popen(
            command_line(job, folder),
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            cwd=folder,
            env=environment_variables(job, alone=True),
            pass_fds=(its.fileno(),),
            start_new_session=True,
        )
