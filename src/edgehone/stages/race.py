"""The race: contenders run heat after heat, and whoever can no longer win stops costing time.

A heat is a round of each contender, close together in time. `decide.race` says who is beaten, `decide.gates.hopeless`
who cannot pass. Whoever is out keeps the figures read so far, is judged by the gates as all are, and has the reason in
`facts["raced_out"]`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgehone.decide import race
from edgehone.decide.decide import derive
from edgehone.decide.gates import hopeless
from edgehone.decide.race import Runner
from edgehone.decide.requirements import Requirements
from edgehone.events import Event
from edgehone.jobs.store import JobResult
from edgehone.measure import speed
from edgehone.stages import measure
from edgehone.stages.bench import Bench
from edgehone.stages.clock import Clock
from edgehone.stages.kinds import judge_of
from edgehone.stages.original import Original
from edgehone.stages.trial import Trial, guarded


class Race:
    """Who runs, and the rounds of each by the number of the heat."""

    def __init__(
        self, bench: Bench, original: Original, required: Requirements, aims: Sequence[Mapping[str, float]]
    ) -> None:
        """`aims` are weights of the objectives: one set is a score, several are aims that none is given up for."""
        self._bench, self._original, self._required, self._aims = bench, original, required, aims
        self._rounds: dict[str, dict[int, JobResult]] = {}
        self._trials: list[Trial] = []
        self._heat = 0

    @property
    def running(self) -> list[Trial]:
        """Those who can still win."""
        return [t for t in self._trials if t.alive and "raced_out" not in t.facts]

    def run(self, newcomers: Sequence[Trial], clock: Clock, least: int) -> None:
        """Let newcomers join, and run `least` heats, fewer if the time runs out or nothing is left to find out."""
        joining = [trial for trial in newcomers if trial.alive]
        for trial in [*([self._original.baseline] if not self._heat else []), *joining]:
            measure.measure_memory(self._bench, self._original, trial)
            self._rounds[trial.recipe.key] = {}
        self._trials += joining
        self._judge()
        for _ in range(least):
            if clock.over or self.settled:
                return
            self._run_heat()
            self._judge()

    def seen(self, trials: Sequence[Trial]) -> tuple[Trial, list[Trial]]:
        """The baseline and `trials` as they were read."""
        return self._original.baseline, list(trials)

    @property
    def settled(self) -> bool:
        """Whether further heats would tell nothing: each is steady, or has run as often as the effort allows."""
        return not any(self._wants(trial) for trial in [self._original.baseline, *self.running])

    def _wants(self, trial: Trial) -> bool:
        done = len(self._rounds[trial.recipe.key])
        if not trial.alive or done >= self._bench.depth.rounds:
            return False
        return done < measure.LEAST_ROUNDS or not speed.is_steady(trial.figures["workload_latency_ms"])

    def _run_heat(self) -> None:
        """A round of the baseline where it needs one, and of all contenders once one of them does: pairs need both."""
        contenders = self.running if any(self._wants(trial) for trial in self.running) else []
        baseline = [self._original.baseline] if self._wants(self._original.baseline) else []
        for trial in measure.in_turn([*baseline, *contenders], self._heat):
            rounds = self._rounds[trial.recipe.key]
            with guarded(self._bench, trial):
                rounds[self._heat] = measure.speed_round(
                    self._bench, self._original, trial, self._heat, cold=not rounds
                )
                measure.note_rounds(
                    self._bench, self._original, trial, [done.facts for done in rounds.values()]
                )
            self._original.require_baseline()
        self._heat += 1

    def _judge(self) -> None:
        """Take out whoever cannot pass or win any more."""
        baseline = self._original.baseline.candidate()
        for trial in self.running:
            if reason := hopeless(derive(trial.candidate(), baseline), self._required):
                self._out(trial, reason)
        runners = {
            trial.recipe.key: runner(self._bench, self._original, trial, self._rounds[trial.recipe.key])
            for trial in self.running
        }
        for trial in self.running:
            if reason := self._beaten(runners[trial.recipe.key], list(runners.values())):
                self._out(trial, reason)

    def _beaten(self, one: Runner, runners: Sequence[Runner]) -> str | None:
        looks = self._bench.depth.rounds
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
        self._bench.emit(Event(trial.recipe.key, "done", reason))


def runner(bench: Bench, original: Original, trial: Trial, rounds: Mapping[int, JobResult]) -> Runner:
    """What is known of a trial in a race, `rounds` by the number of the heat."""
    judge = judge_of(bench.model)
    asked = judge.asked(original)
    return Runner(
        trial.recipe.key,
        {heat: speed.middle_ms(done.facts) for heat, done in rounds.items()},
        judge.kept_by_window(original, trial),
        trial.figures["peak_memory_bytes"].value if "peak_memory_bytes" in trial.figures else None,
        trial.bytes,
        {heat: 1000 / speed.rate_of(done.facts, asked) for heat, done in rounds.items()},
    )
