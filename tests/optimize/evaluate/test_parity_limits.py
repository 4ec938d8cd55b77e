"""Builds that run in parallel on one machine divide its memory."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from edgehone.backends.base import Recipe
from edgehone.execution.job import Limits
from edgehone.optimize.context import ReadyExecutor, RunContext
from edgehone.optimize.evaluate.parity import in_parallel
from edgehone.optimize.trial import Trial

GIB = 1 << 30


def context(threads: int, slots: int) -> RunContext:
    device = SimpleNamespace(threads=threads, memory_available_bytes=64 * GIB, usable_memory_bytes=64 * GIB)
    executor: Any = SimpleNamespace(device=device, slots=slots, name="")
    ready = ReadyExecutor(executor, {}, Limits(seconds=7, bytes=12 * GIB))
    nothing: Any = None
    model: Any = SimpleNamespace(bytes=GIB)
    return RunContext(
        model=model,
        source=nothing,
        build_executor=ready,
        target_executor=ready,
        workload=nothing,
        effort=nothing,
        backends={},
        reference_backend=nothing,
        emit=nothing,
    )


@pytest.mark.parametrize(
    ("trials", "threads", "slots", "share"),
    [
        pytest.param(4, 4, 0, 3 * GIB, id="four at a time"),
        pytest.param(9, 2, 0, 6 * GIB, id="two threads, two at a time"),
        pytest.param(1, 4, 0, 12 * GIB, id="one alone"),
        pytest.param(4, 4, 3, 12 * GIB, id="each on a machine of its own"),
    ],
)
def test_the_limits_of_parallel_builds_add_up_to_that_of_the_machine(
    trials: int, threads: int, slots: int, share: int
) -> None:
    given: list[Limits] = []
    lock = threading.Lock()

    def work(ctx: RunContext, trial: Trial) -> None:
        with lock:
            given.append(ctx.build_executor.limits)

    recipe = Recipe("null", "q8", effort="quick", why="")
    in_parallel(context(threads, slots), [Trial(recipe) for _ in range(trials)], work)
    assert given == [Limits(seconds=7, bytes=share)] * trials


def test_no_trial_is_no_work() -> None:
    in_parallel(context(4, 0), [], lambda ctx, trial: pytest.fail("called"))
