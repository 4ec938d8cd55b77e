"""Clients in a closed loop, of sessions that serve several requests at once and of sessions that do not."""

from __future__ import annotations

import json
import sys
import threading
import time
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgehone.backends.null.clock import VirtualClock
from edgehone.backends.sessions import (
    Generation,
    WorkerJob,
)
from edgehone.core.errors import EdgehoneError
from edgehone.evaluation import speed
from edgehone.evaluation.speed import Request
from edgehone.inputs.batches import Batches
from edgehone.worker import load
from edgehone.worker.requests import open_requests

PROMPTS = [[1, 2], [3, 4], [5, 6], [7, 8], [9, 10], [11, 12]]


class Alone:
    """A session that serves one prompt at a time, in a second each by its own clock."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.asked: list[list[int]] = []
        self.closed = False

    def generate(self, ids: Sequence[int], count: int) -> Generation:
        self.asked.append(list(ids))
        started = self.clock.now()
        self.clock.sleep(1)
        return Generation(started, [0] * count, [started + 0.5 + 0.5 * i / (count - 1) for i in range(count)])

    def close(self) -> None:
        self.closed = True


class Together(Alone):
    """A session that serves all prompts of a call together, in two seconds."""

    def generate_many(self, prompts: Sequence[Sequence[int]], count: int) -> list[Generation]:
        started = self.clock.now()
        self.clock.sleep(2)
        self.asked += [list(ids) for ids in prompts]
        times = [started + 1 + i / (count - 1) for i in range(count)]
        return [Generation(started, [0] * count, times) for _ in prompts]


def test_a_client_that_is_served_one_by_one_waits_for_all_others() -> None:
    session = Alone()
    asked = load.Prompts(session, PROMPTS, 3, batch=1, clients=3)  # type: ignore[arg-type]
    assert [one["total"] for one in asked.answer()] == [1, 2, 3]
    later = asked.answer()
    assert [one["total"] for one in later] == [3, 3, 3]
    assert [one["ttft"] for one in later] == [2.5, 2.5, 2.5]
    assert session.asked == PROMPTS
    asked.close()
    assert session.closed


def test_clients_that_are_served_together_do_not_wait() -> None:
    asked = load.Prompts(Together(), PROMPTS, 3, batch=1, clients=3)  # type: ignore[arg-type]
    asked.answer()
    turn = asked.answer()
    assert turn == [{"ttft": 1.0, "total": 2.0}] * 3


def test_a_batch_is_one_request_and_waits_for_its_last_prompt() -> None:
    alone = load.Prompts(Alone(), PROMPTS, 3, batch=3, clients=1)  # type: ignore[arg-type]
    assert alone.answer() == [{"ttft": 2.5, "total": 3.0}]
    session = Together()
    many = load.Prompts(session, PROMPTS, 3, batch=3, clients=2)  # type: ignore[arg-type]
    assert many.answer() == [{"ttft": 1.0, "total": 2.0}] * 2
    assert session.asked == PROMPTS


def test_prompts_start_over_when_all_were_asked() -> None:
    session = Together()
    asked = load.Prompts(session, PROMPTS, 3, batch=1, clients=4)  # type: ignore[arg-type]
    asked.answer()
    asked.answer()
    assert session.asked == [*PROMPTS, *PROMPTS[:2]]


def test_an_answer_of_another_length_is_an_error() -> None:
    class Short(Together):
        def generate_many(self, prompts: Sequence[Sequence[int]], count: int) -> list[Generation]:
            return super().generate_many(prompts, count - 1)

    with pytest.raises(EdgehoneError, match="asked for 4 tokens, got 3"):
        load.Prompts(Short(), PROMPTS, 4, batch=1, clients=2).answer()  # type: ignore[arg-type]


def test_figures_under_load() -> None:
    """Four clients, two seconds a request of two prompts with eleven tokens each."""
    one = {"cold": False, "load": 1.0, "requests": [{"ttft": 1.0, "total": 2.0}] * 8}
    found = speed.figures([one] * 3, Request(50, 11, batch=2, clients=4))
    assert found["workload_latency_ms"].value == pytest.approx(2000)
    assert found["requests_per_s"].value == pytest.approx(4) and found["requests_per_s"].n == 3
    assert found["tokens_per_s_total"].value == pytest.approx(44)
    assert found["decode_tokens_per_s"].value == pytest.approx(10)  # what one client sees
    assert "waiting" in str(found["prefill_tokens_per_s"].reason)
    alone = speed.figures([one] * 3, Request(50, 11, batch=2))
    assert alone["prefill_tokens_per_s"].value == pytest.approx(100)
    assert alone["requests_per_s"].value == pytest.approx(1)


class Graph:
    """Counts how many runs are under way at once."""

    def __init__(self, seconds: float = 0.002) -> None:
        self.seconds, self.running, self.most = seconds, 0, 0
        self.lock = threading.Lock()

    def run(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        with self.lock:
            self.running += 1
            self.most = max(self.most, self.running)
        time.sleep(self.seconds)
        with self.lock:
            self.running -= 1
        return dict(feeds)

    def close(self) -> None:
        self.seconds = 0


BATCHES = Batches({"x": np.arange(12, dtype=np.float32).reshape(12, 1)}, None)


@pytest.mark.parametrize(("one_by_one", "most"), [(True, 1), (False, 3)])
def test_clients_of_a_graph_are_served_at_once_only_where_its_runtime_does(
    one_by_one: bool, most: int
) -> None:
    graph = Graph()
    asked = load.Samples(graph, BATCHES, 2, 3, one_by_one)
    turn = asked.answer()
    asked.close()
    assert graph.most == most and len(turn) >= 3
    waits = min(one["total"] for one in turn[1:-1])
    assert waits >= graph.seconds


def test_graphs_run_at_once_only_if_the_backend_says_so(tmp_path: Path) -> None:
    graph = Graph()
    job = WorkerJob(
        {"settings": {}, "clients": 2, "batch": 1}, {"artifact": tmp_path}, tmp_path, None, 1, lambda *_: None
    )
    plain = types.SimpleNamespace(open_graph=lambda *_: graph)
    able = types.SimpleNamespace(open_graph_many=lambda artifact, settings, job, clients: graph)
    for backend, alone in ((plain, True), (able, False)):
        asked = load.open_samples(backend, job, BATCHES)
        assert (asked.server is not None) is alone
        asked.close()


def test_each_request_to_a_vision_language_model_has_another_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = {str(at): np.full((2, 2, 3), at, np.uint8) for at in range(2)}
    with (tmp_path / "pictures.npz").open("wb") as file:
        np.savez(file, **pictures)  # type: ignore[arg-type]
    prompts = [{"before": [1], "after": [10 + at]} for at in range(2)]
    (tmp_path / "prompts.json").write_text(json.dumps(prompts))
    asked: list[tuple[int, list[int], int]] = []

    class Seeing(Alone):
        def describe(
            self, picture: Any, before: list[int], after: list[int], count: int, on_token: object
        ) -> Generation:
            asked.append((int(picture[0, 0, 0]), [*before, *after], count))
            return self.generate(after, count)

    fake = types.SimpleNamespace(open_vision=lambda *_: Seeing())
    monkeypatch.setitem(sys.modules, "fake_seeing", fake)
    args = {"backend": "fake_seeing", "settings": {}, "generated": 3}
    job = WorkerJob(args, {"artifact": tmp_path, "pictures": tmp_path}, tmp_path, None, 1, lambda *_: None)
    requests = open_requests(job)
    turns = [requests.answer() for _ in range(3)]
    assert turns == [[{"ttft": 0.5, "total": 1.0}]] * 3
    assert asked == [(0, [1, 10], 3), (1, [1, 11], 3), (0, [1, 10], 3)]
    found = speed.figures([{"cold": False, "load": 1.0, "requests": [*turns[0], *turns[1]]}], Request(0, 3))
    assert "positions that a picture takes" in str(found["prefill_tokens_per_s"].reason)
    assert found["ttft_ms"].value == pytest.approx(500)
