"""What keeps one good server running: falling back, little memory, no network; and whose reports count."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from edgehone.cli.main import main
from edgehone.device.detect import detect
from edgehone.device.network import Network
from edgehone.fleet.channel import channel_address
from edgehone.fleet.connection import why_metered, why_offline
from edgehone.fleet.devices import read_devices
from edgehone.fleet.install import make_folders
from edgehone.fleet.keeper import Keeper
from edgehone.fleet.publish import view
from edgehone.fleet.report import Outcome
from edgehone.fleet.reporting import Reporter
from edgehone.fleet.rules import judge_rules
from edgehone.fleet.serving import is_alive
from edgehone.fleet.settings import AgentSettings, read_settings
from edgehone.fleet.state import State, Store
from tests.attestation.signed import make_key, public
from tests.fleet.fleets import PATIENCE, Agent, Fleet, answer, running
from tests.fleet.test_killed import look, settle
from tests.registry.bundles import weights

pytestmark = pytest.mark.xdist_group("oci")
SIZE = 200_000


def installed(fleet: Fleet, *bundles: Path) -> AgentSettings:
    """Return the settings of a device on which each of these bundles was the good one, the last one now."""
    settings = read_settings(fleet.device("d1"))
    for bundle in bundles:
        fleet.publish(bundle)
        assert look(settings).kind == "ready"
        settle(settings)
    return settings


@pytest.mark.whole
def test_a_device_falls_back_when_its_active_slot_starts_no_more(fleet: Fleet) -> None:
    settings = installed(fleet, *(fleet.bundle(weights(number, SIZE)) for number in (1, 2)))
    active = Store(settings.folder, settings.channel).state.active
    damaged = next(
        path for path in (settings.folder / "slots" / str(active) / "artifact").rglob("*") if path.is_file()
    )
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")  # a worn flash cell
    with running(settings.folder.parent / "agent.toml") as agent:
        agent.wait(Agent.answers)
        assert "falls back to slot" in agent.log and agent.running == 1
        assert [(one.release, one.result) for one in agent.state.outcomes][-1] == (2, "failed")
        agent.wait(lambda one: "is not tried again" in one.log)  # although the channel names it
        assert agent.state.active != active and answer(agent.settings) is not None
    assert Store(settings.folder, settings.channel).state.running == agent.state.running


def until(keeper: Keeper, condition: Callable[[], bool]) -> None:
    """Let a keeper work until a condition holds."""
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < PATIENCE
        keeper.tick()
        time.sleep(0.05)


@pytest.mark.whole
@pytest.mark.parametrize("good", [True, False])
def test_without_memory_for_two_servers_the_old_one_ends_first(
    fleet: Fleet, good: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bad release is found all the same: then the old server is started again."""
    settings = installed(fleet, fleet.bundle(weights(1, SIZE)))
    store = Store(settings.folder, settings.channel)
    said: list[str] = []
    keeper = Keeper(settings, make_folders(settings.folder), store, said.append)
    try:
        until(keeper, lambda: keeper.serves)
        old, proven = keeper.server, answer(settings)
        assert old is not None and proven is not None
        fleet.publish(fleet.bundle(weights(2, SIZE)) if good else fleet.bad_bundle(weights(2, SIZE)))
        assert look(settings).kind == "ready"
        store = Store(settings.folder, settings.channel)
        keeper._store = store  # the look in this test is another program's
        here = replace(detect(), memory_available_bytes=1_000_000)
        monkeypatch.setattr("edgehone.fleet.keeper.detect", lambda: here)
        assert keeper.try_it()
        assert "there is no memory for two servers: the old one ends first" in said and not is_alive(old)

        def ended() -> bool:
            running = store.state.running
            return not keeper.busy and (
                running is not None and running.number == 2 if good else keeper.serves
            )

        until(keeper, ended)
        assert answer(settings) == proven
        assert [one.result for one in store.state.outcomes][-1] == ("good" if good else "failed")
    finally:
        keeper.end()


def test_a_device_without_a_default_route_does_not_ask(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    far = channel_address("oci://registry.example/models/demo:stable")
    near = channel_address("oci://127.0.0.1:5000/models/demo:stable")
    assert "no network interface" in (why_offline(Network(False, None), far) or "")
    assert why_offline(Network(False, None), near) is None  # a registry of this machine needs no network
    assert why_offline(Network(None, None), far) is None and why_offline(Network(True, None), far) is None
    settings = replace(read_settings(fleet.device("d1")), address=far)
    monkeypatch.setattr("edgehone.fleet.look.network_here", lambda: Network(False, None))
    monkeypatch.setattr("edgehone.fleet.look.Client", None)  # whoever asks fails
    found = look(settings)
    assert (found.kind, found.trouble) == ("waits", False) and "offline" in found.note


@pytest.mark.parametrize(
    ("network", "setting", "missing", "waits"),
    [
        (Network(True, True), "auto", 2_000_001, True),
        (Network(True, True), "auto", 2_000_000, False),
        (Network(True, True), "no", 10**9, False),
        (Network(True, False), "auto", 10**9, False),
        (Network(True, None), "auto", 10**9, False),  # NetworkManager does not say
        (Network(True, False), "yes", 10**9, True),
    ],
)
def test_metered_connections_take_what_is_allowed(
    network: Network, setting: str, missing: int, waits: bool
) -> None:
    assert (why_metered(network, setting, missing, 2_000_000) is not None) == waits  # type: ignore[arg-type]


@pytest.mark.whole
@pytest.mark.skipif(
    shutil.which("unshare") is None
    or subprocess.run(["unshare", "-n", "true"], capture_output=True, check=False).returncode != 0,
    reason="network namespaces cannot be made here",
)
def test_an_agent_in_a_network_of_its_own_is_offline(fleet: Fleet) -> None:
    """The kernel's own tables, in a namespace whose only interface is the loopback one."""
    file = fleet.device("d1", channel="oci://registry.example/models/demo:stable")
    log = file.with_name("log")
    with log.open("wb") as out:
        words = ["unshare", "-n", sys.executable, "-m", "edgehone.cli.main", "agent", "run", str(file)]
        process = subprocess.Popen(words, stdout=out, stderr=out)
    try:
        begun = time.monotonic()
        while b"offline: no network interface has a default route" not in log.read_bytes():
            assert process.poll() is None and time.monotonic() - begun < PATIENCE, log.read_text("utf-8")
            time.sleep(0.05)
    finally:
        process.terminate()
        assert process.wait(PATIENCE) == 0, log.read_text("utf-8")


def test_only_reports_of_the_named_devices_count(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    fleet.publish(fleet.bundle(weights(1, SIZE)), "50%")
    release = fleet.view().channel.release
    outcome = Outcome(release=1, manifest=release.manifest, result="failed", reason="", at=release.published)
    files = [fleet.device(f"d{number}") for number in range(6)]
    for file in files:
        settings = read_settings(file)
        state = State(channel=settings.channel, outcomes=(outcome,))
        Reporter(settings).push(state, serves=False, note="")
    known = [f"{file.parent.name}={file.with_name('device.pub')}" for file in files[:3]]
    found = view(fleet.publisher.address, public(fleet.channel_key), read_devices(known), judge_rules())
    assert sorted(one.report.device for one in found.reports) == ["d0", "d1", "d2"]
    assert len(found.problems) == 3 and all("d" in one for one in found.problems)
    assert len(fleet.view().reports) == 6  # without --devices all count
    # Whoever may write reports cannot halt a release with keys that are not named.
    words = [
        "--key",
        str(fleet.channel_key),
        "--devices",
        f"d0={make_key(fleet.place, 'other').with_suffix('.pub')}",
    ]
    assert main(["agent", "advance", fleet.channel, *words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["done"] == "nothing"
    words[1] = str(fleet.channel_key.with_suffix(".pub"))
    assert (
        main(
            [
                "agent",
                "status",
                fleet.channel,
                *words[:2],
                "--devices",
                known[0],
                "--devices",
                known[1],
                "--json",
            ]
        )
        == 0
    )
    told = json.loads(capsys.readouterr().out)
    assert sum(len(one["devices"]) for one in told["waves"]) == 2
