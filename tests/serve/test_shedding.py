"""Fewer requests are let in while many are refused, as the measured times say, and all of them again afterwards."""

from __future__ import annotations

import asyncio
import random
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgehone.serve.admission import Admission, Full
from edgehone.serve.shedding import Shedding, fewest

PLACES, MOST = 8, 10


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def learned(k: float, clock: Clock, noise: float = 0.0) -> Shedding:
    """What has seen requests of an engine whose times are proportional to k + n."""
    chance, found = random.Random(7), Shedding(PLACES, MOST, clock)
    for _ in range(1000):
        n = chance.uniform(1, PLACES)
        found.answered(n, 0.01 * (k + n) * chance.lognormvariate(0.0, noise))
    return found


def flood(shedding: Shedding, clock: Clock, seconds: float, refused: float, per_second: int = 150) -> None:
    """Let requests come, of which a share is refused."""
    for number in range(int(seconds * per_second)):
        clock.now += 1 / per_second
        shedding.came(refused=int(number * refused) != int((number + 1) * refused))


@given(st.floats(0, 256), st.integers(1, 64))
def test_the_fewest_take_the_stated_time(k: float, places: int) -> None:
    few = fewest(k, places)
    share = 0.8 * places / (places + k)  # of the throughput of any number
    alone = share * k / (1 - share)  # so many give it
    seconds = few + k if few <= places else few / places * (places + k)
    assert seconds == pytest.approx(1.25 * (alone + k))


def test_an_engine_that_gains_little_from_many_gets_few_past_its_capacity() -> None:
    clock = Clock()
    shedding = learned(0.6, clock)
    assert shedding.most == MOST
    flood(shedding, clock, 5, 0.5)
    assert shedding.most == PLACES / 2


def test_an_engine_that_gains_much_from_many_keeps_its_places() -> None:
    clock = Clock()
    shedding = learned(8.0, clock)
    flood(shedding, clock, 5, 0.5)
    assert shedding.most >= PLACES


def test_the_estimate_stands_times_that_differ() -> None:
    clock = Clock()
    shedding = learned(1.0, clock, noise=0.3)
    flood(shedding, clock, 5, 0.5)
    assert shedding.most <= 6


def test_nothing_is_shed_before_the_engine_is_known() -> None:
    clock = Clock()
    shedding = Shedding(PLACES, MOST, clock)
    flood(shedding, clock, 5, 0.9)
    assert shedding.most >= PLACES


def test_all_places_come_back_when_nothing_is_refused() -> None:
    clock = Clock()
    shedding = learned(0.6, clock)
    flood(shedding, clock, 5, 0.5)
    flood(shedding, clock, 5, 0.0, per_second=60)
    assert shedding.most == MOST
    flood(shedding, clock, 5, 0.5)
    clock.now += 10  # an idle time
    shedding.came(refused=False)
    assert shedding.most == MOST


def test_a_few_refusals_cost_nothing() -> None:
    clock = Clock()
    shedding = learned(0.6, clock)
    for refused in (True, False, True):
        shedding.came(refused=refused)
    assert shedding.most >= PLACES - 2
    flood(shedding, clock, 5, 0.02)
    assert shedding.most >= PLACES


@given(st.lists(st.tuples(st.floats(0, 64), st.floats(0, 1e4)), max_size=300), st.integers(1, 16))
def test_it_is_always_between_half_the_places_and_all(
    answers: list[tuple[float, float]], places: int
) -> None:
    clock = Clock()
    shedding = Shedding(places, places + 2, clock)
    for running, seconds in answers:
        shedding.answered(running, seconds)
        shedding.came(refused=True)
        assert places / 2 <= shedding.most <= places + 2


def test_admission_refuses_earlier_past_its_capacity() -> None:
    async def test() -> None:
        clock = Clock()
        shedding = learned(0.6, clock)
        admission = Admission(PLACES, MOST - PLACES, 60, shedding=shedding)
        with ExitStack() as holds:
            held = [holds.enter_context(admission.hold()) for _ in range(MOST)]
            for _ in range(300):
                clock.now += 0.01
                with pytest.raises(Full):
                    admission.hold()
            assert shedding.most == PLACES / 2
            # Those that were let in stay in.
            tickets = [ticket for hold in held for ticket in hold.admit([0])]
        for ticket in tickets:
            ticket.give_up()
        with ExitStack() as holds:
            for _ in range(PLACES // 2):
                holds.enter_context(admission.hold())
            with pytest.raises(Full):
                admission.hold()
        assert (admission.running, admission.waiting, admission.reading) == (0, 0, 0)

    asyncio.run(test())


def test_admission_tells_how_many_ran_beside_a_request() -> None:
    async def test() -> None:
        told: list[float] = []

        class Listening(Shedding):
            def answered(self, running: float, seconds: float) -> None:
                told.append(running)

        admission = Admission(4, 0, 60, shedding=Listening(4, 4))
        first, second = admission.admit([0, 0])
        async with first, second:
            await asyncio.sleep(0.02)
        assert told[0] == pytest.approx(2, abs=1e-3) and told[1] == pytest.approx(2, abs=0.2)

    asyncio.run(test())
