"""Requests on a fixed schedule, whatever becomes of those before, and what became of each."""

from __future__ import annotations

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType

import httpx

from tests.serve.server import Server

PROMPT = "The people of the "
LENGTHS = (1, 5, 12, 24)


@dataclass(frozen=True)
class Outcome:
    """When a request was sent and answered, its status (0: no answer), and whether a text is the expected one."""

    sent: float
    ended: float
    status: int
    right: bool


@dataclass
class OpenLoop:
    """So many requests a second, from entering the block to its end. Each has a connection of its own."""

    server: Server
    per_second: float
    outcomes: list[Outcome] = field(default_factory=list)

    def __enter__(self) -> OpenLoop:
        """Learn the right answers, and begin."""
        # One client: each would load the certificates of the system, which takes longer than an answer.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        self._client = httpx.Client(base_url=self.server.url, timeout=60, limits=limits)
        self._expected = {length: self._answered(length)[1] for length in LENGTHS}
        self._ended = threading.Event()
        self._pool = ThreadPoolExecutor(256)
        self._sending = threading.Thread(target=self._send)
        self._sending.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Send no more, and wait for what was sent."""
        self._ended.set()
        self._sending.join()
        self._pool.shutdown(wait=True)
        self._client.close()

    def _send(self) -> None:
        chance, due = random.Random(1), time.monotonic()
        while not self._ended.is_set():
            due += 1 / self.per_second
            self._pool.submit(self._ask, chance.choice(LENGTHS))
            self._ended.wait(max(0.0, due - time.monotonic()))

    def _ask(self, length: int) -> None:
        sent = time.monotonic()
        try:
            status, text = self._answered(length)
        except httpx.HTTPError:
            status, text = 0, ""
        right = status != 200 or text == self._expected[length]
        self.outcomes.append(Outcome(sent, time.monotonic(), status, right))

    def _answered(self, length: int) -> tuple[int, str]:
        body = {"model": "bundle", "prompt": PROMPT, "max_tokens": length}
        answer = self._client.post("/v1/completions", json=body)
        return answer.status_code, answer.json()["choices"][0]["text"] if answer.status_code == 200 else ""
