"""The forecast: in a search for a device that is not here, what takes the place of the race.

Who is faster on this machine need not be faster there, so nobody is raced out. Each is read here as often as an
interval needs, which tells what it reaches of this machine, and is judged by what that predicts of the device.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edgehone.stages import measure, predict
from edgehone.stages.bench import Bench
from edgehone.stages.clock import Clock
from edgehone.stages.original import Original
from edgehone.stages.trial import Trial


class Forecast:
    """Who was read, as `race.Race` keeps it."""

    settled = True  # more rounds would not make a prediction narrower: its error is that of carrying it there

    def __init__(self, bench: Bench, original: Original) -> None:
        few = replace(bench.depth, rounds=measure.LEAST_ROUNDS)
        self._bench, self._original = replace(bench, depth=few), original
        self.running: list[Trial] = []

    def run(self, newcomers: Sequence[Trial], clock: Clock, least: int) -> None:
        """Read the newcomers here, the baseline before the first of them; nothing once the time is up."""
        joining = measure.measurable(self._bench, [trial for trial in newcomers if trial.alive])
        if clock.over or not joining:
            return
        baseline = [] if self.running else [self._original.baseline]
        for trial in [*baseline, *joining]:
            measure.measure_memory(self._bench, self._original, trial)
        measure.measure_speed(self._bench, self._original, [*baseline, *joining])
        self.running += [trial for trial in joining if trial.alive]

    def seen(self, trials: Sequence[Trial]) -> tuple[Trial, list[Trial]]:
        """The baseline and `trials` as they would be on the device."""
        return predict.foreseen(self._bench, self._original, trials)
