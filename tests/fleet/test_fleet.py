"""Fleets of agent processes at one registry: a good release goes through two waves, a bad one ends in the first."""

from __future__ import annotations

import time

import pytest

from edgehone.fleet.waves import wave_of
from tests.fleet.fleets import Fleet, all_running, answer, wait_for
from tests.registry.bundles import weights

pytestmark = [pytest.mark.whole, pytest.mark.xdist_group("oci")]
SIZE = 200_000


@pytest.mark.parametrize("count", [5, *(pytest.param(many, marks=pytest.mark.long) for many in (10, 100))])
def test_two_waves_and_a_bad_release_that_is_halted_in_the_first(fleet: Fleet, count: int) -> None:
    """A lab of three, or a fifth, then all; a bad release never leaves the first wave."""
    patience = 40.0 + 20.0 * count
    lab = max(3, count // 5)
    fleet.agent |= {
        "probation_seconds": 1.5 if count < 10 else 3,
        "poll_seconds": 0.5 if count < 10 else max(2, count / 10),
        "longest_poll_seconds": 1 if count < 10 else max(4, count / 5),
        "start_seconds": patience,
        "unready_seconds": 3 if count < 10 else patience,  # so many servers make each other wait
    }
    files = [
        fleet.device(f"d{number}", labels={"site": "lab" if number < lab else "shop"})
        for number in range(count)
    ]
    fleet.publish(fleet.bundle(weights(1, SIZE)), "site=lab")
    with all_running(files) as agents:
        wait_for(lambda: set(fleet.became().values()) == {"good"} and len(fleet.became()) == lab, patience)
        proven = answer(agents[0].settings)
        assert proven is not None
        assert all(agent.running is None for agent in agents[lab:])  # the second wave is not open
        assert fleet.advance()[1].startswith("opened the wave all")
        wait_for(lambda: sum(one.running == 1 for one in agents) == count, patience)
        wait_for(lambda: set(fleet.became(1).values()) == {"good"}, patience)
        fleet.publish(fleet.bad_bundle(weights(2, SIZE)), "site=lab")
        done = ""
        begun = time.monotonic()
        while not done.startswith("halted"):
            assert time.monotonic() - begun < patience, fleet.view().counts
            _, done = fleet.advance()
            assert not done.startswith("opened")
            time.sleep(0.5)
        view = fleet.view()
        touched = [
            one.report.device for one in view.reports if one.report.outcome(view.channel.release.manifest)
        ]
        assert len(touched) <= lab
        assert all(wave_of(view.channel.waves, name, {"site": "lab"}, "") == 0 for name in touched)
        assert {int(name[1:]) < lab for name in touched} == {True}
        wait_for(lambda: all(answer(one.settings) == proven for one in agents), patience)
        assert all(one.running == 1 and one.process.poll() is None for one in agents)
        assert view.problems == []
