"""A server process as a user starts it, and what tests ask of it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from shlex import quote
from typing import Any

import httpx
import psutil

# What takes longer does not come. Tests that run beside much other work wait for minutes.
PATIENCE = 180.0


class Server:
    """A running `edgehone serve`."""

    def __init__(
        self, process: subprocess.Popen[str], url: str, trusted: ssl.SSLContext | bool = True
    ) -> None:
        self.process, self.url = process, url
        self.client = httpx.Client(base_url=url, timeout=PATIENCE, verify=trusted)

    def post(self, path: str, body: Any, **more: Any) -> httpx.Response:
        """Send a body, as JSON unless it is bytes."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.client.post(path, content=content, **more)

    def complete(self, prompt: Any, **more: Any) -> dict[str, Any]:
        """Return the answer of POST /v1/completions, which must succeed."""
        answer = self.post("/v1/completions", {"model": "bundle", "prompt": prompt, **more})
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def infer(self, body: Any, **headers: str) -> httpx.Response:
        """Ask the graph of the bundle."""
        return self.post("/v2/models/bundle/infer", body, headers=headers)

    def events(self, path: str, body: dict[str, Any]) -> list[str]:
        """Return the contents of the events of a stream."""
        with self.client.stream("POST", path, json={**body, "stream": True}) as answer:
            assert answer.status_code == 200, answer.read()
            assert answer.headers["content-type"].startswith("text/event-stream")
            return [line.removeprefix("data: ") for line in answer.iter_lines() if line]

    def ready(self) -> bool:
        """Whether the server says that it is ready."""
        return self.client.get("/readyz").status_code == 200

    def wait_until(self, ready: bool, seconds: float = PATIENCE) -> float:
        """Wait until /readyz says so, and return how many seconds it took."""
        begun = time.monotonic()
        while self.ready() is not ready:
            assert time.monotonic() - begun < seconds, f"still {'not ' if ready else ''}ready"
            time.sleep(0.02)
        return time.monotonic() - begun

    def metric(self, name: str) -> float:
        """Return the sum of a metric over its labels."""
        lines = self.client.get("/metrics").text.splitlines()
        return sum(
            float(line.rpartition(" ")[2]) for line in lines if line.startswith((f"{name}{{", f"{name} "))
        )

    def engine(self) -> psutil.Process:
        """Return the engine's process."""
        (found,) = self._running("edgehone.worker.engine:serve", "edgehone.worker.graph_service:serve")
        return found

    def text_processes(self) -> list[psutil.Process]:
        """Return the text processes."""
        return self._running("edgehone.worker.text_service:serve")

    def _running(self, *calls: str) -> list[psutil.Process]:
        children = psutil.Process(self.process.pid).children(recursive=True)
        return [child for child in children if called(child) in calls]

    def end(self, number: int = signal.SIGTERM) -> int:
        """End the server by a signal and return its exit code."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)


def wait_for(condition: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Wait until a condition holds."""
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < seconds
        time.sleep(0.01)


def called(process: psutil.Process) -> str | None:
    """Return what a service was started for; None for a program that one has started, or one that has ended."""
    try:
        folder = json.loads(process.cmdline()[-1])["args"][0]
        call: str = json.loads((Path(folder) / "job.json").read_text("utf-8"))["call"]
    except (ValueError, IndexError, OSError, psutil.NoSuchProcess):
        return None
    return call


@contextmanager
def running(
    bundle: Path,
    *words: str,
    also: Sequence[Path] = (),
    ready: bool = True,
    env: dict[str, str] | None = None,
    through: Sequence[str] = (),
    trusted: ssl.SSLContext | bool = True,
    log: Path | None = None,
    as_config: bool = False,
) -> Iterator[Server]:
    """Serve a bundle, and others with it, or with `as_config` what a file of settings names, on a free port.

    What the server started must have ended too when the block ends.
    `through` is a program that starts it, with its options; `trusted` is what the client trusts; what the server
    prints is written to `log`, as JSON if it is an event.
    """
    command = [
        *through,
        sys.executable,
        "-m",
        "edgehone.cli.main",
        "serve",
        *(["--config"] if as_config else []),
        str(bundle),
        *map(str, also),
        "--port",
        "0",
        "--json",
        *words,
    ]
    errors = log.open("a") if log else nullcontext()
    with (
        errors as stderr,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=stderr, text=True, env={**os.environ, **(env or {})}
        ) as process,
    ):
        assert process.stdout is not None
        try:
            server = Server(process, json.loads(process.stdout.readline())["url"], trusted)
            if ready:
                server.wait_until(True)
            yield server
        finally:
            started = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
            if process.poll() is None:
                process.terminate()
            process.wait(PATIENCE)
            _, left = psutil.wait_procs(started, PATIENCE)
            assert not left
            if stderr:
                stderr.write(process.stdout.read())


def read_only(*folders: Path) -> list[str]:
    """Return a program, with its options, that starts another one for which these folders are on a read-only disk.

    Returns [] where the system does not let a user have such mounts.
    """
    mounts = [
        f"mount --bind {one} {one} && mount -o remount,ro,bind {one}" for one in map(quote, map(str, folders))
    ]
    script = " && ".join([*mounts, 'exec "$@"'])
    through = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]
    possible = shutil.which("unshare") and not subprocess.run([*through, "true"], check=False).returncode
    if possible:
        assert subprocess.run([*through, "touch", folders[0] / "written"], check=False).returncode
    return through if possible else []
