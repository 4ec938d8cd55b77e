"""Two versions of a bundle of the null backend, and traffic for rollouts between them."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.finished import list_again
from tests.serve.server import Server

KEY = {"authorization": "Bearer operator"}
# Stages as short as tests can be, with weights that give evidence soon.
RULES: Mapping[str, Any] = {
    "baseline_requests": 30,
    "objective": {
        # Test machines are busy: a request of a few milliseconds may take many times as long.
        "latency": {"plus_seconds": 0.1, "harm": 0.3, "not_worse": 0.4},
        "tail": {"plus_seconds": 0.1, "harm": 0.3, "not_worse": 0.4},
        "errors": {"harm": 0.1, "not_worse": 0.3},
    },
    "leak": {"window_seconds": 1000},
    "strategy": {
        "ramp": [
            {"name": "shadow", "shadow": True, "requests": 10},
            {"name": "20 %", "weight": 0.2, "requests": 5},
            {"name": "50 %", "weight": 0.5, "requests": 10},
            {"name": "100 %", "weight": 1.0, "requests": 10},
        ],
        "blue-green": [
            {"name": "shadow", "shadow": True, "requests": 10},
            {"name": "100 %", "weight": 1.0, "requests": 10},
        ],
        "shadow": [{"name": "shadow", "shadow": True, "requests": 10}],
    },
}


def version(bundle: Path, to: Path, /, model: Mapping[str, Any] | None = None, **settings: Any) -> Path:
    """Return a copy of a bundle that is another version, whose engine has these settings, such as faults."""
    shutil.copytree(bundle, to)
    path = to / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["created"] = f"2026-11-28T00:00:{len(str(to)) % 60:02d}+00:00"
    manifest["recipe"]["settings"] |= settings
    manifest["model"] |= {**(model or {})}
    path.write_text(json.dumps({**manifest, "digest": ""}))
    list_again(to)
    return to


def begin(server: Server, path: Path, strategy: str = "ramp", **more: Any) -> httpx.Response:
    body = {"name": "bundle", "path": str(path), "strategy": strategy, "rules": RULES, **more}
    return server.post("/admin/rollouts", body, headers=KEY)


def told(server: Server) -> dict[str, Any]:
    """Return the last rollout."""
    answer = server.client.get("/admin/rollouts", headers=KEY)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()["rollouts"][-1]
    return found


def act(server: Server, action: str) -> httpx.Response:
    return server.post(f"/admin/rollouts/bundle/{action}", b"", headers=KEY)


def until(server: Server, *statuses: str, seconds: float = 180.0) -> dict[str, Any]:
    """Wait until the last rollout has one of these statuses, and return it."""
    begun = time.monotonic()
    while (found := told(server))["status"] not in statuses:
        assert time.monotonic() - begun < seconds, found
        time.sleep(0.05)
    return found


class Traffic:
    """What clients got: statuses, and the first words of answers."""

    def __init__(self) -> None:
        self.statuses: Counter[int] = Counter()
        self.lost = 0


@contextmanager
def traffic(url: str, clients: int = 3, **body: Any) -> Iterator[Traffic]:
    """Let clients ask one request after another until the block ends."""
    ended, seen = threading.Event(), Traffic()

    def ask(number: int) -> None:
        with httpx.Client(base_url=url, timeout=60) as client:
            while not ended.is_set():
                asked = {"model": "bundle", "prompt": "To the ", "max_tokens": 2, **body}
                number += clients
                headers = {"x-user": str(number % 97)}
                try:
                    answer = client.post("/v1/completions", json=asked, headers=headers)
                    seen.statuses[answer.status_code] += 1
                except httpx.TransportError:
                    seen.lost += 1
                    time.sleep(0.05)
                time.sleep(0.005)

    with ThreadPoolExecutor(clients) as pool:
        asking = [pool.submit(ask, number) for number in range(clients)]
        try:
            yield seen
        finally:
            ended.set()
        for one in asking:
            one.result()
