"""Places and tokens of an engine: requests enter in their order, and none is admitted for which there is no room."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import pytest

from edgehone.serve.admission import Admission, Full, Ticket, TooLate


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(test())


async def soon() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


class Held:
    """A request that holds its place until it is told to leave."""

    def __init__(self, ticket: Ticket) -> None:
        self.entered, self.leave = False, asyncio.Event()
        self.task = asyncio.create_task(self._hold(ticket))
        self.task.add_done_callback(lambda task: ticket.give_up())  # if it was cancelled before it began

    async def _hold(self, ticket: Ticket) -> None:
        async with ticket:
            self.entered = True
            await self.leave.wait()

    async def end(self) -> None:
        self.leave.set()
        await self.task


def test_requests_enter_while_the_cache_has_room() -> None:
    async def test() -> None:
        admission = Admission(4, 2, 60, lambda: 100)
        first, second, third = [Held(ticket) for ticket in admission.admit([60, 50, 10])]
        await soon()
        # The third would fit, but the second came before it.
        assert (first.entered, second.entered, third.entered) == (True, False, False)
        assert (admission.running, admission.waiting, admission.reserved) == (1, 2, 60)
        with pytest.raises(Full, match="60 tokens are waiting") as caught:  # most: 100 × 6 / 4
            admission.admit([31])
        assert caught.value.retry_after >= 1
        fourth = Held(admission.admit([30])[0])
        await first.end()
        await soon()
        assert second.entered and third.entered and fourth.entered and admission.reserved == 90
        for one in (second, third, fourth):
            await one.end()
        assert (admission.running, admission.waiting, admission.reserved) == (0, 0, 0)

    run(test)


def test_one_that_leaves_the_queue_lets_the_next_in() -> None:
    async def test() -> None:
        admission = Admission(4, 4, 60, lambda: 100)
        first, large, small = [Held(ticket) for ticket in admission.admit([60, 90, 40])]
        await soon()
        assert not small.entered
        large.task.cancel()
        await soon()
        assert small.entered and admission.waiting == 0 and admission.reserved == 100
        await first.end()
        await small.end()

    run(test)


def test_one_that_is_cancelled_with_its_place_frees_it() -> None:
    async def test() -> None:
        admission = Admission(1, 4, 60)
        first, second, third = [Held(ticket) for ticket in admission.admit([0, 0, 0])]
        await soon()
        first.leave.set()
        await asyncio.sleep(0)
        second.task.cancel()
        await soon()
        assert third.entered and admission.running == 1 and admission.waiting == 0
        await third.end()

    run(test)


def test_a_request_that_waits_too_long_is_told() -> None:
    async def test() -> None:
        admission = Admission(1, 1, 0.02)
        first, second = [Held(ticket) for ticket in admission.admit([1, 1])]
        with pytest.raises(TooLate):
            await second.task
        await first.end()
        assert (admission.running, admission.waiting) == (0, 0)

    run(test)


def test_a_smaller_cache_after_a_restart_lets_a_larger_request_run_alone() -> None:
    async def test() -> None:
        cache = 100
        admission = Admission(2, 2, 60, lambda: cache)
        first, second = [Held(ticket) for ticket in admission.admit([90, 80])]
        await soon()
        cache = 50
        await first.end()
        await soon()
        assert second.entered
        await second.end()

    run(test)


@pytest.mark.parametrize("seed", range(20))
def test_counts_are_right_whatever_happens(seed: int) -> None:
    async def test() -> None:
        chance = random.Random(seed)
        admission = Admission(3, 5, 0.05, lambda: 100)
        held: list[Held] = []
        for _ in range(200):
            with suppress(Full):
                tickets = admission.admit([chance.randint(0, 60) for _ in range(chance.randint(1, 3))])
                for ticket in tickets:
                    if chance.random() < 0.1:
                        ticket.give_up()
                    else:
                        held.append(Held(ticket))
            for one in chance.sample(held, min(len(held), 2)):
                if chance.random() < 0.5:
                    one.leave.set()
                else:
                    one.task.cancel()
                    one.leave.set()
            if chance.random() < 0.5:
                await asyncio.sleep(chance.choice((0, 0, 0.01)))
            assert 0 <= admission.running <= 3 and 0 <= admission.reserved <= 100
            assert admission.running + admission.waiting <= 8
        for one in held:
            one.leave.set()
        await asyncio.gather(*(one.task for one in held), return_exceptions=True)
        assert (admission.running, admission.waiting, admission.reserved) == (0, 0, 0)
        (ticket,) = admission.admit([100])
        async with ticket:
            pass

    run(test)
