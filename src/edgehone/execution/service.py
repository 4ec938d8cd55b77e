"""A job that runs until it is ended, and that exchanges lines with its parent through a socket.

Where every tenth of a second counts, its process can be started before the job is known (`waiting`): it imports what
such a job needs, and waits.
"""

from __future__ import annotations

import signal
import socket
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from edgehone.execution.command import (
    GO,
    command_line,
    environment_variables,
    waiting_command_line,
    write_description,
)
from edgehone.execution.failure_cause import root_cause
from edgehone.execution.job import Job
from edgehone.execution.owned_folder import OwnedFolder, make_owned
from edgehone.execution.processes import end_tree
from edgehone.execution.store import read_result


@dataclass(frozen=True)
class Service:
    """A running service: its process, the parent's end of the socket, and its folder, which holds its log."""

    child: subprocess.Popen[bytes]
    channel: socket.socket
    place: OwnedFolder

    @property
    def folder(self) -> Path:
        """The path of the folder."""
        return self.place.path

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
        self.place.remove()


# The services of `begun`, by the identity of their jobs, which the context keeps alive.
_BEGUN: dict[int, Service] = {}


@dataclass(frozen=True)
class Expected:
    """A job that will be started, as far as its process depends on it. `modules` are imported ahead if they exist."""

    python: Path
    call: str
    backend: str | None
    threads: int
    modules: Sequence[str]

    def fits(self, job: Job) -> bool:
        """Return whether a process for this does what one that is started for a job does."""
        mine = (self.python, self.call, self.backend, self.threads)
        return mine == (job.env.python, job.call, job.backend, job.threads)


# Processes that wait for a job, each with the number of its socket there.
_WAITING: list[tuple[Expected, Service, int]] = []


@contextmanager
def waiting(expected: Iterable[Expected]) -> Iterator[None]:
    """Start processes ahead for jobs of this context. Those that get none end with it."""
    mine = []
    try:
        with suppress(OSError):  # a job that finds none starts its own, and tells what is wrong
            for one in expected:
                mine.append(_prepared(one))
                _WAITING.append(mine[-1])
        yield
    finally:
        for prepared in mine:
            if prepared in _WAITING:
                _WAITING.remove(prepared)
                prepared[1].end()


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
    return _BEGUN.pop(id(job), None) or _given(job) or _started(job)


def _given(job: Job) -> Service | None:
    """Return the service of a waiting process that was given the job; None if there is none."""
    for one in _WAITING:
        expected, service, channel = one
        if not expected.fits(job):
            continue
        _WAITING.remove(one)
        try:
            write_description(replace(job, args={**job.args, "channel": channel}), service.folder)
            service.channel.sendall(GO)
        except OSError:  # it has ended
            service.end()
            return None
        return service
    return None


def _started(job: Job) -> Service:
    place, mine, its = _place()
    with its:
        try:
            write_description(replace(job, args={**job.args, "channel": its.fileno()}), place.path)
            child = _child(
                command_line(job, place.path), environment_variables(job, alone=True), place.path, its
            )
        except BaseException:
            mine.close()
            place.remove()
            raise
    return Service(child, mine, place)


def _prepared(one: Expected) -> tuple[Expected, Service, int]:
    place, mine, its = _place()
    with its:
        try:
            command = waiting_command_line(
                one.python, one.call, one.backend, place.path, its.fileno(), one.modules
            )
            child = _child(command, environment_variables(one, alone=True), place.path, its)
        except BaseException:
            mine.close()
            place.remove()
            raise
        return one, Service(child, mine, place), its.fileno()


def _place() -> tuple[OwnedFolder, socket.socket, socket.socket]:
    """Return a folder, the parent's end of a socket, and the child's."""
    place = make_owned()
    try:
        return place, *socket.socketpair()
    except BaseException:
        place.remove()
        raise


def _child(
    command: Sequence[str], variables: Mapping[str, str], folder: Path, its: socket.socket
) -> subprocess.Popen[bytes]:
    with (folder / "log.txt").open("wb") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            cwd=folder,
            env=variables,
            pass_fds=(its.fileno(),),
            start_new_session=True,
        )
