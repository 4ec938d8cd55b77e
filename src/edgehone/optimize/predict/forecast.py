"""The forecast: in a search for a device that is not here, what takes the place of the race.

Who is faster on this machine need not be faster there, so nobody is raced out. Each is read here as often as an
interval needs, which tells what it reaches of this machine, and is judged by what that predicts of the device.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edgehone.optimize.context import RunContext
from edgehone.optimize.evaluate import measure
from edgehone.optimize.original import Original
from edgehone.optimize.predict import predict
from edgehone.optimize.search.clock import Clock
from edgehone.optimize.trial import Trial


class Forecast:
    """Who was read, as `race.Race` keeps it."""

    settled = True  # more rounds would not make a prediction narrower: its error is that of carrying it there

    def __init__(self, ctx: RunContext, original: Original) -> None:
        few = replace(ctx.effort, rounds=measure.MIN_ROUNDS)
        self._ctx, self._original = replace(ctx, effort=few), original
        self.running: list[Trial] = []
        self._begun = False

    def run(self, newcomers: Sequence[Trial], clock: Clock, least: int) -> None:
        """Read the newcomers here, and the baseline once; nothing when the time is up.

        Those whose backend cannot be measured here are predicted by what others reach.
        """
        if clock.over:
            return
        joining = measure.measurable(self._ctx, [trial for trial in newcomers if trial.alive])
        reading = joining if self._begun else [self._original.baseline, *joining]
        self._begun = True
        for trial in reading:
            measure.measure_memory(self._ctx, self._original, trial)
        measure.measure_speed(self._ctx, self._original, reading)
        self.running += [trial for trial in joining if trial.alive]

    def seen(self, trials: Sequence[Trial]) -> tuple[Trial, list[Trial]]:
        """The baseline and `trials` as they would be on the device."""
        return predict.with_predictions(self._ctx, self._original, trials)
