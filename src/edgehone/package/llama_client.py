"""Ask a llama-server that listens on a Unix socket."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

SECONDS = 300.0


class _Connection(http.client.HTTPConnection):
    """A connection to a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=SECONDS)
        self._path = str(path)

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(SECONDS)
        self.sock.connect(self._path)


def is_ready(address: Path, lives: Callable[[], bool]) -> bool:
    """Wait until the server has loaded the model. Returns False if it does not live any more, or after 300 s."""
    end = time.monotonic() + SECONDS
    while lives() and time.monotonic() < end:
        try:
            connection = _Connection(address)
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                return True
        except (OSError, http.client.HTTPException):
            pass  # it is not listening yet
        time.sleep(0.01)
    return False


def completion(address: Path, prompt: Sequence[int], count: int) -> list[int] | str:
    """Return the ids that the server gives after a prompt of ids, greedily, or why there are none."""
    body = {
        "prompt": list(prompt), "n_predict": count, "temperature": 0, "return_tokens": True, "cache_prompt": False,
    }  # fmt: skip
    try:
        status, answer = _post(address, "/completion", body)
    except (OSError, http.client.HTTPException, ValueError) as error:
        return f"llama-server did not answer: {error or type(error).__name__}"
    return list(answer["tokens"]) if status == 200 else f"llama-server answered {status}: {answer}"


def _post(address: Path, path: str, body: object) -> tuple[int, dict[str, Any]]:
    connection = _Connection(address)
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    response = connection.getresponse()
    return response.status, json.loads(response.read())
