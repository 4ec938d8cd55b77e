"""Paired rounds: measure an incumbent and its challengers in the same rounds, so that speeds are compared pairwise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgehone.core.events import Event
from edgehone.decision import race
from edgehone.decision.race import Advantage
from edgehone.evaluation import speed
from edgehone.execution.store import JobResult
from edgehone.optimize.context import RunContext
from edgehone.optimize.evaluate import speed_rounds
from edgehone.optimize.original import Original
from edgehone.optimize.search.clock import Budget, Clock
from edgehone.optimize.search.race import runner
from edgehone.optimize.trial import Trial, guarded


@dataclass
class PairedRounds:
    """The first of `trials` is the incumbent. `weights` are those of the score, `rounds` by key and round number."""

    ctx: RunContext
    original: Original
    weights: Mapping[str, float]
    trials: list[Trial]
    rounds: dict[str, dict[int, JobResult]] = field(default_factory=dict)

    @property
    def incumbent(self) -> Trial:
        """The trial to beat."""
        return self.trials[0]

    @property
    def challengers(self) -> list[Trial]:
        """The trials that can still beat the incumbent."""
        return [one for one in self.trials[1:] if one.alive and "raced_out" not in one.facts]

    def run_round(self, number: int, limit: Clock | Budget, also: Trial | None = None) -> bool:
        """Run a round of the incumbent, each challenger, and `also`. Returns False if the time ran out first."""
        running = [self.incumbent, *self.challengers, *([also] if also else [])]
        for trial in speed_rounds.in_turn(running, number):
            if limit.over:
                return False
            with guarded(self.ctx, trial):
                done = speed_rounds.speed_round(self.ctx, self.original, trial, number, cold=False)
                limit.spend(done.seconds)
                self.rounds.setdefault(trial.recipe.key, {})[number] = done
                speed_rounds.note_rounds(self.ctx, self.original, trial, self._facts(trial.recipe.key))
        return self.incumbent.alive

    def advantage(self, trial: Trial, looks: int) -> Advantage | None:
        """Return a trial's advantage over the incumbent; its interval holds for `looks` looks at the data."""
        one, incumbent = (
            runner(self.ctx, self.original, each, self.rounds.get(each.recipe.key, {}))
            for each in (trial, self.incumbent)
        )
        return race.advantage(one, incumbent, self.weights, looks)

    def steady(self, trial: Trial) -> bool:
        """Return True if the latency's 95 % interval is within ±3 % of its value."""
        return speed.is_steady(trial.figures["workload_latency_ms"])

    def eliminate(self, trial: Trial, reason: str) -> None:
        """Eliminate a challenger."""
        trial.facts["raced_out"] = reason
        self.ctx.emit(Event(trial.recipe.key, "done", reason))

    def extend(self, trial: Trial, key: str) -> None:
        """Add the rounds run here under `key` to a trial's earlier rounds, and update its figures."""
        if facts := self._facts(key):
            earlier = trial.samples.get("rounds", [])
            speed_rounds.note_rounds(self.ctx, self.original, trial, [*earlier, *facts])

    def _facts(self, key: str) -> list[Mapping[str, object]]:
        return [done.facts for done in self.rounds.get(key, {}).values()]
