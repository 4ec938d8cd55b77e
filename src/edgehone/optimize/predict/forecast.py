"""The forecast: it replaces the race in a search for a prediction target.

The fastest candidate on this machine need not be the fastest on the target, so no candidate is eliminated for its speed
here. Each is measured for the least number of rounds, which gives the shares of this machine's bandwidth and compute
that it reaches, and is judged by the predictions made from them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edgehone.optimize.context import RunContext
from edgehone.optimize.evaluate import measure, speed_rounds
from edgehone.optimize.original import Original
from edgehone.optimize.predict import predict
from edgehone.optimize.search.clock import Clock
from edgehone.optimize.trial import Trial


class Forecast:
    """The measured trials, with the interface of `race.Race`."""

    settled = (
        True  # further rounds would not narrow a prediction: the transfer to the target dominates its error
    )

    def __init__(self, ctx: RunContext, original: Original) -> None:
        few = replace(ctx.effort, rounds=speed_rounds.MIN_ROUNDS)
        self._ctx, self._original = replace(ctx, effort=few), original
        self.running: list[Trial] = []
        self._baseline_measured = False

    def run(self, new_trials: Sequence[Trial], clock: Clock, rounds: int) -> None:
        """Measure the new trials, and the baseline once, unless the time is over. `rounds` is ignored.

        Trials whose backend cannot be measured on this machine are predicted from the shares that others reach.
        """
        if clock.over:
            return
        joining = measure.measurable(self._ctx, [trial for trial in new_trials if trial.alive])
        measured = joining if self._baseline_measured else [self._original.baseline, *joining]
        self._baseline_measured = True
        for trial in measured:
            measure.measure_memory(self._ctx, self._original, trial)
        speed_rounds.measure_speed(self._ctx, self._original, measured)
        self.running += [trial for trial in joining if trial.alive]

    def with_figures(self, trials: Sequence[Trial]) -> tuple[Trial, list[Trial]]:
        """Return the baseline and `trials` with the figures that they are judged by: predictions for the target."""
        return predict.with_predictions(self._ctx, self._original, trials)
