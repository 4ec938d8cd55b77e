"""Start llama-server by the script of the package, and let it answer a prompt of ids greedily."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from edgehone.core.errors import SetupError
from edgehone.execution.tied import tied_program
from edgehone.package import llama_client


def completion(
    script: Path, program: str, canary: tuple[list[int], list[int]], scratch: Path
) -> list[int] | str:
    """Return the ids that llama-server gives after the prompt of a canary, or why there are none."""
    try:
        with _running(["sh", str(script), "--no-webui", "--offline"], program, scratch) as address:
            return llama_client.completion(address, canary[0], len(canary[1]))
    except _NotStarted as reason:
        return f"llama-server did not start: {reason}"


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
            if not llama_client.is_ready(address, lambda: process.poll() is None):
                raise _NotStarted(_last_line(log))
            yield address


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
    return lines[-1] if lines else "it printed nothing"
