"""Engines that are killed and servers that are ended at random moments under load: nothing hangs, nothing is wrong."""

from __future__ import annotations

import json
import random
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
import pytest

from tests.serve.server import PATIENCE, Server, running

pytestmark = pytest.mark.whole
LENGTHS = (1, 5, 20, 60)


@dataclass
class Load:
    """Clients that send requests one after the other, and what became of these."""

    url: str
    expected: dict[int, str]
    outcomes: list[tuple[float, float, int]] = field(default_factory=list)  # begun, ended, status
    wrong: list[str] = field(default_factory=list)
    unanswered: list[float] = field(
        default_factory=list
    )  # when those were sent that got no byte of an answer
    ended: threading.Event = field(default_factory=threading.Event)

    def run(self, number: int) -> None:
        """Send requests until the load is ended or the server has gone."""
        chance = random.Random(number)
        while not self.ended.is_set():
            length = chance.choice(LENGTHS)
            with httpx.Client(base_url=self.url, timeout=30) as client:  # a connection of its own
                begun = time.monotonic()
                try:
                    status, text = self._ask(client, length, stream=chance.random() < 0.5)
                except httpx.ConnectError:
                    return
                except httpx.HTTPError:
                    self.unanswered.append(begun)
                    continue
            self.outcomes.append((begun, time.monotonic(), status))
            if status == 200 and text != self.expected[length]:
                self.wrong.append(text)
            time.sleep(0.01)

    def _ask(self, client: httpx.Client, length: int, *, stream: bool) -> tuple[int, str]:
        """Return the status and the text. An error event in a stream counts as status 503, a cut stream as 599."""
        body = {"model": "bundle", "prompt": "To the ", "max_tokens": length, "stream": stream}
        answer = client.post("/v1/completions", json=body)
        if answer.status_code != 200:
            return answer.status_code, ""
        if not stream:
            return 200, answer.json()["choices"][0]["text"]
        events = [line.removeprefix("data: ") for line in answer.text.splitlines() if line]
        if events[-1] != "[DONE]":
            return 503 if '"error"' in events[-1] else 599, ""
        return 200, "".join(json.loads(one)["choices"][0]["text"] for one in events[:-1])


def loaded(server: Server) -> Load:
    expected = {
        length: server.complete("To the ", max_tokens=length)["choices"][0]["text"] for length in LENGTHS
    }
    return Load(server.url, expected)


def kill_under_load(server: Server, times: int) -> None:
    chance = random.Random(1)
    load = loaded(server)
    with ThreadPoolExecutor(6) as pool:
        clients = [pool.submit(load.run, number) for number in range(6)]
        for _ in range(times):
            time.sleep(chance.uniform(0.1, 0.5))
            killed = time.monotonic()
            server.engine().kill()
            server.wait_until(False)
            server.wait_until(True)
        time.sleep(0.2)
        load.ended.set()
        assert [client.result() for client in clients] == [None] * 6
    assert not load.wrong and not load.unanswered
    assert {status for _, _, status in load.outcomes} <= {200, 503}
    last = [status for begun, _, status in load.outcomes if begun > killed]
    assert 200 in last


def test_an_engine_killed_under_load(chatty: Path) -> None:
    with running(chatty) as server:
        kill_under_load(server, 4)


@pytest.mark.long
def test_an_engine_killed_50_times_under_load(chatty: Path) -> None:
    with running(chatty) as server:
        kill_under_load(server, 50)


def end_under_load(server: Server, chance: random.Random) -> None:
    load = loaded(server)
    with ThreadPoolExecutor(6) as pool:
        clients = [pool.submit(load.run, number) for number in range(6)]
        time.sleep(chance.uniform(0.05, 0.8))
        told = time.monotonic()
        assert server.end(signal.SIGTERM) == 0
        load.ended.set()
        assert [client.result() for client in clients] == [None] * 6
    assert not load.wrong
    # Every request that was received is answered, and as a whole.
    assert {status for _, _, status in load.outcomes} <= {200, 503}
    assert all(begun > told - 0.05 for begun, _, status in load.outcomes if status == 503)
    # The others were on their way while the socket was closed.
    assert all(sent > told - 0.05 for sent in load.unanswered), [sent - told for sent in load.unanswered]


def test_a_server_ended_under_load(chatty: Path) -> None:
    for seed in range(2):
        with running(chatty) as server:
            end_under_load(server, random.Random(seed))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("clients", [0, 6])
def test_a_second_signal_ends_the_server_with_its_engines(
    chatty: Path, tmp_path: Path, number: int, clients: int
) -> None:
    log = tmp_path / "log"
    with running(chatty, log=log) as server:
        load, started = loaded(server), [server.engine(), *server.text_processes()]
        with ThreadPoolExecutor(max(1, clients)) as pool:
            for each in range(clients):
                pool.submit(load.run, each)
            time.sleep(0.2)
            server.process.send_signal(number)
            time.sleep(0.02)  # two signals at the same time can become one
            assert server.end(number) == 0
            load.ended.set()
        assert not psutil.wait_procs(started, PATIENCE)[1]
    assert not load.wrong
    assert "Traceback" not in log.read_text("utf-8")


@pytest.mark.long
def test_a_server_ended_at_20_random_moments(chatty: Path) -> None:
    for seed in range(20):
        with running(chatty) as server:
            end_under_load(server, random.Random(seed))
