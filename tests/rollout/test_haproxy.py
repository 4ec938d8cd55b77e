"""Rollouts over a real HAProxy between two real servers: promotion, rollback, a driver that is killed."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edgehone.core.errors import InputError
from edgehone.rollout.drive.haproxy import Balancer, Lost, ask, balancer
from tests.rollout.haproxies import HAProxy, haproxy, needs_haproxy
from tests.serve.graphs import null_graph
from tests.serve.rollouts import traffic, version
from tests.serve.server import Server, running, wait_for

RULES = """
baseline_requests = 30
[objective.errors]
harm = 0.1
not_worse = 0.3
[objective.latency]
plus_seconds = 0.2
harm = 0.3
not_worse = 0.4
[objective.tail]
plus_seconds = 0.2
harm = 0.3
not_worse = 0.4
[objective.confidence]
harm = 0.2
not_worse = 0.4
[[strategy.ramp]]
name = "20 %"
weight = 0.2
seconds = {seconds}
requests = 5
[[strategy.ramp]]
name = "50 %"
weight = 0.5
requests = 5
[[strategy.ramp]]
name = "100 %"
weight = 1.0
requests = 5
"""


@dataclass
class Fleet:
    """Two servers, HAProxy before them, and how to drive rollouts between them."""

    blue: Server
    green: Server
    proxy: HAProxy
    folder: Path

    def words(self, action: str, *more: str) -> list[str]:
        to = f"haproxy:{self.proxy.socket}#models"
        return [
            sys.executable, "-m", "edgehone.cli.main", "rollout", action, "bundle", "--to", to, "--json",
            "--state", str(self.folder / "rollouts"), *more,
        ]  # fmt: skip

    def start(self, seconds: float = 0) -> subprocess.Popen[str]:
        rules = self.folder / "rules.toml"
        rules.write_text(RULES.format(seconds=seconds))
        words = self.words(
            "start", "--champion", f"blue={self.blue.url}", "--challenger", f"green={self.green.url}",
            "--rules", str(rules),
        )  # fmt: skip
        return _started(words)

    def history(self) -> list[dict[str, Any]]:
        done = subprocess.run(self.words("history"), capture_output=True, text=True, check=True)
        found: list[dict[str, Any]] = json.loads(done.stdout)
        return found


def _started(words: Sequence[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(driver: subprocess.Popen[str]) -> tuple[int, dict[str, Any]]:
    out, errors = driver.communicate(timeout=120)
    assert out, errors
    return driver.returncode, json.loads(out)


@pytest.fixture
def fleet(chatty: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Fleet]:
    """The challenger has the settings that a test is parametrized with."""
    second = version(chatty, tmp_path / "second" / "bundle", **getattr(request, "param", {}))
    configs = []
    for name, path in (("blue", chatty), ("green", second)):
        configs.append(tmp_path / f"{name}.toml")
        configs[-1].write_text(f'confidence_every = 1\n[bundles.bundle]\npath = "{path}"\n')
    with (
        running(configs[0], as_config=True) as blue,
        running(configs[1], as_config=True) as green,
        haproxy(tmp_path, *(one.url.removeprefix("http://") for one in (blue, green))) as proxy,
    ):
        yield Fleet(blue, green, proxy, tmp_path)


@needs_haproxy
@pytest.mark.whole
def test_a_good_version_gets_all_requests_and_none_is_lost(fleet: Fleet) -> None:
    with traffic(fleet.proxy.url) as seen:
        code, found = ended(fleet.start())
    assert (code, found["status"]) == (0, "promoted"), found
    assert fleet.proxy.weights() == (0, 200)
    assert {*seen.statuses} == {200} and not seen.lost
    assert [one["kind"] for one in found["events"]].count("stage") == 3


@needs_haproxy
@pytest.mark.whole
@pytest.mark.parametrize("fleet", [{"slows_ms": 8}], indirect=True)
def test_a_slow_version_is_rolled_back(fleet: Fleet) -> None:
    with traffic(fleet.proxy.url, clients=6) as seen:
        code, found = ended(fleet.start())
    assert (code, found["status"]) == (1, "rolled back"), found
    assert "latency" in found["reason"] or "tail" in found["reason"]
    assert fleet.proxy.weights() == (200, 0)
    assert {*seen.statuses} == {200}


@needs_haproxy
@pytest.mark.whole
def test_a_killed_driver_leaves_all_requests_to_the_champion_and_goes_on_when_resumed(fleet: Fleet) -> None:
    with traffic(fleet.proxy.url) as seen:
        driver = fleet.start(seconds=3)
        wait_for(lambda: fleet.proxy.weights()[1] > 0)
        driver.send_signal(signal.SIGKILL)
        driver.wait()
        wait_for(lambda: fleet.proxy.weights() == (200, 0))
        assert fleet.history()[0]["status"] == "running"
        # Another one of the same name is refused.
        refused = fleet.start()
        out, errors = refused.communicate(timeout=60)
        assert refused.returncode == 1 and "a rollout of bundle is under way" in out + errors
        code, found = ended(_started(fleet.words("resume")))
    assert (code, found["status"], found["interruptions"]) == (0, "promoted", 1), found
    assert {*seen.statuses} == {200} and not seen.lost


@needs_haproxy
@pytest.mark.whole
def test_a_driver_pauses_resumes_and_aborts_as_asked(fleet: Fleet) -> None:
    with traffic(fleet.proxy.url):
        driver = fleet.start(seconds=3600)
        wait_for(lambda: fleet.proxy.weights()[1] > 0)
        for action, status in (("pause", "paused"), ("resume", "running")):
            subprocess.run(fleet.words(action), check=True, capture_output=True)
            wait_for(lambda status=status: fleet.history()[0]["status"] == status, 30)  # type: ignore[misc]
        subprocess.run(fleet.words("abort"), check=True, capture_output=True)
        code, found = ended(driver)
    assert (code, found["status"]) == (1, "aborted")
    assert fleet.proxy.weights() == (200, 0)


@needs_haproxy
@pytest.mark.whole
def test_a_challenger_that_does_not_answer_any_more_is_rolled_back(fleet: Fleet) -> None:
    with traffic(fleet.proxy.url):
        driver = fleet.start(seconds=3600)
        wait_for(lambda: fleet.proxy.weights()[1] > 0)
        fleet.green.end(signal.SIGKILL)
        code, found = ended(driver)
    assert (code, found["status"]) == (1, "rolled back"), found
    assert fleet.proxy.weights() == (200, 0)


@needs_haproxy
@pytest.mark.whole
def test_a_challenger_with_another_api_is_refused(chatty: Path, tmp_path: Path) -> None:
    graph = null_graph(shutil.copytree(chatty, tmp_path / "graph" / "bundle"))
    with (
        running(chatty.rename(tmp_path / "bundle")) as blue,
        running(graph) as green,
        haproxy(tmp_path, *(one.url.removeprefix("http://") for one in (blue, green))) as proxy,
    ):
        refused = Fleet(blue, green, proxy, tmp_path).start()
        out, errors = refused.communicate(timeout=120)
        assert refused.returncode == 2, out + errors
        assert "'bundle' has another API at green (inputs [" in out + errors
        assert proxy.weights() == (200, 0)


@needs_haproxy
def test_what_haproxy_does_not_have_is_named(tmp_path: Path) -> None:
    with haproxy(tmp_path, "127.0.0.1:1", "127.0.0.1:2") as proxy:
        with pytest.raises(InputError, match="has no server 'red'; it has: blue, green"):
            Balancer(proxy.socket, "models", ["blue"], ["red"]).check()
        with pytest.raises(Lost, match="No such"):
            Balancer(proxy.socket, "other", ["blue"], ["green"]).move(0.5)
        Balancer(proxy.socket, "models", ["blue"], ["green"]).move(0.01)
        assert proxy.weights() == (198, 2)
    with pytest.raises(Lost, match="does not answer"):
        ask(proxy.socket, "show info")


@pytest.mark.parametrize(
    ("text", "champion", "challenger"),
    [("haproxy:", ["a"], ["b"]), ("haproxy:/x", ["a"], ["b"]), ("haproxy:/x#b", [], ["b"]),
     ("haproxy:/x#b", ["a"], ["a"]), ("haproxy:/x#b", ["a;disable frontend f"], ["b"])],
)  # fmt: skip
def test_other_balancers_are_refused(text: str, champion: list[str], challenger: list[str]) -> None:
    with pytest.raises(InputError):
        balancer(text, champion, challenger)


def test_weights_follow_the_share_over_several_servers() -> None:
    two = Balancer(Path("/x"), "b", ["a1", "a2"], ["b1"])
    assert two.commands(0.25) == ["set weight b/a1 75", "set weight b/a2 75", "set weight b/b1 50"]
    assert two.commands(0.0)[-1] == "set weight b/b1 0"
    # All to the challenger: it gets them before the champion loses them.
    assert two.commands(1.0) == ["set weight b/b1 200", "set weight b/a1 0", "set weight b/a2 0"]
