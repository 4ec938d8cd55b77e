"""Engines that die or hang, clients that leave, queues that are full, and the end of a server."""

from __future__ import annotations

import json
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest

from edgehone.bundle.schema import text_of
from tests.finished import list_again
from tests.serve.server import PATIENCE, Server, running, wait_for

# Each test starts a server of its own.
pytestmark = pytest.mark.whole


def long_request(server: Server, tokens: int = 2000) -> httpx.Response:
    return server.post("/v1/completions", {"model": "bundle", "prompt": "To the ", "max_tokens": tokens})


def test_a_killed_engine_fails_its_requests_at_once_and_is_started_again(chatty: Path) -> None:
    with running(chatty) as server, ThreadPoolExecutor(2) as pool:
        whole = pool.submit(long_request, server)
        body = {"model": "bundle", "prompt": "To the ", "max_tokens": 2000}
        stream = pool.submit(server.events, "/v1/completions", body)
        wait_for(lambda: server.metric("edgehone_first_token_seconds_count") == 2)
        server.engine().kill()
        answer = whole.result(PATIENCE)
        assert answer.status_code == 503 and "the engine ended" in answer.json()["error"]["message"]
        assert "the engine ended" in json.loads(stream.result(PATIENCE)[-1])["error"]["message"]
        assert not server.ready()
        server.wait_until(True)
        assert server.complete("To the ", max_tokens=3)["choices"][0]["text"] == "the"
        assert server.metric("edgehone_engine_restarts") == 1


def test_a_stopped_engine_is_not_ready_and_ready_when_it_goes_on(chatty: Path) -> None:
    with running(chatty) as server:
        engine = server.engine()
        engine.suspend()
        try:
            server.wait_until(False)
            assert "stopped by a signal" in server.client.get("/readyz").json()["problems"]["bundle"]
            assert long_request(server).status_code == 503
            assert server.client.get("/healthz").status_code == 200
        finally:
            engine.resume()
        server.wait_until(True)


def test_a_client_that_leaves_frees_its_place(chatty: Path) -> None:
    with running(chatty, "--parallel", "1", "--max-queue", "0") as server:
        body = {"model": "bundle", "prompt": "To the ", "max_tokens": 4000, "stream": True}
        for stream in (True, False):
            with (
                httpx.Client(base_url=server.url, timeout=5) as leaver,
                leaver.stream("POST", "/v1/completions", json={**body, "stream": stream})
                if stream
                else _abandoned(server, {**body, "stream": False}),
            ):
                wait_for(lambda: server.metric("edgehone_running_requests") == 1)
                assert long_request(server, 3).status_code == 429
            wait_for(lambda: server.metric("edgehone_running_requests") == 0, 4.0)  # 4,000 tokens take longer
            assert server.complete("To the ", max_tokens=3)["choices"]


class _abandoned:
    """A request whose client closes the connection instead of waiting."""

    def __init__(self, server: Server, body: dict[str, object]) -> None:
        host, _, port = server.url.removeprefix("http://").rpartition(":")
        self.socket = socket.create_connection((host, int(port)))
        text = json.dumps(body).encode()
        head = f"POST /v1/completions HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(text)}\r\n\r\n"
        self.socket.sendall(head.encode() + text)

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None:
        self.socket.close()


def test_requests_beyond_the_queue_are_refused_at_once(chatty: Path) -> None:
    with running(chatty, "--parallel", "2", "--max-queue", "3") as server, ThreadPoolExecutor(16) as pool:
        answers = [pool.submit(long_request, server, 400) for _ in range(5)]
        wait_for(lambda: server.metric("edgehone_waiting_requests") == 3)
        refused = long_request(server, 3)
        assert not any(answer.done() for answer in answers)  # it did not wait for its turn
        assert refused.status_code == 429 and int(refused.headers["retry-after"]) >= 1
        assert refused.json()["error"]["type"] == "rate_limit_error"
        assert [answer.result(PATIENCE).status_code for answer in answers] == [200] * 5
        assert server.metric("edgehone_waiting_requests") == server.metric("edgehone_running_requests") == 0


def test_sigterm_lets_accepted_requests_end(chatty: Path) -> None:
    with running(chatty) as server, ThreadPoolExecutor(2) as pool:
        answer = pool.submit(long_request, server, 600)
        wait_for(lambda: server.metric("edgehone_running_requests") == 1)
        code = threading.Thread(target=server.end)
        code.start()
        assert answer.result(PATIENCE).json()["usage"]["completion_tokens"] == 600
        code.join(PATIENCE)
        assert server.process.returncode == 0
        with pytest.raises(httpx.ConnectError):
            server.ready()


def test_an_engine_that_serves_something_else_never_gets_ready(chatty: Path) -> None:
    manifest = json.loads((chatty / "manifest.json").read_text())
    for canary in manifest["canaries"]:
        canary["answer"] = [(token + 1) % 256 for token in canary["answer"]]
    (chatty / "manifest.json").write_text(text_of({**manifest, "digest": ""}))
    list_again(chatty)
    with running(chatty, ready=False) as server:
        wait_for(
            lambda: "does not serve what was tested" in str(server.client.get("/readyz").json()["problems"])
        )
        problem = server.client.get("/readyz").json()["problems"]["bundle"]
        assert "48 of the 48 tokens of the canaries differ" in problem
        assert long_request(server, 3).status_code == 503


def test_keys_are_needed_and_never_told(chatty: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("# of the tests\nsecret-one\nsecret-two\n")
    keys.chmod(0o600)
    with running(chatty, "--api-key-file", str(keys)) as server:
        asked = {"model": "bundle", "prompt": "To the ", "max_tokens": 3}
        for given in (None, "Bearer", "Bearer wrong", "Bearer secret-on", "Basic secret-one", "secret-one"):
            answer = server.post("/v1/completions", asked, headers={"authorization": given} if given else {})
            assert answer.status_code == 401 and "secret" not in answer.text
        for key in ("secret-one", "secret-two"):
            assert (
                server.post("/v1/completions", asked, headers={"authorization": f"Bearer {key}"}).status_code
                == 200
            )
        assert server.client.get("/healthz").status_code == server.client.get("/readyz").status_code == 200
        assert server.client.get("/v1/models").status_code == 401
        assert "secret" not in server.client.get("/metrics").text


def test_ctrl_c_ends_the_server(chatty: Path) -> None:
    with running(chatty) as server:
        assert server.end(signal.SIGINT) == 0


def test_clients_that_leave_take_no_other_answer_with_them(chatty: Path) -> None:
    with running(chatty, "--parallel", "32") as server, ThreadPoolExecutor(24) as pool:
        body = {"model": "bundle", "prompt": "To the ", "max_tokens": 800}
        staying = [pool.submit(server.events, "/v1/completions", body) for _ in range(2)]
        wait_for(lambda: server.metric("edgehone_running_requests") == 2)

        def leave(number: int) -> None:
            client = httpx.Client(base_url=server.url, timeout=10)
            with client, client.stream("POST", "/v1/completions", json={**body, "stream": True}) as answer:
                for _ in range(1 + number % 7):
                    next(answer.iter_raw())
                    break

        for _ in range(3):
            assert [*pool.map(leave, range(20))] == [None] * 20
        assert [one.result()[-1] for one in staying] == ["[DONE]"] * 2


def test_a_prompt_that_takes_too_long_ends_no_other_prompt(chatty: Path) -> None:
    with running(chatty) as server, ThreadPoolExecutor(1) as pool:
        fine = {"model": "bundle", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 3}
        slow = {**fine, "messages": [{"role": "user", "content": "for ever"}]}
        ended = pool.submit(server.post, "/v1/chat/completions", slow)
        time.sleep(0.2)
        assert server.post("/v1/chat/completions", fine).status_code == 200  # it waits for the other
        assert (
            ended.result().status_code == 400 and "longer than" in ended.result().json()["error"]["message"]
        )


def test_a_text_process_that_ends_is_started_again(chatty: Path) -> None:
    with running(chatty) as server:
        (before,) = server.text_processes()
        before.kill()
        server.wait_until(False)
        server.wait_until(True)
        (now,) = server.text_processes()
        assert now.pid != before.pid
        assert server.complete("To the ", max_tokens=3)["choices"][0]["text"] == "the"


def test_what_a_killed_server_leaves_is_removed_by_the_next_one(chatty: Path, tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    env = {"TMPDIR": str(temporary)}
    with running(chatty, env=env) as first, running(chatty, env=env) as killed:
        its = set(temporary.iterdir())
        services = [killed.engine(), *killed.text_processes()]
        killed.process.kill()
        killed.process.wait()
        psutil.wait_procs(services, PATIENCE)
        assert its == set(temporary.iterdir())
        with running(chatty, env=env) as second:
            assert len(its & set(temporary.iterdir())) == len(its) // 2
            for server in (first, second):
                assert server.complete("To the ", max_tokens=3)["choices"][0]["text"] == "the"
    assert not list(temporary.iterdir())
