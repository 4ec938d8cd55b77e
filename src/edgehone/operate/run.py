"""Operate several servers, each in a thread of its own, until the program is told to end."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from edgehone.core.errors import EdgehoneError, InputError, SetupError
from edgehone.execution.home import file_lock
from edgehone.operate.loop import Operator
from edgehone.operate.options import Options, Say
from edgehone.operate.server import Server

# With --once, a server is watched for so long before it counts as well: the alerts' windows are 300 s.
_ONCE_SECONDS = 330.0
# The exit code if a human was called with --once.
CALLED = 1


def operate(
    servers: Sequence[Server], state: Path, options: Options, say: Say, ended: threading.Event
) -> int:
    """Operate servers until `ended` is set, or with `options.once` until each is well or its first incident is decided.

    Returns the exit code: with `once` 1 if a human was called. Raises what the operation of a server fails with.
    """
    threads = [_Thread(one, state, options, say, ended) for one in servers]
    for one in threads:
        one.start()
    while any(one.is_alive() for one in threads) and not any(one.error for one in threads):
        ended.wait(0.2)
        if ended.is_set():
            break
    failed = next((one.error for one in threads if one.error), None)
    if failed:
        ended.set()
    for one in threads:
        one.join()
    failed = failed or next((one.error for one in threads if one.error), None)
    if failed:
        raise failed
    return max(one.code for one in threads)


class _Thread(threading.Thread):
    """The operation of one server."""

    def __init__(
        self, server: Server, state: Path, options: Options, say: Say, ended: threading.Event
    ) -> None:
        super().__init__(name=f"operate {server.url}")
        self._server, self._folder = server, state / server.folder
        self._options, self._say, self._ended = options, say, ended
        self.error: BaseException | None = None
        self.code = 0

    def run(self) -> None:
        """Operate the server."""
        try:
            with _alone(self._folder):
                self._operate(Operator(self._server, self._folder, self._options, self._say))
        except BaseException as error:  # noqa: BLE001 - the main thread raises it
            self.error = error

    def _operate(self, operator: Operator) -> None:
        every = self._options.every / self._options.times
        looks = 0
        try:
            while not self._ended.is_set():
                self._step(operator)
                looks += 1
                if self._options.once and self._decided(operator, looks * every):
                    return
                self._ended.wait(every)
        finally:
            operator.end()

    def _step(self, operator: Operator) -> None:
        try:
            operator.step()
        except InputError:
            raise  # another program operates the server
        except EdgehoneError as error:
            # A full disk, or a registry that cannot be read: nothing is begun, and the next look tries again.
            self._say("warning", {"server": self._server.url, "text": error.message})

    def _decided(self, operator: Operator, seconds: float) -> bool:
        outcome = operator.finished
        if outcome is not None:
            self.code = CALLED if "human" in outcome else 0
            return operator.quiet or "human" in outcome or "dry run" in outcome
        return operator.quiet and seconds >= _ONCE_SECONDS / self._options.times


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the lock of a state. Raises InputError if another program has it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SetupError(
            f"the state {folder} cannot be written: {error.strerror}", hint="give another --state DIR"
        ) from error
    try:
        with file_lock(folder / "lock", wait=False):
            yield
    except BlockingIOError:
        raise InputError(
            f"another edgehone operate has the state {folder}",
            hint="end it first, or give another --state DIR",
        ) from None
