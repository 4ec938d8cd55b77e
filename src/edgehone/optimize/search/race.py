"""The race: contenders run in rounds, and whoever can no longer win stops costing time.

In each round every contender runs once, close together in time. `decision.race` says who is beaten,
`decision.gates.hopeless` who cannot pass. Whoever is out keeps the figures read so far, is judged by the gates as all
are, and has the reason in `facts["raced_out"]`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgehone.core.events import Event
from edgehone.decision import race
from edgehone.decision.decide import derive
from edgehone.decision.gates import hopeless
from edgehone.decision.race import Runner
from edgehone.decision.requirements import Requirements
from edgehone.evaluation import speed
from edgehone.execution.store import JobResult
from edgehone.optimize.context import RunContext
from edgehone.optimize.evaluate import measure
from edgehone.optimize.evaluate.evaluators import evaluator_for
from edgehone.optimize.original import Original
from edgehone.optimize.search.clock import Clock
from edgehone.optimize.trial import Trial, guarded


class Race:
    """Who runs, and the rounds of each by the number of the round."""

    def __init__(
        self, ctx: RunContext, original: Original, required: Requirements, aims: Sequence[Mapping[str, float]]
    ) -> None:
        """`aims` are weights of the objectives: one set is a score, several are aims that none is given up for."""
        self._ctx, self._original, self._required, self._aims = ctx, original, required, aims
        self._rounds: dict[str, dict[int, JobResult]] = {}
        self._trials: list[Trial] = []
        self._number = 0

    @property
    def running(self) -> list[Trial]:
        """Those who can still win."""
        return [t for t in self._trials if t.alive and "raced_out" not in t.facts]

    def run(self, newcomers: Sequence[Trial], clock: Clock, least: int) -> None:
        """Let newcomers join, and run `least` rounds, fewer if the time runs out or nothing is left to find out."""
        joining = [trial for trial in newcomers if trial.alive]
        for trial in [*([self._original.baseline] if not self._number else []), *joining]:
            measure.measure_memory(self._ctx, self._original, trial)
            self._rounds[trial.recipe.key] = {}
        self._trials += joining
        self._judge()
        for _ in range(least):
            if clock.over or self.settled:
                return
            self._run_round()
            self._judge()

    def seen(self, trials: Sequence[Trial]) -> tuple[Trial, list[Trial]]:
        """The baseline and `trials` as they were read."""
        return self._original.baseline, list(trials)

    @property
    def settled(self) -> bool:
        """Whether further rounds would tell nothing: each is steady, or has run as often as the effort allows."""
        return not any(self._wants(trial) for trial in [self._original.baseline, *self.running])

    def _wants(self, trial: Trial) -> bool:
        done = len(self._rounds[trial.recipe.key])
        if not trial.alive or done >= self._ctx.effort.rounds:
            return False
        return done < measure.MIN_ROUNDS or not speed.is_steady(trial.figures["workload_latency_ms"])

    def _run_round(self) -> None:
        """A round of the baseline where it needs one, and of all contenders once one of them does: pairs need both."""
        contenders = self.running if any(self._wants(trial) for trial in self.running) else []
        baseline = [self._original.baseline] if self._wants(self._original.baseline) else []
        for trial in measure.in_turn([*baseline, *contenders], self._number):
            rounds = self._rounds[trial.recipe.key]
            with guarded(self._ctx, trial):
                rounds[self._number] = measure.speed_round(
                    self._ctx, self._original, trial, self._number, cold=not rounds
                )
                measure.note_rounds(
                    self._ctx, self._original, trial, [done.facts for done in rounds.values()]
                )
            self._original.require_baseline()
        self._number += 1

    def _judge(self) -> None:
        """Take out whoever cannot pass or win any more."""
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
        looks = self._ctx.effort.rounds
        rivals = [best] if len(self._aims) == 1 and (best := race.leader(runners, self._aims[0])) else runners
        for rival in rivals:
            if rival is one:
                continue
            found = [race.beaten(one, rival, weights, looks) for weights in self._aims]
            if all(found):
                return found[0]
        return None

    def _out(self, trial: Trial, reason: str) -> None:
        trial.facts["raced_out"] = reason
        self._ctx.emit(Event(trial.recipe.key, "done", reason))


def runner(ctx: RunContext, original: Original, trial: Trial, rounds: Mapping[int, JobResult]) -> Runner:
    """What is known of a trial in a race, `rounds` by the number of the round."""
    evaluator = evaluator_for(ctx.model)
    asked = evaluator.asked(original)
    return Runner(
        trial.recipe.key,
        {number: speed.median_ms(done.facts) for number, done in rounds.items()},
        evaluator.kept_by_window(original, trial),
        trial.figures["peak_memory_bytes"].value if "peak_memory_bytes" in trial.figures else None,
        trial.bytes,
        {number: 1000 / speed.rate_of(done.facts, asked) for number, done in rounds.items()},
    )
