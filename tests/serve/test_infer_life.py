"""Batches, engines of graphs that die or serve something else, queues that are full, and the end of a server."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.serve.graphs import asked, expected, null_graph
from tests.serve.server import PATIENCE, Server, running, wait_for
from tests.serve.test_infer import ROWS, outputs

# Each test starts a server of its own.
pytestmark = [pytest.mark.whole, pytest.mark.usefixtures("finished")]


def right(server: Server, row: int) -> None:
    rows = ROWS[row % 5 :][:2]
    np.testing.assert_allclose(outputs(server.infer(asked(rows)))["scores"], expected(rows), 1e-5)


@pytest.mark.parametrize("clients", [1, 2])
def test_requests_that_come_together_are_answered_in_one_batch(spoiled: Path, clients: int) -> None:
    with running(null_graph(spoiled, clients, seconds=0.05)) as server, ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda at: right(server, at), range(24)))
        asked_for, batched = (server.metric(f"edgehone_batch_requests_{part}") for part in ("count", "sum"))
        assert asked_for == 24 and batched > 1.5 * 24
        # A request of its own that cannot be answered spoils no other's.
        bad = pool.submit(server.infer, asked([[667, 0, 0, 0]]))
        list(pool.map(lambda at: right(server, at), range(8)))
        assert bad.result().status_code == 503


def test_a_delay_lets_requests_wait_for_others(spoiled: Path) -> None:
    words = ("--batch-delay", "1000", "--max-batch", "4")
    with running(null_graph(spoiled), *words) as server, ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda at: right(server, at), range(2)))  # two samples each: full before the delay
        assert server.metric("edgehone_batch_requests_sum") == 4
        assert server.metric("edgehone_request_seconds_sum") < 2.0
        before = server.metric("edgehone_request_seconds_sum")
        right(server, 0)
        assert server.metric("edgehone_request_seconds_sum") > before + 0.9


def test_samples_that_depend_on_their_batch_are_not_joined(spoiled: Path) -> None:
    with running(null_graph(spoiled, depends=True, seconds=0.02), ready=False) as server:
        # Its canaries were answered without that fault, so it never gets ready.
        wait_for(lambda: "does not serve what was tested" in str(server.client.get("/readyz").json()))
        told = server.client.get("/readyz").json()["problems"]["bundle"]
        assert "requests are not batched: a sample's outputs depend on the others of its batch" in told


def test_an_engine_that_serves_something_else_never_gets_ready(spoiled: Path) -> None:
    with running(null_graph(spoiled, shift=0.5), ready=False) as server:
        wait_for(lambda: "does not serve what was tested" in str(server.client.get("/readyz").json()))
        told = server.client.get("/readyz").json()["problems"]["bundle"]
        assert "the output 'scores' of the canaries differs by up to" in told and "allowed: 0.001" in told
        assert server.client.get("/v2/health/ready").status_code == 503
        assert server.client.get("/v2/models/bundle/ready").json() == {"name": "bundle", "ready": False}
        answer = server.infer(asked(ROWS))
        assert answer.status_code == 503 and "does not serve what was tested" in answer.json()["error"]


def test_an_engine_that_begins_to_answer_wrongly_is_started_again(spoiled: Path) -> None:
    # Its canaries take eight runs: five to find out whether samples may be joined, and three as requests.
    with running(null_graph(spoiled, shift=0.5, right_runs=10)) as server:
        for _ in range(3):
            assert server.infer(asked(ROWS)).status_code == 200
        wait_for(lambda: server.metric("edgehone_engine_restarts") >= 1)
        server.wait_until(True)
        right(server, 0)


def test_an_engine_that_dies_or_is_killed_comes_back(spoiled: Path) -> None:
    slow = asked([[669, 0, 0, 0]])  # it takes 1.5 s: long enough to be killed with it
    with running(null_graph(spoiled)) as server, ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(server.infer, slow) for _ in range(3)]
        wait_for(lambda: server.metric("edgehone_running_requests") == 3)
        server.engine().kill()
        assert {one.result(PATIENCE).status_code for one in waiting} <= {200, 503}
        assert 503 in {one.result().status_code for one in waiting}
        server.wait_until(False)
        server.wait_until(True)
        right(server, 0)
        crashed = server.infer(asked([[666, 0, 0, 0]]))
        assert crashed.status_code == 503 and "the engine ended" in crashed.json()["error"]
        server.wait_until(True)
        right(server, 1)
        assert server.metric("edgehone_engine_restarts") == 2


def test_places_queue_and_clients_that_leave(spoiled: Path, tmp_path: Path) -> None:
    words = ("--parallel", "1", "--max-batch", "1", "--max-queue", "1")
    slow, log = asked([[669, 0, 0, 0]]), tmp_path / "log"
    with running(null_graph(spoiled), *words, log=log) as server, ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(server.infer, slow) for _ in range(3)]  # two places, one waits
        wait_for(lambda: server.metric("edgehone_waiting_requests") == 1)
        refused = server.infer(slow)
        assert refused.status_code == 429 and int(refused.headers["retry-after"]) >= 1
        assert "waiting" in refused.json()["error"]
        assert [one.result(PATIENCE).status_code for one in answers] == [200] * 3
        with httpx.Client(base_url=server.url, timeout=0.1) as leaver, pytest.raises(httpx.ReadTimeout):
            leaver.post("/v2/models/bundle/infer", json=slow)
        wait_for(lambda: server.metric("edgehone_running_requests") == 0)
        right(server, 0)
    assert "equal; requests are not batched: a batch has one sample at most" in log.read_text()


def test_requests_have_a_deadline(spoiled: Path) -> None:
    with running(null_graph(spoiled), "--request-seconds", "1") as server, ThreadPoolExecutor(2) as pool:
        slow = asked([[669, 0, 0, 0]])
        begun, first = time.monotonic(), pool.submit(server.infer, slow)
        time.sleep(0.2)
        second = pool.submit(server.infer, slow)  # another deadline
        for late, earliest in ((first, 1.0), (second, 1.2)):
            answer = late.result()
            assert answer.status_code == 504 and "longest time" in answer.json()["error"]
            assert earliest <= time.monotonic() - begun < 30
        assert server.metric("edgehone_running_requests") == 0
        wait_for(lambda: server.infer(asked(ROWS)).status_code == 200)  # the engine is busy for a while


def test_sigterm_lets_accepted_requests_end(spoiled: Path) -> None:
    with running(null_graph(spoiled)) as server, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(server.infer, asked([[669, 0, 0, 0]]))  # it takes 1.5 s
        wait_for(lambda: server.metric("edgehone_running_requests") == 1)
        code = threading.Thread(target=server.end)
        code.start()
        assert outputs(answer.result(PATIENCE))["class"].shape == (1,)
        code.join(PATIENCE)
        assert server.process.returncode == 0


def test_keys_are_needed(spoiled: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("secret\n")
    keys.chmod(0o600)
    with running(null_graph(spoiled), "--api-key-file", str(keys)) as server:
        for path in ("/v2", "/v2/models/bundle", "/v2/models/bundle/ready"):
            answer = server.client.get(path)
            assert answer.status_code == 401 and "error" in answer.json()
        assert server.infer(asked(ROWS)).status_code == 401
        assert server.infer(asked(ROWS), authorization="Bearer secret").status_code == 200
        assert server.client.get("/v2/health/ready").status_code == 200
