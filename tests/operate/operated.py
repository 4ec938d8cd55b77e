"""A served bundle under traffic, an `edgehone operate` beside it, and what tests ask of the two."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

import edgehone
from edgehone.attestation.certificate import Certificate
from edgehone.attestation.statement import certificate_statement
from edgehone.operate.journal import Event, Journal, Tried
from tests.serve.server import Server

KEY = {"authorization": "Bearer operator"}
# Windows of 300 s become windows of 5 s.
TIMES = 60.0


def certificate_of(bundle: Path, file: Path, figures: Mapping[str, float]) -> Path:
    """Write a certificate with these baselines, as certification would have measured them on this machine."""
    manifest = edgehone.read(bundle).manifest
    baselines = {name: {"value": value, "unit": "s", "n": 100} for name, value in figures.items()}
    factors = {"latency": 1.5, "memory": 1.2, "throughput": 0.7, "error_rate": 0.01, "accuracy": 0.95}
    made = Certificate(
        profile="test", approval="yes", created=manifest.created, edgehone=manifest.edgehone, conditions=(), checks=(),
        checklist=(), device=manifest.device, instruction_sets=(), artifact_key=manifest.artifact_key,
        artifact="0" * 64, decision="0" * 64,
        monitoring={"baselines": baselines, "factors": factors, "alerts": []},
    )  # fmt: skip
    file.write_text(json.dumps(certificate_statement(made, {"manifest.json": "0" * 64})))
    return file


@dataclass
class Traffic:
    """Requests on a schedule, in bursts, with the statuses and times of the answers."""

    server: Server
    body: Callable[[int], dict[str, Any]]
    per_second: float = 20.0
    statuses: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    _ended: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def flowing(self, clients: int = 4) -> Iterator[Traffic]:
        """Send until the block ends."""
        threads = [threading.Thread(target=self._send, args=(number, clients)) for number in range(clients)]
        for one in threads:
            one.start()
        try:
            yield self
        finally:
            self._ended.set()
            for one in threads:
                one.join()

    def _send(self, number: int, clients: int) -> None:
        draw = random.Random(number)
        with httpx.Client(base_url=self.server.url, timeout=60) as client:
            count = 0
            while not self._ended.is_set():
                begun = time.monotonic()
                try:
                    answer = client.post("/v1/completions", json=self.body(count))
                except httpx.TransportError:
                    self.statuses.append(0)
                else:
                    self.statuses.append(answer.status_code)
                    self.seconds.append(time.monotonic() - begun)
                count += 1
                # Poisson arrivals of each client: bursts come by themselves.
                self._ended.wait(draw.expovariate(self.per_second / clients))


@dataclass
class Run:
    """A running `edgehone operate`, and its journal."""

    process: subprocess.Popen[str]
    folder: Path
    url: str

    def read(self, what: Callable[[Journal], Any]) -> Any:
        """Ask the journal."""
        journal = Journal(self.folder, self.url)
        try:
            return what(journal)
        finally:
            journal.close()

    def events(self, kind: str | None = None) -> list[Event]:
        """Return the steps of a kind."""
        if not (self.folder / "journal.sqlite").exists():
            return []
        found: list[Event] = self.read(lambda journal: journal.events())
        return [one for one in found if kind in (None, one.kind)]

    def remedies(self) -> list[Tried]:
        """Return the remedies of all incidents."""
        found: list[Tried] = self.read(
            lambda journal: [one for incident in journal.incidents() for one in journal.tried(incident.id)]
        )
        return found

    def wait_for(
        self, kind: str, seconds: float = 60.0, where: Callable[[Event], bool] = lambda one: True
    ) -> Event:
        """Wait for a step of a kind and return it."""
        begun = time.monotonic()
        while True:
            found = [one for one in self.events(kind) if where(one)]
            if found:
                return found[0]
            assert self.process.poll() is None, f"operate ended with {self.process.returncode}"
            assert time.monotonic() - begun < seconds, "\n".join(
                f"{one.kind}: {one.says}" for one in self.events()
            )
            time.sleep(0.1)

    def wait_for_any(self, kinds: Sequence[str], seconds: float) -> Event:
        """Wait for the first step of one of some kinds."""
        begun = time.monotonic()
        while not (found := [one for one in self.events() if one.kind in kinds]):
            assert self.process.poll() is None, f"operate ended with {self.process.returncode}"
            assert time.monotonic() - begun < seconds, "\n".join(
                f"{one.kind}: {one.says}" for one in self.events()
            )
            time.sleep(0.1)
        return found[0]

    def kill(self) -> None:
        """Kill it, as kill -9 does."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)


@contextmanager
def operating(
    server: Server,
    key_file: Path,
    state: Path,
    *words: str,
    every: float = 5.0,
    times: float = TIMES,
    log: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> Iterator[Run]:
    """Operate a server until the block ends. `env` is added to the environment."""
    command = [
        sys.executable, "-m", "edgehone.cli.main", "operate", server.url, "--admin-key-file", str(key_file),
        "--state", str(state), "--json", "--faster", str(times), "--every", str(every), *words,
    ]  # fmt: skip
    with (log or state.with_suffix(".log")).open("a") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=out, text=True, env={**os.environ, **(env or {})}
        )
        folder = state / server.url.removeprefix("http://").replace(":", "_")
        try:
            yield Run(process, folder, server.url)
        finally:
            if process.poll() is None:
                process.terminate()
            process.wait(60)


def served(server: Server) -> dict[str, dict[str, Any]]:
    """Return what is served."""
    answer = server.client.get("/admin/bundles", headers=KEY)
    assert answer.status_code == 200, answer.text
    return {one["name"]: one for one in answer.json()["bundles"]}


def change(server: Server, **fields: Any) -> None:
    """Change how the bundle is served, as a person would."""
    body = {**served(server)["bundle"]["change"], **fields}
    answer = server.post("/admin/bundles", body, headers=KEY)
    assert answer.status_code == 200, answer.text
