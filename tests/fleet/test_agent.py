"""Agents with real servers: an update, a bad release, a killed agent, a registry that goes away."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from edgehone.attestation.verify import verify_bundle
from tests.attestation.signed import public
from tests.fleet.fleets import Agent, Fleet, answer, running, servers, wait_for
from tests.registry.bundles import weights
from tests.registry.servers import oci_registry

pytestmark = [pytest.mark.whole, pytest.mark.xdist_group("oci")]
SIZE = 1_500_000


def test_updates_a_bad_release_and_kills(fleet: Fleet) -> None:
    """One device through its life: first release, update without a refused request, bad release, kill -9."""
    fleet.publish(fleet.bundle(weights(1, SIZE)))
    with running(fleet.device("d1")) as agent:
        agent.until(1)
        proven = answer(agent.settings)
        assert proven is not None
        wait_for(lambda: fleet.became() == {"d1": "good"})
        _update_under_requests(fleet, agent, proven)
        fleet.publish(fleet.bad_bundle(weights(3, SIZE)))
        wait_for(lambda: fleet.became() == {"d1": "failed"})
        assert "does not serve what was tested" in fleet.view().reports[0].report.outcomes[-1].reason
        assert agent.running == 2 and answer(agent.settings) == proven and len(servers(agent.file)) == 1
        assert fleet.advance()[1].startswith("halted")
        agent.kill()
        assert answer(agent.settings) == proven  # its server goes on
        with running(agent.file) as again:
            again.wait(lambda one: "goes on with the server" in one.log)
            assert answer(again.settings) == proven and again.running == 2
            again.cut()
            assert answer(again.settings) is None
    with running(agent.file) as last:
        last.wait(Agent.answers)
        assert last.running == 2 and answer(last.settings) == proven


def _update_under_requests(fleet: Fleet, agent: Agent, proven: str) -> None:
    got: list[str | None] = []
    errors: list[str] = []
    stop, settings = threading.Event(), agent.settings

    def ask() -> None:
        while not stop.is_set():
            got.append(answer(settings, errors))
            time.sleep(0.005)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        fleet.publish(fleet.bundle(weights(2, SIZE)))
        agent.until(2)
    finally:
        stop.set()
        asking.join()
    assert errors == [] and len(got) > 20 and set(got) == {proven}
    side = agent.state.active or ""
    verified = verify_bundle(agent.settings.folder / "slots" / side, public(fleet.release_key))
    assert verified.signed_by


def test_a_server_that_dies_while_it_is_watched_makes_the_device_go_back(fleet: Fleet) -> None:
    fleet.publish(fleet.bundle(weights(1, SIZE)))
    with running(fleet.device("d1", probation_seconds=30)) as agent:
        fleet_ready(agent)
        for process in servers(agent.file):
            process.kill()
        agent.wait(lambda one: "failed" in [o.result for o in one.state.outcomes])
        assert agent.state.active is None and agent.state.slots == {}


def fleet_ready(agent: Agent) -> None:
    """Wait until a new server is watched."""
    agent.wait(lambda one: "it is watched" in one.log)


def test_a_registry_that_is_gone_stops_nothing(fleet: Fleet, tmp_path: Path) -> None:
    with oci_registry(tmp_path / "own") as host:
        fleet.host = host
        fleet.publish(fleet.bundle(weights(1, SIZE)))
        file = fleet.device("d1")
        with running(file) as agent:
            agent.until(1)
    with running(file) as agent:  # it starts without a registry
        agent.wait(Agent.answers)
        agent.wait(lambda one: "cannot be reached" in one.log)
        assert agent.running == 1
