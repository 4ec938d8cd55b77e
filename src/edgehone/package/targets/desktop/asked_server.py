"""Start llama-server by the script of the package, and let it answer a prompt of ids greedily."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import time
from pathlib import Path

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
    address = scratch / "s.sock"
    log = scratch / "llama-server.log"
    environment = {**os.environ, "LLAMA_SERVER": program, "HOST": str(address)}
    with (
        log.open("wb") as output,
        subprocess.Popen(
            ["sh", str(script), "--no-webui", "--offline"],
            stdout=output,
            stderr=output,
            env=environment,
            cwd=scratch,
        ) as process,
    ):
        try:
            if not _is_ready(address, process):
                return f"llama-server did not start: {_last_line(log)}"
            body = {
                "prompt": canary[0], "n_predict": len(canary[1]), "temperature": 0, "return_tokens": True,
                "ignore_eos": False, "cache_prompt": False,
            }  # fmt: skip
            status, answer = _post(address, "/completion", body)
            return list(answer["tokens"]) if status == 200 else f"llama-server answered {status}: {answer}"
        finally:
            process.kill()
            address.unlink(missing_ok=True)


def _is_ready(address: Path, process: subprocess.Popen[bytes]) -> bool:
    end = time.monotonic() + _SECONDS
    while process.poll() is None and time.monotonic() < end:
        try:
            connection = _Connection(address)
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                return True
        except (OSError, http.client.HTTPException):
            pass  # it is not listening yet
        time.sleep(0.05)
    return False


def _post(address: Path, path: str, body: object) -> tuple[int, dict[str, list[int]]]:
    connection = _Connection(address)
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    response = connection.getresponse()
    return response.status, json.loads(response.read())


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
    return lines[-1] if lines else "it printed nothing"
