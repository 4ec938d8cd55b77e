"""Paired rounds: run the incumbent and its challengers in the same rounds so that their speeds can be compared pairwise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgehone.core.events import Event
from edgehone.decision import race
from edgehone.decision.race import Advantage
from edgehone.evaluation import speed
from edgehone.execution.store import JobResult
from edgehone.optimize.context import RunContext
from edgehone.optimize.evaluate import measure
from edgehone.optimize.original import Original
from edgehone.optimize.search.clock import Budget, Clock
from edgehone.optimize.search.race import runner
from edgehone.optimize.trial import Trial, guarded


@dataclass
class PairedRounds:
    """The first of `trials` is the one to beat; `weights` are those of the score; `rounds` are kept by key and round number."""

    ctx: RunContext
    original: Original
    weights: Mapping[str, float]
    trials: list[Trial]
    rounds: dict[str, dict[int, JobResult]] = field(default_factory=dict)

    @property
    def rivals(self) -> list[Trial]:
        """Those who may still beat the first."""
        return [one for one in self.trials[1:] if one.alive and "raced_out" not in one.facts]

    def run_round(self, number: int, limit: Clock | Budget, beside: Trial | None = None) -> bool:
        """A round of the first, of each rival, and of one `beside` them; False where the time did not reach for all."""
        running = [self.trials[0], *self.rivals, *([beside] if beside else [])]
        for trial in measure.in_turn(running, number):
            if limit.over:
                return False
            with guarded(self.ctx, trial):
                done = measure.speed_round(self.ctx, self.original, trial, number, cold=False)
                limit.took(done.seconds)
                self.rounds.setdefault(trial.recipe.key, {})[number] = done
                measure.note_rounds(self.ctx, self.original, trial, self._facts(trial.recipe.key))
        return self.trials[0].alive

    def ahead(self, trial: Trial, looks: int) -> Advantage | None:
        """By how far a trial is ahead of the first, of an interval that is looked at so often."""
        one, first = (
            runner(self.ctx, self.original, each, self.rounds.get(each.recipe.key, {}))
            for each in (trial, self.trials[0])
        )
        return race.advantage(one, first, self.weights, looks)

    def steady(self, trial: Trial) -> bool:
        """Whether its latency is."""
        return speed.is_steady(trial.figures["workload_latency_ms"])

    def out(self, trial: Trial, reason: str) -> None:
        """Take a trial out of the race."""
        trial.facts["raced_out"] = reason
        self.ctx.emit(Event(trial.recipe.key, "done", reason))

    def extend(self, trial: Trial, key: str) -> None:
        """Let a trial's figures count the rounds that were run here under that key, beside its earlier ones."""
        if found := self._facts(key):
            earlier = trial.samples.get("rounds", [])
            measure.note_rounds(self.ctx, self.original, trial, [*earlier, *found])

    def _facts(self, key: str) -> list[Mapping[str, object]]:
        return [done.facts for done in self.rounds.get(key, {}).values()]
