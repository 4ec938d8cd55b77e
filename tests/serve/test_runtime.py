"""Runtime settings that an operator changes: each change is proven before requests go to it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.serve.server import Server, running, wait_for
from tests.serve.test_change import KEY, key_file, served

__all__ = ["key_file"]  # a fixture
pytestmark = pytest.mark.whole


@pytest.fixture
def operated(chatty: Path, key_file: Path) -> Iterator[Server]:
    with running(chatty, "--admin-key-file", str(key_file), "--parallel", "4") as server:
        yield server


def one_engine(server: Server) -> int | None:
    """Return the id of the engine's process; None while there are two."""
    try:
        return server.engine().pid
    except ValueError:
        return None


def ask(server: Server, **fields: Any) -> Any:
    change = {**served(server)["bundle"]["change"], **fields}
    return server.post("/admin/bundles", change, headers=KEY)


def test_settings_are_changed_proven_and_changed_back(operated: Server) -> None:
    before = served(operated)["bundle"]
    assert before["accepts"]["prefix_cache"] == [True, False] and before["settings"] == {}
    first = operated.engine().pid
    answer = ask(operated, settings={"prefix_cache": False, "threads": 1}, context=64, parallel=2)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert told["settings"] == {"prefix_cache": False, "threads": 1} and told["threads"] == 1
    assert told["places"] == 2 and told["context"] == 64 and told["state"] == "ready"
    assert told["id"] != before["id"] and "all" in told["proof"]
    wait_for(
        lambda: one_engine(operated) not in (None, first)
    )  # the replaced one ends when its requests have
    assert operated.complete("To the ", max_tokens=3)["choices"][0]["text"] == "the"
    answer = operated.post("/admin/bundles", before["change"], headers=KEY)
    assert answer.status_code == 200, answer.text
    now = served(operated)["bundle"]
    assert now["change"] == before["change"] and now["settings"] == {} and now["context"] == before["context"]


def test_a_change_that_fails_leaves_the_old_engine(operated: Server) -> None:
    first = served(operated)["bundle"]
    for fields, status, words in (
        ({"settings": {"prefixcache": False}}, 400, "takes no setting 'prefixcache'"),
        ({"settings": {"prefix_cache": 3}}, 400, "prefix_cache is 3"),
        ({"settings": {"threads": 0}}, 400, "threads is 0"),
        ({"context": 1}, 400, "context is 1"),
        ({"batch": 0}, 400, "batch is 0"),
        ({"settings": {"stumble": True}}, 422, "asked to stumble"),
        ({"expected": "000000000000"}, 409, "changed by someone else"),
    ):
        answer = ask(operated, **fields)
        assert answer.status_code == status, (fields, answer.text)
        assert words in answer.json()["error"]["message"]
    now = served(operated)["bundle"]
    assert now["id"] == first["id"] and now["state"] == "ready"


def test_one_program_operates_a_server(operated: Server) -> None:
    def take(name: str, seconds: float) -> int:
        body = {"id": name, "seconds": seconds}
        return operated.post("/admin/operator", body, headers=KEY).status_code

    assert [take("a", 30), take("a", 30), take("b", 30)] == [200, 200, 409]
    assert take("a", 0) == 200 and take("b", 0.2) == 200
    assert take("", 3) == 400 and take("a", -1) == 400
    time.sleep(0.3)  # the one of b has expired
    assert take("a", 30) == 200


def test_the_same_change_starts_the_engine_anew(operated: Server) -> None:
    first, before = operated.engine().pid, served(operated)["bundle"]
    assert ask(operated, expected=before["id"]).status_code == 200
    now = served(operated)["bundle"]
    assert now["change"] == before["change"] and now["id"] != before["id"]
    wait_for(
        lambda: one_engine(operated) not in (None, first)
    )  # the replaced one ends when its requests have
