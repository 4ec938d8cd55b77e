"""Rollouts between two versions of one bundle in a real server."""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from edgehone.bundle.schema import text_of
from edgehone.rollout.decision.assignment import is_challenger, position
from tests.finished import list_again
from tests.serve.rollouts import KEY, RULES, act, begin, told, traffic, until, version
from tests.serve.server import Server, called, running, wait_for

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
    [
        ({"wanders_after": 6}, "agreement"),
        ({"slows_ms": 10}, "shown to be worse"),
        ({"fails_beyond": -1}, "engine"),
    ],
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


def test_the_limits_of_times_come_from_all_answers_of_the_champion(
    server: Server, chatty: Path, tmp_path: Path
) -> None:
    """A slow challenger answers few copies, fewer than the limits need answers."""
    rules = {**RULES, "baseline_requests": 60}
    with traffic(server.url):
        assert (
            begin(server, version(chatty, tmp_path / "second", slows_ms=40), rules=rules).status_code == 200
        )
        found = until(server, "rolled back", "promoted")
    assert found["status"] == "rolled back" and found["reason"].startswith(("latency", "tail")), found
    assert found["answered"]["copies"] < 60


def test_only_copies_and_a_report(server: Server, chatty: Path, tmp_path: Path) -> None:
    with traffic(server.url) as seen:
        begin(server, version(chatty, tmp_path / "second"), "shadow")
        found = until(server, "finished", "rolled back", "aborted")
    assert found["status"] == "finished" and found["answered"]["challenger"] == 0, found
    assert {*seen.statuses} == {200} and served(server) == str(chatty)
    # Copies are no requests: the metrics have what clients asked for.
    assert server.metric("edgehone_request_seconds_count") == sum(seen.statuses.values())


def test_a_rollout_is_paused_resumed_and_aborted_in_a_stage(
    server: Server, chatty: Path, tmp_path: Path
) -> None:
    rules = {**RULES, "strategy": {"ramp": [{"name": "50 %", "weight": 0.5, "seconds": 3600}]}}
    with traffic(server.url):
        assert begin(server, version(chatty, tmp_path / "second"), rules=rules).status_code == 200
        for action, status in (("pause", "paused"), ("resume", "running")):
            assert act(server, action).json()["status"] == status
            assert act(server, action).status_code == 409
        wait_for(lambda: told(server)["answered"]["challenger"] > 3)
        assert {one["objective"] for one in told(server)["figures"]} >= {"errors", "latency", "tail"}
        found = act(server, "abort").json()
        assert found["status"] == "aborted" and found["weight"] == 0
        answered = found["answered"]["challenger"]
        time.sleep(0.5)
        assert told(server)["answered"]["challenger"] == answered
    assert act(server, "abort").status_code == 404
    assert served(server) == str(chatty)


def test_no_traffic_is_no_success(server: Server, chatty: Path, tmp_path: Path) -> None:
    rules = {**RULES, "patience_seconds": 1.5}
    assert begin(server, version(chatty, tmp_path / "second"), rules=rules).status_code == 200
    found = until(server, "not enough traffic", "promoted", "rolled back")
    assert found["status"] == "not enough traffic"
    assert "0 of 10 requests" in found["reason"] and "errors: no data" in found["reason"]
    assert served(server) == str(chatty)


def test_what_cannot_be_rolled_out_is_refused_and_the_champion_serves_on(
    server: Server, chatty: Path, tmp_path: Path
) -> None:
    good = version(chatty, tmp_path / "good")
    unapproved = version(chatty, tmp_path / "unapproved")
    manifest = json.loads((unapproved / "manifest.json").read_text())
    (unapproved / "manifest.json").write_text(text_of({**manifest, "approved": False, "digest": ""}))
    other = version(chatty, tmp_path / "other", model={"name": "another", "digest": "0" * 64})
    mute = version(chatty, tmp_path / "mute")
    (mute / "tokenizer" / "tokenizer_config.json").unlink()
    list_again(mute)
    for status, said, answer in (
        (400, "is no strategy", begin(server, good, "blue-gren")),
        (400, "no bundle is served under the name", begin(server, good, name="chat")),
        (400, "no such bundle", begin(server, tmp_path / "none")),
        (400, "is not approved", begin(server, unapproved)),
        (400, "is the bundle that is served", begin(server, chatty)),
        (400, "is built from another", begin(server, other)),
        (400, "chat template is missing", begin(server, mute)),
        (400, "there is no rule 'objective.error'", begin(server, good, rules={"objective": {"error": {}}})),
        (
            400,
            "objective.errors.share is 2",
            begin(server, good, rules={"objective": {"errors": {"share": 2}}}),
        ),
        (400, "needs a header", begin(server, good, "ab")),
        (400, "unknown field", begin(server, good, weight=5)),
    ):
        assert answer.status_code == status, answer.text
        assert said in answer.json()["error"]["message"], answer.text
    assert server.post("/admin/rollouts", {"name": "bundle", "path": "x"}).status_code == 401
    assert server.complete("To the ", max_tokens=2)
    assert server.client.get("/admin/rollouts", headers=KEY).json() == {"rollouts": []}


def test_two_rollouts_at_once_and_other_changes_are_refused(
    server: Server, chatty: Path, tmp_path: Path
) -> None:
    second, third = version(chatty, tmp_path / "second"), version(chatty, tmp_path / "third")
    assert begin(server, second).status_code == 200
    assert begin(server, third).status_code == 409
    body = {"path": str(third), "name": "bundle"}
    assert server.post("/admin/bundles", body, headers=KEY).status_code == 409
    assert server.client.delete("/admin/bundles/bundle", headers=KEY).status_code == 409
    assert act(server, "abort").status_code == 200
    wait_for(lambda: server.post("/admin/bundles", body, headers=KEY).status_code == 200)


def test_a_challenger_whose_engine_is_killed_is_rolled_back_and_no_request_fails(
    server: Server, chatty: Path, tmp_path: Path
) -> None:
    rules = {**RULES, "strategy": {"ramp": [{"name": "50 %", "weight": 0.5, "seconds": 3600}]}}
    before = server.engine().pid
    assert begin(server, version(chatty, tmp_path / "second"), rules=rules).status_code == 200
    with traffic(server.url) as seen:
        wait_for(lambda: told(server)["answered"]["challenger"] > 3)
        engines = [
            child for child in psutil.Process(server.process.pid).children(recursive=True) if is_engine(child)
        ]
        next(one for one in engines if one.pid != before).kill()
        found = until(server, "rolled back")
        statuses = sum(seen.statuses.values())
        wait_for(lambda: sum(seen.statuses.values()) > statuses + 20)
    assert "its engine does not run" in found["reason"]
    # Those that it was answering fail; later ones go to the champion.
    assert seen.statuses[503] <= 3 and {*seen.statuses} <= {200, 503}
    assert server.engine().pid == before


def test_callers_keep_their_version_by_a_header(server: Server, chatty: Path, tmp_path: Path) -> None:
    stage = {"name": "50 %", "weight": 0.5, "seconds": 3600}
    second = version(chatty, tmp_path / "second")
    answer = begin(server, second, rules={**RULES, "strategy": {"ramp": [stage]}}, sticky="X-User")
    number = answer.json()["id"]
    # The server counts an answer some time after it: the users of a version are counted together.
    users = {
        which: [user for user in range(12) if is_challenger(position(str(user), number), 0.5) is which]
        for which in (False, True)
    }
    for which, some in users.items():
        before = told(server)["answered"]
        for user in some * 3:
            body = {"model": "bundle", "prompt": "To the ", "max_tokens": 1}
            assert server.post("/v1/completions", body, headers={"x-user": str(user)}).status_code == 200
        sent = 3 * len(some)
        expected = sum(before.values()) + sent
        wait_for(lambda expected=expected: sum(told(server)["answered"].values()) == expected)  # type: ignore[misc]
        assert told(server)["answered"]["challenger"] - before["challenger"] == (sent if which else 0)


def test_an_ab_test_reports_its_effect_and_ends_with_the_champion(
    server: Server, chatty: Path, tmp_path: Path
) -> None:
    # The guardrails are wide, so that the effect is what is tested.
    rules = {
        "baseline_requests": 100_000,
        "ab": {"least_requests": 10, "most_requests": 100_000},
        "strategy": {"ab": [{"name": "A/B", "weight": 0.5}]},
    }
    with traffic(server.url, clients=8):
        answer = begin(
            server, version(chatty, tmp_path / "second", slows_ms=0.5), "ab", rules=rules, sticky="X-User"
        )
        assert answer.status_code == 200, answer.text
        found = until(server, "finished", "rolled back")
    assert found["status"] == "finished", found
    assert "the challenger is shown to be worse" in found["reason"] and "interval" in found["reason"]
    assert served(server) == str(chatty)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_rollout_goes_on_after_its_server_was_ended(
    chatty: Path, key_file: Path, tmp_path: Path, number: signal.Signals
) -> None:
    words = ("--admin-key-file", str(key_file), "--state", str(tmp_path / "state"))
    second = version(chatty, tmp_path / "second")
    stages = [
        {"name": "shadow", "shadow": True, "requests": 5},
        {"name": "50 %", "weight": 0.5, "seconds": 3600},
    ]
    with running(chatty, *words) as server:
        with traffic(server.url):
            begin(server, second, rules={**RULES, "strategy": {"ramp": stages}})
            wait_for(lambda: told(server)["stage"] == "50 %")
            time.sleep(1.2)  # the evidence of a second is on disk
        end(server, number)
    with running(chatty, *words) as server:
        found = until(server, "running")
        wait_for(lambda: "stage" in told(server))
        found = told(server)
        assert found["stage"] == "50 %" and found["interruptions"] == 1 and found["weight"] == 0.5
        # What an operator can see is what was shown before.
        assert (
            next(one for one in found["figures"] if one["objective"] == "errors")["challenger_requests"] >= 5
        )
        act(server, "abort")
        assert server.complete("To the ", max_tokens=2)


def test_the_champion_serves_if_the_challenger_is_gone_after_a_crash(
    chatty: Path, key_file: Path, tmp_path: Path
) -> None:
    words = ("--admin-key-file", str(key_file), "--state", str(tmp_path / "state"))
    second = version(chatty, tmp_path / "second")
    with running(chatty, *words) as server:
        begin(server, second)
        end(server, signal.SIGKILL)
    shutil.rmtree(second)
    with running(chatty, *words) as server:
        found = until(server, "aborted")
        assert "no such bundle" in found["reason"]
        assert served(server) == str(chatty) and server.complete("To the ", max_tokens=2)


def test_a_promoted_version_is_served_after_a_restart_with_the_old_settings(
    chatty: Path, key_file: Path, tmp_path: Path
) -> None:
    words = ("--admin-key-file", str(key_file), "--state", str(tmp_path / "state"))
    second, third = version(chatty, tmp_path / "second"), version(chatty, tmp_path / "third" / "bundle")
    with running(chatty, *words) as server:
        with traffic(server.url):
            begin(server, second, "blue-green")
            until(server, "promoted")
        end(server, signal.SIGKILL)
    with running(chatty, *words, log=tmp_path / "log") as server:
        assert served(server) == str(second)
    assert "which a rollout has put in the place of" in (tmp_path / "log").read_text()
    with running(third, *words) as server:
        assert served(server) == str(third)


def end(server: Server, number: signal.Signals) -> None:
    """End a server by a signal; its processes end with it."""
    started = psutil.Process(server.process.pid).children(recursive=True)
    server.end(number)
    psutil.wait_procs(started, 30)


def is_engine(process: psutil.Process) -> bool:
    return called(process) == "edgehone.worker.engine:serve"
