"""Real Prometheus and Alertmanager, on free ports, and a receiver of what Alertmanager sends."""

from __future__ import annotations

import http.server
import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.monitor.certified import program
from tests.ports import free_port

PATIENCE = 180.0


class Prometheus:
    """The HTTP API of a running Prometheus."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._client = httpx.Client(base_url=url, timeout=PATIENCE)

    def query(self, query: str) -> list[dict[str, Any]]:
        """Return the vector that a query gives now."""
        answer = self._client.get("/api/v1/query", params={"query": query})
        assert answer.status_code == 200, (query, answer.text)
        found: list[dict[str, Any]] = answer.json()["data"]["result"]
        return found

    def firing(self) -> set[str]:
        """Return the names of the alerts that fire."""
        told = self._client.get("/api/v1/alerts").json()["data"]["alerts"]
        return {one["labels"]["alertname"] for one in told if one["state"] == "firing"}

    def wait_for(self, name: str) -> None:
        """Wait until an alert fires."""
        self.wait_until(lambda: name in self.firing())

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition holds."""
        begun = time.monotonic()
        while not condition():
            assert time.monotonic() - begun < PATIENCE, f"firing: {self.firing()}"
            time.sleep(0.2)


@contextmanager
def prometheus(configuration: Path, data: Path) -> Iterator[Prometheus]:
    """Run Prometheus with a configuration file."""
    port = free_port()
    command = [
        program("prometheus", "prometheus"),
        f"--config.file={configuration}",
        f"--storage.tsdb.path={data}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with _running(command, f"http://127.0.0.1:{port}", data.with_suffix(".log")) as url:
        found = Prometheus(url)
        found.wait_until(lambda: bool(found.query("up")))  # targets are known some seconds after the start
        yield found


@contextmanager
def alertmanager(configuration: Path, data: Path) -> Iterator[str]:
    """Run Alertmanager with a configuration file; gives its HOST:PORT."""
    port = free_port()
    command = [
        program("prometheus-alertmanager", "prometheus-alertmanager"),
        f"--config.file={configuration}",
        f"--storage.path={data}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    ]
    with _running(command, f"http://127.0.0.1:{port}", data.with_suffix(".log")):
        yield f"127.0.0.1:{port}"


@contextmanager
def _running(command: Sequence[str], url: str, log: Path) -> Iterator[str]:
    with log.open("w") as said, subprocess.Popen(command, stdout=said, stderr=said) as process:
        try:
            _wait_ready(url, process, log)
            yield url
        finally:
            process.terminate()
            process.wait(PATIENCE)


def _wait_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    begun = time.monotonic()
    while True:
        assert process.poll() is None, log.read_text()
        try:
            if httpx.get(f"{url}/-/ready").status_code == 200:
                return
        except httpx.TransportError:
            pass
        assert time.monotonic() - begun < PATIENCE, log.read_text()
        time.sleep(0.05)


class Received:
    """What a webhook was sent."""

    def __init__(self) -> None:
        self.bodies: list[tuple[str, dict[str, Any]]] = []

    def alerts(self, status: str) -> dict[str, Mapping[str, Any]]:
        """Return the alerts with that status by name, as they came last."""
        told = [one for _, body in self.bodies for one in body["alerts"] if one["status"] == status]
        return {one["labels"]["alertname"]: one for one in told}

    def wait_for(self, name: str, status: str = "firing") -> Mapping[str, Any]:
        """Wait until an alert comes with that status."""
        begun = time.monotonic()
        while name not in (found := self.alerts(status)):
            assert time.monotonic() - begun < PATIENCE, f"{name} did not come as {status}: {self.bodies}"
            time.sleep(0.1)
        return found[name]


@contextmanager
def webhook() -> Iterator[tuple[str, Received]]:
    """Receive what is posted; gives the address."""
    received = Received()

    class Receiver(_Quiet):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            received.bodies.append((self.path, json.loads(body)))
            self.send_response(200)
            self.end_headers()

    with _listening(Receiver) as url:
        yield url, received


@contextmanager
def exposed(text: Callable[[], str | None]) -> Iterator[str]:
    """Serve texts at /metrics, status 500 for None; gives HOST:PORT."""

    class Exposed(_Quiet):
        def do_GET(self) -> None:
            content = text()
            self.send_response(500 if content is None else 200)
            self.send_header("content-type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write((content or "").encode())

    with _listening(Exposed) as url:
        yield url.removeprefix("http://")


class _Quiet(http.server.BaseHTTPRequestHandler):
    def log_message(self, *words: Any) -> None:
        """Say nothing."""


@contextmanager
def _listening(handler: type[_Quiet]) -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
