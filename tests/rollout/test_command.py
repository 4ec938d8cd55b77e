"""The command beside a real server: versions of a registry, what it prints, and a registry that is gone meanwhile."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edgehone.registry.names import Reference
from edgehone.registry.push import push
from edgehone.registry.session import Registry, find, open_registry
from edgehone.rollout.decision.plan import OPEN
from tests.registry.bundles import change_manifest
from tests.serve.rollouts import traffic, until, version
from tests.serve.server import Server, running

pytestmark = pytest.mark.whole
# With two processors and other tests, the copies of ten requests have taken more than a minute.
PATIENCE = 180.0

# As short as tests can be: copies, then half of the requests. Other tests may slow one of the engines down for
# seconds, which is not what these tests are about.
RULES = """
baseline_requests = 30
[objective.errors]
harm = 0.1
not_worse = 0.3
[objective.latency]
plus_seconds = 60
harm = 0.3
not_worse = 0.4
[objective.tail]
plus_seconds = 60
harm = 0.3
not_worse = 0.4
[leak]
window_seconds = 1000
[[strategy.ramp]]
name = "shadow"
shadow = true
requests = 10
[[strategy.ramp]]
name = "50 %"
weight = 0.5
seconds = {seconds}
"""


@dataclass
class Place:
    """A server, and a registry whose second version is another one of what it serves."""

    server: Server
    folder: Path
    registry: Registry

    def words(self, action: str, *more: str) -> list[str]:
        return [
            sys.executable, "-m", "edgehone.cli.main", "rollout", action, "--to", self.server.url,
            "--admin-key-file", str(self.folder / "operators"), *more,
        ]  # fmt: skip

    def start(self, name: str, *more: str, seconds: float = 0) -> subprocess.Popen[str]:
        rules = self.folder / "rules.toml"
        rules.write_text(RULES.format(seconds=seconds))
        words = self.words(
            "start", name, "--serves", "bundle", "--registry", str(self.folder / "registry"), "--rules", str(rules),
            *more,
        )  # fmt: skip
        return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def told(self, action: str, *more: str) -> str:
        return subprocess.run(self.words(action, *more), capture_output=True, text=True, check=True).stdout

    def production(self) -> int:
        with self.registry.database.reading() as connection:
            return find(connection, Reference("demo", alias="production")).number

    def serves(self) -> str:
        found: str = self.server.client.get(
            "/admin/bundles", headers={"authorization": "Bearer operator"}
        ).json()["bundles"][0]["path"]
        return found


@pytest.fixture
def place(chatty: Path, tmp_path: Path) -> Iterator[Place]:
    keys = tmp_path / "operators"
    keys.write_text("operator\n")
    keys.chmod(0o600)
    registry = open_registry(str(tmp_path / "registry"))
    push(registry, chatty, name="demo", by="ann")
    push(registry, _second(chatty, tmp_path / "second"), name="demo", by="ann")
    with running(chatty, "--admin-key-file", str(keys), "--state", str(tmp_path / "state")) as server:
        yield Place(server, tmp_path, registry)


def _second(bundle: Path, to: Path, **changes: Any) -> Path:
    made = version(bundle, to)
    change_manifest(made, **changes)
    return made


def ended(command: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, errors = command.communicate(timeout=180)
    return command.returncode, out, errors


def lines(text: str) -> Sequence[dict[str, Any]]:
    return [json.loads(one) for one in text.splitlines()]


def test_a_version_of_a_registry_is_promoted_and_gets_the_alias(place: Place) -> None:
    with traffic(place.server.url) as seen:
        code, out, errors = ended(place.start("demo@2", "--alias", "production", "--why", "faster", "--json"))
    assert code == 0, (out, errors)
    assert lines(out)[-1]["status"] == "promoted" and {*seen.statuses} == {200}
    assert place.production() == 2
    assert "rollouts/demo-2-" in place.serves()
    shown = place.told("history")
    assert "promoted: 50 %: shown not to be worse" in shown and "demo:2" in shown
    assert json.loads(place.told("history", "--json"))[0]["why"] == "faster"
    assert place.told("status") == "no rollout is under way\n"


def test_a_registry_that_is_gone_meanwhile_harms_nothing_and_the_command_to_type_is_said(
    place: Place,
) -> None:
    with traffic(place.server.url):
        command = place.start("demo@2", "--alias", "production", seconds=3)
        wait_for_half(place, command)
        shutil.rmtree(place.folder / "registry")
        code, out, errors = ended(command)
    assert code == 1 and until(place.server, "promoted")["status"] == "promoted", out
    assert "the alias production could not be moved" in errors
    assert "edgehone registry alias demo production 2" in errors
    assert place.server.complete("To the ", max_tokens=2)


def wait_for_half(place: Place, command: subprocess.Popen[str] | None = None) -> None:
    """Wait until the rollout is at 50 %, with some requests answered. Fails with what is known if it never is."""
    begun, last = time.monotonic(), None
    while time.monotonic() - begun < PATIENCE:
        answer = place.server.client.get("/admin/rollouts", headers={"authorization": "Bearer operator"})
        if found := answer.json()["rollouts"]:
            last = found[-1]
            assert last["status"] in OPEN, last
            if last.get("stage") == "50 %" and last["answered"]["challenger"] > 3:
                return
        assert command is None or command.poll() is None, ended(command)
        time.sleep(0.05)
    raise AssertionError(f"not at 50 % after {PATIENCE:g} s: {last}")


def test_an_operator_pauses_resumes_and_aborts_by_the_command(place: Place) -> None:
    with traffic(place.server.url):
        code, out, errors = ended(place.start("demo@2", "--detach", seconds=3600))
        assert code == 0 and "ramp to demo:2" in out, errors
        wait_for_half(place)
        assert "paused at 50 %, 50 % of the requests" in place.told("pause", "bundle")
        assert "running at 50 %" in place.told("resume", "bundle")
        shown = place.told("status")
        assert "waits for" in shown and "errors" in shown and "champion" in shown
        assert json.loads(place.told("status", "--json"))[0]["stage"] == "50 %"
        assert "aborted" in place.told("abort", "bundle")
    again = subprocess.run(place.words("abort", "bundle"), capture_output=True, text=True, check=False)
    assert again.returncode == 2 and "no rollout of 'bundle' is under way" in again.stderr


def test_what_cannot_be_rolled_out_is_refused_with_exit_code_2(place: Place, chatty: Path) -> None:
    push(place.registry, _second(chatty, place.folder / "third", approved=False), name="demo", by="ann")
    for words, said in (
        (("demo@2", "--strategy", "blue-gren"), "'blue-gren' is no strategy"),
        (("demo@3",), "demo:3 is not approved"),
        (("demo@9",), "the registry has no version demo:9"),
        (("demo@1",), "is the bundle that is served as bundle already"),
        (("demo@2", "--strategy", "ab"), "needs a header"),
        (("demo@",), "'demo@' is no NAME[@VERSION]"),
        (("bundle", "--bundle", str(place.folder)), "it has no manifest.json"),
        (("bundle@2", "--bundle", str(chatty)), "are two challengers"),
        (("demo@2", "--alias", "production", "--detach"), "--alias needs"),
    ):
        code, out, errors = ended(place.start(*words))
        assert code == 2 and said in errors and not out, (words, code, errors)
    assert place.server.complete("To the ", max_tokens=2)
    assert place.told("history") == "there were no rollouts\n"
