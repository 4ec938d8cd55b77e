"""Run one measurement job: nothing else of edgehone runs meanwhile, and it is repeated if it was spoiled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from edgehone.core.errors import JobError
from edgehone.decision.decide import DISTURBED
from edgehone.evaluation import speed
from edgehone.execution.job import Input
from edgehone.execution.store import JobResult
from edgehone.execution.watch import Watch
from edgehone.optimize.context import RunContext
from edgehone.optimize.original import Original
from edgehone.optimize.trial import Trial

TIME_REQUESTS = "edgehone.worker.speed:time_requests"
# Attempts at a measurement during which the system clock jumps.
ATTEMPTS = 3
# Attempts at a round that other programs disturb: one whose pieces are longer than the gaps between their bursts never
# gets quiet.
MOST_DISTURBED = 3


def run_exclusively(
    ctx: RunContext,
    original: Original,
    trial: Trial,
    call: str,
    on_progress: Callable[[float, str], None],
    *,
    watch: Callable[[], Watch] = Watch,
    epoch: str = "",
    **more: Any,
) -> JobResult:
    """Run a measurement of a trial, keyed by the device too, and by `epoch` if its results must not outlast that.

    It is repeated if the system clock jumped, or if other programs left hardly any undisturbed time and the run's
    patience allows it. What was discarded is noted in the trial. If a disturbed one has to do, its fact `disturbed`
    says who disturbs.

    Raises JobError if the clock jumped in every attempt, MachineBusy if the user does not want to wait.
    """
    assert trial.artifact is not None
    attempt, jumps, disturbed = 0, 0, 0
    while True:
        again = {"attempt": attempt} if attempt else {}
        done = ctx.run(
            trial.recipe.backend,
            call,
            {"settings": dict(trial.recipe.settings), **original.request, **more, **again},
            {"artifact": Input.of(trial.artifact), **original.inputs},
            opens_session=True,
            on_progress=on_progress,
            exclusive=True,
            also={"device": ctx.device.fingerprint, **({"epoch": epoch} if epoch else {})},
            watch=watch,
        )
        if done.jump is not None:
            jumps += 1
            cause = done.jump
        elif call != TIME_REQUESTS or not speed.is_disturbed(done.facts):
            return done
        elif disturbed < MOST_DISTURBED and _measure_again(ctx, done, on_progress):
            disturbed += not done.cached
            cause = "other programs left no undisturbed time"
        else:
            why = ctx.patience.why(done.facts["conditions"]["others_share"])
            return replace(done, facts={**done.facts, DISTURBED: why})
        trial.facts.setdefault("discarded", []).append(cause)
        attempt += 1
        if jumps == ATTEMPTS:
            raise JobError(
                f"{done.jump} during a measurement, {ATTEMPTS} times in a row",
                hint="prevent sleep and clock changes (systemd-inhibit, timedatectl), then run the same command again",
            )


def _measure_again(ctx: RunContext, done: JobResult, on_progress: Callable[[float, str], None]) -> bool:
    """Return True once a disturbed measurement is to be repeated, False if it must do."""
    if done.cached and ctx.patience.mode == "stop":
        return True  # it tells how busy the machine was when it was stored, not how busy it is
    # The recorded seconds: waiting for other runs of edgehone to end is not waiting for quiet.
    spent = 0.0 if done.cached else done.seconds
    return ctx.patience.wait(spent, lambda text: on_progress(0.0, text))
