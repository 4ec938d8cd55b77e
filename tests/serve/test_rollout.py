"""Rollouts between two versions of one bundle in a real server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.serve.rollouts import KEY, RULES, begin, traffic, until, version
from tests.serve.server import Server, running, wait_for

pytestmark = pytest.mark.whole


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "operators"
    path.write_text("operator\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def server(chatty: Path, key_file: Path, tmp_path: Path) -> Iterator[Server]:
    with running(
        chatty, "--admin-key-file", str(key_file), "--state", str(tmp_path / "state"), log=tmp_path / "log"
    ) as server:
        yield server


def served(server: Server) -> str:
    found: str = server.client.get("/admin/bundles", headers=KEY).json()["bundles"][0]["path"]
    return found


@pytest.mark.parametrize("strategy", ["ramp", "blue-green"])
def test_a_good_version_is_promoted_and_no_request_is_lost(
    server: Server, chatty: Path, tmp_path: Path, strategy: str
) -> None:
    second = version(chatty, tmp_path / "second")
    with traffic(server.url) as seen:
        answer = begin(server, second, strategy)
        assert answer.status_code == 200, answer.text
        found = until(server, "promoted", "rolled back", "aborted")
        assert found["status"] == "promoted", found
    assert {*seen.statuses} == {200} and not seen.lost
    assert served(server) == str(second)
    assert found["answered"]["copies"] >= 10 and found["answered"]["challenger"] >= 10
    stages = [one["says"] for one in found["events"] if one["kind"] == "stage"]
    assert [one.partition(":")[0] for one in stages] == [one["name"] for one in RULES["strategy"][strategy]]
    wait_for(lambda: server.engine() is not None)  # one engine is left


@pytest.mark.parametrize(
    ("faults", "reason"),
    [({"wanders_after": 6}, "agreement"), ({"pace": 0.3}, "latency"), ({"fails_beyond": -1}, "engine")],
)
def test_a_bad_version_is_rolled_back_before_it_answers(
    server: Server, chatty: Path, tmp_path: Path, faults: dict[str, Any], reason: str
) -> None:
    with traffic(server.url) as seen:
        answer = begin(server, version(chatty, tmp_path / "second", **faults))
        if answer.status_code == 200:
            found = until(server, "rolled back", "promoted")
            assert found["status"] == "rolled back" and reason in found["reason"], found
            assert found["answered"]["challenger"] == 0
        else:  # it does not answer its canaries
            assert answer.status_code == 422, answer.text
    assert {*seen.statuses} == {200}
    assert served(server) == str(chatty)
