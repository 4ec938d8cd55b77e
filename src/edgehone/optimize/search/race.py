"""The race: measure candidates in rounds, and eliminate those that can no longer win, to save time.

In each round every running trial is measured once, close together in time. `decision.race` decides which are beaten,
`decision.gates.hopeless` which cannot pass the gates. An eliminated trial keeps its figures, is judged by the gates
like all others, and has the reason in `facts["raced_out"]`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgehone.core.events import Event
from edgehone.decision import race
from edgehone.decision.decide import DISTURBED, derive
from edgehone.decision.gates import hopeless
from edgehone.decision.race import Runner
from edgehone.decision.requirements import Requirements
from edgehone.evaluation import speed
from edgehone.execution.store import JobResult
from edgehone.optimize.context import RunContext
from edgehone.optimize.evaluate import measure, speed_rounds
from edgehone.optimize.evaluate.evaluators import evaluator_for
from edgehone.optimize.original import Original
from edgehone.optimize.search.clock import Clock
from edgehone.optimize.trial import Trial, guarded


class Race:
    """The running trials, and the rounds of each by round number."""

    def __init__(
        self, ctx: RunContext, original: Original, required: Requirements, aims: Sequence[Mapping[str, float]]
    ) -> None:
        """`aims` are sets of objective weights. One set is a score; with several, a trial must be beaten in each."""
        self._ctx, self._original, self._required, self._aims = ctx, original, required, aims
        self._rounds: dict[str, dict[int, JobResult]] = {}
        self._trials: list[Trial] = []
        self._number = 0

    @property
    def running(self) -> list[Trial]:
        """The trials that can still win."""
        return [t for t in self._trials if t.alive and "raced_out" not in t.facts]

    def run(self, new_trials: Sequence[Trial], clock: Clock, rounds: int) -> None:
        """Add trials and run `rounds` rounds; stop earlier if the time is over or further rounds are not needed."""
        joining = [trial for trial in new_trials if trial.alive]
        for trial in [*([self._original.baseline] if not self._number else []), *joining]:
            measure.measure_memory(self._ctx, self._original, trial)
            self._rounds[trial.recipe.key] = {}
        self._trials += joining
        self._eliminate()
        for _ in range(rounds):
            if clock.over or self.settled:
                return
            self._run_round()
            self._eliminate()

    def with_figures(self, trials: Sequence[Trial]) -> tuple[Trial, list[Trial]]:
        """Return the baseline and `trials` with the figures that they are judged by: the measured ones."""
        return self._original.baseline, list(trials)

    @property
    def settled(self) -> bool:
        """True if no trial needs further rounds: each is steady, or has had all rounds of the effort."""
        return not any(self._needs_round(trial) for trial in [self._original.baseline, *self.running])

    def _needs_round(self, trial: Trial) -> bool:
        done = len(self._rounds[trial.recipe.key])
        if not trial.alive or done >= self._ctx.effort.rounds:
            return False
        return done < speed_rounds.MIN_ROUNDS or not speed.is_steady(trial.figures["workload_latency_ms"])

    def _run_round(self) -> None:
        """Run a round of the baseline if it needs one, and of all running trials if any does: pairs need both."""
        running = self.running if any(self._needs_round(trial) for trial in self.running) else []
        baseline = [self._original.baseline] if self._needs_round(self._original.baseline) else []
        for trial in speed_rounds.in_turn([*baseline, *running], self._number):
            rounds = self._rounds[trial.recipe.key]
            with guarded(self._ctx, trial):
                rounds[self._number] = speed_rounds.speed_round(
                    self._ctx, self._original, trial, self._number, cold=not rounds
                )
                speed_rounds.note_rounds(
                    self._ctx, self._original, trial, [done.facts for done in rounds.values()]
                )
            self._original.require_baseline()
        self._number += 1

    def _eliminate(self) -> None:
        """Eliminate the trials that can no longer pass the gates or win."""
        baseline = self._original.baseline.candidate()
        for trial in self.running:
            if reason := hopeless(derive(trial.candidate(), baseline), self._required):
                self._out(trial, reason)
        runners = {
            trial.recipe.key: runner(self._ctx, self._original, trial, self._rounds[trial.recipe.key])
            for trial in self.running
        }
        for trial in self.running:
            if reason := self._beaten(runners[trial.recipe.key], list(runners.values())):
                self._out(trial, reason)

    def _beaten(self, one: Runner, runners: Sequence[Runner]) -> str | None:
        """Return why a runner is beaten by the leader, or by any other one in every aim; None if it is not."""
        looks = self._ctx.effort.rounds
        others = [best] if len(self._aims) == 1 and (best := race.leader(runners, self._aims[0])) else runners
        for other in others:
            if other is one:
                continue
            reasons = [race.beaten(one, other, weights, looks) for weights in self._aims]
            if all(reasons):
                return reasons[0]
        return None

    def _out(self, trial: Trial, reason: str) -> None:
        trial.facts["raced_out"] = reason
        self._ctx.emit(Event(trial.recipe.key, "done", reason))


def runner(ctx: RunContext, original: Original, trial: Trial, rounds: Mapping[int, JobResult]) -> Runner:
    """Return a trial's measurements as a runner of the race; `rounds` are by round number.

    Disturbed rounds are left out.
    """
    evaluator = evaluator_for(ctx.model)
    shape = evaluator.request_shape(original)
    rounds = {number: done for number, done in rounds.items() if DISTURBED not in done.facts}
    return Runner(
        trial.recipe.key,
        {number: speed.latency_ms(done.facts, shape) for number, done in rounds.items()},
        evaluator.kept_by_window(original, trial),
        trial.figures["peak_memory_bytes"].value if "peak_memory_bytes" in trial.figures else None,
        trial.bytes,
        {number: 1000 / speed.rate_of(done.facts, shape) for number, done in rounds.items()},
    )
