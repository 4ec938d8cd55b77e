"""Bundles that are changed, removed and unloaded while the server runs: no request is lost."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.finished import Finished, list_again
from tests.serve.server import Server, running, wait_for
from tests.serve.test_life import long_request

pytestmark = pytest.mark.whole
KEY = {"authorization": "Bearer operator"}


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "operators"
    path.write_text("operator\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def operated(chatty: Path, key_file: Path) -> Iterator[Server]:
    """A server of one bundle that an operator may change."""
    with running(chatty, "--admin-key-file", str(key_file)) as server:
        yield server


def copied(bundle: Path, to: Path) -> Path:
    return Path(shutil.copytree(bundle, to))


def change(server: Server, path: Path, name: str | None = "bundle") -> httpx.Response:
    body = {"path": str(path), **({"name": name} if name else {})}
    return server.post("/admin/bundles", body, headers=KEY)


def served(server: Server) -> dict[str, dict[str, Any]]:
    answer = server.client.get("/admin/bundles", headers=KEY)
    assert answer.status_code == 200, answer.text
    return {one["name"]: one for one in answer.json()["bundles"]}


def test_a_swap_under_load_fails_no_request(operated: Server, chatty: Path, tmp_path: Path) -> None:
    other = copied(chatty, tmp_path / "other")
    first = operated.engine().pid
    ended, statuses = threading.Event(), []

    def ask(number: int) -> None:
        """Send requests on a schedule, whatever becomes of those before."""
        with httpx.Client(base_url=operated.url, timeout=60) as client:
            while not ended.is_set():
                body = {"model": "bundle", "prompt": "To the ", "max_tokens": 3 + 20 * (number % 3)}
                statuses.append(client.post("/v1/completions", json=body).status_code)
                time.sleep(0.02)

    with ThreadPoolExecutor(8) as pool:
        asking = [pool.submit(ask, number) for number in range(6)]
        long = pool.submit(long_request, operated, 1500)  # is in the engine that is replaced
        wait_for(lambda: len(statuses) > 50)
        for path in (other, chatty, other):
            answer = change(operated, path)
            assert answer.status_code == 200, answer.text
            assert answer.json()["path"] == str(path) and answer.json()["state"] == "ready"
        before = len(statuses)
        wait_for(lambda: len(statuses) > before + 50)
        ended.set()
        assert [one.result() for one in asking] == [None] * 6
        assert long.result().json()["usage"]["completion_tokens"] == 1500
    assert {*statuses} == {200}
    # The replaced engines end when their requests have.
    wait_for(lambda: _engines(operated) == 1)
    assert operated.engine().pid != first
    assert operated.ready()


def _engines(server: Server) -> int:
    try:
        return int(bool(server.engine()))
    except ValueError:  # more than one still runs
        return 2


def test_what_cannot_be_served_leaves_the_old_bundle(operated: Server, chatty: Path, tmp_path: Path) -> None:
    assert change(operated, tmp_path / "none").status_code == 400
    unapproved = copied(chatty, tmp_path / "unapproved")
    edit(unapproved, approved=False)
    answer = change(operated, unapproved)
    assert answer.status_code == 400 and "is not approved" in answer.json()["error"]["message"]
    # An engine that answers otherwise than the proven artifact.
    wrong = copied(chatty, tmp_path / "wrong")
    canaries = json.loads((wrong / "manifest.json").read_text())["canaries"]
    edit(
        wrong,
        canaries=[{**one, "answer": [(token + 1) % 256 for token in one["answer"]]} for one in canaries],
    )
    answer = change(operated, wrong)
    assert answer.status_code == 422 and "does not serve what was tested" in answer.json()["error"]["message"]
    for body in (
        b"{",
        {"paths": "x"},
        {"path": str(chatty), "name": "a/b"},
        {"path": str(chatty), "parallel": 0},
        {"path": str(chatty), "name": ".."},
        {"path": "a" * 5000},
    ):
        assert operated.post("/admin/bundles", body, headers=KEY).status_code == 400
    assert served(operated)["bundle"]["path"] == str(chatty)
    assert operated.complete("To the ", max_tokens=3)["choices"][0]["text"] == "the"
    wait_for(lambda: _engines(operated) == 1)


def edit(bundle: Path, **fields: object) -> None:
    path = bundle / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields, "digest": ""}))
    list_again(bundle)


def test_bundles_are_added_and_removed(operated: Server, chatty: Path, tmp_path: Path) -> None:
    other = copied(chatty, tmp_path / "other")
    assert change(operated, other, name=None).json()["name"] == "other"
    assert {one["id"] for one in operated.client.get("/v1/models").json()["data"]} == {"bundle", "other"}
    with ThreadPoolExecutor(1) as pool:
        long = pool.submit(long_request, operated, 800)
        wait_for(lambda: operated.metric("edgehone_running_requests") == 1)
        assert operated.client.delete("/admin/bundles/bundle", headers=KEY).json() == {"removed": "bundle"}
        assert long_request(operated, 3).status_code == 404
        assert long.result().json()["usage"]["completion_tokens"] == 800
    assert operated.client.delete("/admin/bundles/bundle", headers=KEY).status_code == 404
    assert [*served(operated)] == ["other"]
    body = {"model": "other", "prompt": "To the ", "max_tokens": 3}
    assert operated.post("/v1/completions", body).status_code == 200


def test_two_changes_of_one_name(operated: Server, chatty: Path, tmp_path: Path) -> None:
    paths = [copied(chatty, tmp_path / name) for name in ("one", "two")]
    with ThreadPoolExecutor(2) as pool:
        answers = [*pool.map(lambda path: change(operated, path), paths)]
    assert sorted(answer.status_code for answer in answers) in ([200, 409], [200, 200])
    assert served(operated)["bundle"]["state"] == "ready"


def test_only_operators_change_bundles(operated: Server, chatty: Path) -> None:
    for headers in ({}, {"authorization": "Bearer other"}):
        for method, path in (("GET", ""), ("POST", ""), ("DELETE", "/bundle")):
            answer = operated.client.request(method, f"/admin/bundles{path}", headers=headers)
            assert answer.status_code == 401, (method, answer.text)
    far = {**KEY, "x-forwarded-for": "203.0.113.7"}
    answer = operated.client.get("/admin/bundles", headers=far)
    assert answer.status_code == 403 and "on the machine of the server" in answer.text
    assert operated.ready()


def test_without_a_key_file_nothing_can_be_changed(server: Server) -> None:
    assert server.client.get("/admin/bundles", headers=KEY).status_code == 404
    assert server.post("/admin/bundles", {"path": "x"}, headers=KEY).status_code == 404


def test_an_idle_model_is_unloaded_and_loaded_again(chatty: Path, key_file: Path) -> None:
    with running(chatty, "--unload-after", "1", "--admin-key-file", str(key_file)) as server:
        first = server.engine().pid
        wait_for(lambda: served(server)["bundle"]["state"] == "unloaded")
        assert server.client.get("/readyz").json()["unloaded"] == ["bundle"] and server.ready()
        for path in ("/metrics", "/readyz", "/healthz", "/v1/models"):
            assert server.client.get(path).status_code == 200
        assert served(server)["bundle"]["state"] == "unloaded"  # none of these has loaded it
        with ThreadPoolExecutor(4) as pool:
            answers = [*pool.map(lambda _: long_request(server, 3).status_code, range(4))]
        assert answers == [200] * 4
        assert server.engine().pid != first
        # A model with requests is not idle.
        assert long_request(server, 1500).json()["usage"]["completion_tokens"] == 1500
        assert server.metric("edgehone_engine_loads") == 1
        kept = {**served(server)["bundle"]["change"], "keep": True}
        assert server.post("/admin/bundles", kept, headers=KEY).json()["change"] == kept
        time.sleep(2.2)  # it would be unloaded after 2 s at most
        assert served(server)["bundle"]["state"] == "ready"


def test_a_request_ends_at_its_deadline(chatty: Path) -> None:
    with (
        running(chatty, "--request-seconds", "1", "--parallel", "1") as server,
        ThreadPoolExecutor(2) as pool,
    ):
        body = {"model": "bundle", "prompt": "To the ", "max_tokens": 20_000}
        stream = pool.submit(server.events, "/v1/completions", body)
        wait_for(lambda: server.metric("edgehone_running_requests") == 1)
        waiting = long_request(server, 20_000)
        assert waiting.status_code == 504 and "longest time" in waiting.json()["error"]["message"]
        assert "longest time" in json.loads(stream.result()[-1])["error"]["message"]
        assert server.complete("To the ", max_tokens=3)["choices"]


def test_a_server_from_a_file_of_settings(finished: Finished, tmp_path: Path) -> None:
    bundles = tmp_path / "bundles"
    copied(finished.bundle, bundles / "v2")
    file = tmp_path / "serve.toml"
    file.write_text('parallel = 2\nmax_queue = 1\n[bundles.chat]\npath = "bundles/v2"\nparallel = 1\n')
    with running(file, as_config=True) as server, ThreadPoolExecutor(4) as pool:
        body = {"model": "chat", "prompt": "To the ", "max_tokens": 400}
        answers = pool.map(lambda _: server.post("/v1/completions", body).status_code, range(4))
        # One is answered, one waits.
        assert sorted(answers) == [200, 200, 429, 429]
