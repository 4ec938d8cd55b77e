"""Start llama-server by the script of the package, and let it answer a prompt of ids greedily."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from edgehone.core.errors import SetupError
from edgehone.execution.tied import tied_program

_SECONDS = 300.0


class _Connection(http.client.HTTPConnection):
    """A connection to a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_SECONDS)
        self._path = str(path)

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(_SECONDS)
        self.sock.connect(self._path)


def completion(
    script: Path, program: str, canary: tuple[list[int], list[int]], scratch: Path
) -> list[int] | str:
    """Return the ids that llama-server gives after the prompt of a canary, or why there are none."""
    body = {
        "prompt": canary[0], "n_predict": len(canary[1]), "temperature": 0, "return_tokens": True,
        "cache_prompt": False,
    }  # fmt: skip
    try:
        with _running(["sh", str(script), "--no-webui", "--offline"], program, scratch) as address:
            status, answer = _post(address, "/completion", body)
    except _NotStarted as reason:
        return f"llama-server did not start: {reason}"
    return list(answer["tokens"]) if status == 200 else f"llama-server answered {status}: {answer}"


def seconds_until_ready(words: Sequence[str], program: str, scratch: Path) -> float:
    """Return how long a command that starts llama-server takes until it is ready. Raises SetupError if it ends."""
    begun = time.perf_counter()
    try:
        with _running(words, program, scratch):
            return time.perf_counter() - begun
    except _NotStarted as reason:
        raise SetupError(f"llama-server did not start: {reason}", hint=" ".join(words)) from reason


class _NotStarted(Exception):
    """The server ended, or did not become ready in time; the message is the last line of its log."""


@contextmanager
def _running(words: Sequence[str], program: str, scratch: Path) -> Iterator[Path]:
    """Run a llama-server that listens on a Unix socket, and yield the socket when it is ready."""
    log = scratch / "llama-server.log"
    with tempfile.TemporaryDirectory() as place, log.open("wb") as output:
        address = Path(place) / "s.sock"  # the path of a socket may have 107 bytes
        environment = {**os.environ, "LLAMA_SERVER": program, "HOST": str(address)}
        with tied_program(words, stdout=output, stderr=output, env=environment, cwd=scratch) as process:
            if not _is_ready(address, process):
                raise _NotStarted(_last_line(log))
            yield address


def _is_ready(address: Path, process: subprocess.Popen[str]) -> bool:
    end = time.monotonic() + _SECONDS
    while process.poll() is None and time.monotonic() < end:
        try:
            connection = _Connection(address)
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                return True
        except (OSError, http.client.HTTPException):
            pass  # it is not listening yet
        time.sleep(0.01)
    return False


def _post(address: Path, path: str, body: object) -> tuple[int, dict[str, list[int]]]:
    connection = _Connection(address)
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    response = connection.getresponse()
    return response.status, json.loads(response.read())


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
    return lines[-1] if lines else "it printed nothing"
