"""Kill -9 at any point of an update: always one good version is there, and the update goes on."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from edgehone.attestation.verify import verify_bundle
from edgehone.fleet.install import make_folders
from edgehone.fleet.look import Look, Looker
from edgehone.fleet.settings import AgentSettings, read_settings
from edgehone.fleet.state import Store
from tests.attestation.signed import public
from tests.fleet.fleets import Agent, Fleet, answer, running
from tests.registry.bundles import weights
from tests.registry.killing import count_calls

pytestmark = [pytest.mark.whole, pytest.mark.xdist_group("oci")]
SIZE = 2_500_000


def look(settings: AgentSettings) -> Look:
    """Look at the channel once, as an agent does."""
    place = make_folders(settings.folder)
    return Looker(settings, place, Store(settings.folder, settings.channel), lambda text: None).look()


def settle(settings: AgentSettings) -> None:
    """Make the slot on trial the active one, as if its server had proven itself."""
    from dataclasses import replace

    store = Store(settings.folder, settings.channel)
    side = store.state.trial.side if store.state.trial else None
    assert side is not None
    store.change(lambda state: replace(state, active=side, trial=None))


def looked_until_killed(settings: AgentSettings, kill_at: int | None) -> dict[str, Any] | None:
    """Look in a child that kills itself before its `kill_at`-th call that changes something; None if it did."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            calls = 0

            def then(count: int) -> None:
                nonlocal calls
                calls = count
                if count == kill_at:
                    os.kill(os.getpid(), signal.SIGKILL)

            count_calls(then)
            found = look(settings)
            os.write(writer, json.dumps({"kind": found.kind, "note": found.note, "calls": calls}).encode())
            code = 0
        finally:
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader) as told:
        text = told.read()
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        return None
    assert os.WEXITSTATUS(status) == 0, text
    result: dict[str, Any] = json.loads(text)
    return result


def active_is_good(settings: AgentSettings, fleet: Fleet, manifest: str) -> None:
    """The state names a slot that holds the whole release of a manifest."""
    state = Store(settings.folder, settings.channel).state
    assert state.running is not None and state.running.manifest == manifest
    verify_bundle(settings.folder / "slots" / str(state.active), public(fleet.release_key))
    if state.trial is not None:
        verify_bundle(settings.folder / "slots" / state.trial.side, public(fleet.release_key))


def points(chance: random.Random, calls: int, count: int) -> Iterator[int]:
    """Yield points, evenly spread over the calls of a look, each at a random place of its part."""
    for number in range(count):
        yield 1 + int(calls * (number + chance.random()) / count)


@pytest.mark.parametrize("count", [16, pytest.param(160, marks=pytest.mark.long)])
def test_killed_while_a_release_is_brought(fleet: Fleet, count: int) -> None:
    settings = read_settings(fleet.device("d1"))
    bundles = [fleet.bundle(weights(number, SIZE)) for number in (1, 2)]
    fleet.publish(bundles[0])
    assert look(settings).kind == "ready"
    settle(settings)
    assert look(settings) == Look("nothing")
    chance, killed, calls = random.Random(count), 0, 150
    for number in range(2, 100):
        running_now = Store(settings.folder, settings.channel).state.running
        assert running_now is not None
        fleet.publish(bundles[(number + 1) % 2])
        for at in points(chance, calls, min(8, count)):
            told = looked_until_killed(settings, at)
            active_is_good(settings, fleet, running_now.manifest)
            if told is not None:
                break
            killed += 1
        told = looked_until_killed(settings, None)
        assert told is not None and told["kind"] == "ready", told
        active_is_good(settings, fleet, running_now.manifest)
        settle(settings)
        if killed >= count:
            return
    raise AssertionError(f"killed {killed} times only")


@pytest.mark.parametrize("count", [2, pytest.param(40, marks=pytest.mark.long)])
def test_killed_while_it_switches(fleet: Fleet, count: int) -> None:
    """The whole agent, or with its servers as by a power cut, after random times of an update."""
    bundles = [fleet.bundle(weights(number, SIZE)) for number in (1, 2)]
    fleet.publish(bundles[0])
    file = fleet.device("d1", most_tries=1000, probation_seconds=1)
    with running(file) as agent:
        agent.until(1)
        proven = answer(agent.settings)
    chance = random.Random(count)
    for number in range(count):
        fleet.publish(bundles[(number + 1) % 2])
        with running(file) as agent:
            time.sleep(chance.uniform(0.5, 7 if count > 2 else 3))
            if number % 2 == 0:
                agent.cut()
            else:
                agent.kill()
            state = agent.state
            assert state.running is not None
            verify_bundle(agent.settings.folder / "slots" / str(state.active), public(fleet.release_key))
            with running(file) as again:
                again.wait(Agent.answers)
                assert answer(again.settings) == proven
                if number % 2:
                    again.until(number + 2)
