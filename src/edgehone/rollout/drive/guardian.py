"""A process that sends every request back to the champion if the driver of HAProxy ends without saying that it is done.

Its standard input is a pipe from the driver, which the system closes however the driver ends, kill -9 included. It then
sends HAProxy the commands of its arguments. Run by its path, with the standard library only.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

DONE = b"done\n"
_ATTEMPTS, _SECONDS = 100, 0.1


class Guardian:
    """The driver's end: a guardian that runs until `done`."""

    def __init__(self, path: Path, commands: Sequence[str]) -> None:
        # In a session of its own, so that what ends the driver's terminal does not end it.
        self._process = subprocess.Popen(
            [sys.executable, "-I", str(Path(__file__)), str(path), *commands],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    def done(self) -> None:
        """Let it end without sending anything."""
        assert self._process.stdin is not None
        self._process.stdin.write(DONE)
        self._process.stdin.close()
        self._process.wait()


def guard(path: str, commands: Sequence[str]) -> int:
    """Wait for the end of the driver. Returns 0 if it was done, or the commands were sent."""
    if sys.stdin.buffer.read() == DONE:
        return 0
    for _ in range(_ATTEMPTS):
        try:
            for command in commands:
                _send(path, command)
            return 0
        except OSError:  # HAProxy is being started again
            time.sleep(_SECONDS)
    return 1


def _send(path: str, command: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(path)
        connection.sendall(f"{command}\n".encode())
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):
            pass


if __name__ == "__main__":
    os.umask(0o077)
    sys.exit(guard(sys.argv[1], sys.argv[2:]))
