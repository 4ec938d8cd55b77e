"""The judge of a rollout: it takes observations of requests and memory, and returns a verdict at any time.

It has no clock and does no I/O. The caller passes the elapsed time, acts on the verdicts and stores the state, so the
same code decides in the server, over HAProxy and in simulations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from edgehone.core.arrays import Array, NDArray, np
from edgehone.rollout.decision.evidence import Evidence
from edgehone.rollout.decision.memory import Memory, MemorySample
from edgehone.rollout.decision.outcome import Outcome, Values, fields_of, limits_of, values_of
from edgehone.rollout.decision.rules import Objective, Rules, Stage
from edgehone.rollout.decision.totals import Totals, champion_levels

Action = Literal["wait", "advance", "roll back", "give up"]
# Longest step of time, in seconds: a suspended machine has observed no requests in the meantime.
_LONGEST_STEP = 5.0


@dataclass(frozen=True)
class Verdict:
    """What to do, and the reason as a sentence for users."""

    action: Action
    reason: str


class Judge:
    """Judges the stages of one rollout in their order."""

    def __init__(self, rules: Rules, stages: Sequence[Stage]) -> None:
        self.rules, self.stages = rules, tuple(stages)
        self.at = 0  # the stage
        self.seconds = 0.0  # of this stage
        self.requests = 0  # of this stage, to the challenger
        self.total = 0  # of the rollout, to the challenger
        self.memory = Memory()
        count = len(rules.objectives)
        self._evidence = Evidence(rules, self.stage.wider)
        self._quality = [at for at, one in enumerate(rules.objectives) if one.role == "quality"]
        self._fields = fields_of(rules)
        self._limits: list[float | None] = [None] * count
        self._baseline: list[float] | None = []
        self._totals = Totals(count)
        # Once the champion answers nothing more: upper and lower bounds of its means.
        self._levels: tuple[Array, Array] | None = None
        self._passed = np.zeros(count, bool)  # shown not to be worse in some stage

    @property
    def stage(self) -> Stage:
        """The stage that runs."""
        return self.stages[self.at]

    def outcome(self, challenger: bool, seen: Outcome) -> None:
        """Take a request that one of the versions has answered."""
        values = self._values(challenger, seen)
        if self._levels is None:
            self._evidence.add(challenger, values)
        elif challenger:
            # Worse than what the champion's level is at most; not worse than what it is at least.
            found, (most, least) = _array(values), self._levels
            self._evidence.bet(found - most, found - least)

    def pair(self, champion: Outcome, challenger: Outcome) -> None:
        """Take a request that the champion has answered and the challenger a copy of."""
        theirs, mine = self._values(False, champion), self._values(True, challenger)
        absolute = np.array([one.absolute for one in self.rules.objectives])
        self._evidence.bet(_array(mine) - np.where(absolute, 0.0, _array(theirs)))

    def reference(self, champion: Outcome) -> None:
        """Take an answer of the champion that is compared with none, for the limits of times only.

        A slow challenger answers few copies, so limits from the answers that were copied would come late. One that was
        copied is taken twice, which moves the limits by less than they are imprecise.
        """
        if self._baseline is not None and champion.seconds is not None:
            self._baseline.append(champion.seconds)
            if len(self._baseline) >= self.rules.baseline_requests:
                self._limits = limits_of(self.rules, self._baseline)
                self._baseline = None

    def sample(self, memory: MemorySample, seconds: float) -> None:
        """Take a sample of the memory, so many seconds after the last one."""
        self.memory.add(memory, seconds, self.rules.memory, self.rules.leak, leaks=self.stage.weight < 1)

    def passed(self, seconds: float) -> None:
        """So many seconds have passed in which requests were observed."""
        self.seconds += min(max(seconds, 0.0), _LONGEST_STEP)

    def verdict(self) -> Verdict:
        """Return what to do now."""
        if reason := self._worse() or self.memory.problem(
            self.rules.memory, self.rules.leak, self._leak_alpha()
        ):
            return Verdict("roll back", reason)
        if self._passes():
            return Verdict("advance", f"{self.stage.name}: shown not to be worse in {self.requests} requests")
        if self.seconds >= self.rules.patience_seconds:
            return Verdict("give up", f"not enough traffic at {self.stage.name}: {'; '.join(self.lacking())}")
        return Verdict("wait", "")

    def lacking(self) -> list[str]:
        """Return what the stage still lacks before it has passed. No data is never taken for success."""
        stage, found, objectives = self.stage, [], self.rules.objectives
        if self.requests < stage.requests:
            found.append(f"{self.requests} of {stage.requests} requests to the challenger")
        if self.seconds < stage.seconds:
            found.append(f"{self.seconds:.0f} of {stage.seconds:g} s")
        shown = self._shown()
        found += [self._open(at, objectives[at]) for at in self._required() if not shown[at]]
        if self._quality and not (shown | self._passed)[self._quality].any():
            names = "; ".join(self._open(at, objectives[at]) for at in self._quality)
            found.append(f"no quality is shown yet ({names})")
        return found

    def _passes(self) -> bool:
        """Return whether nothing is lacking."""
        if self.requests < self.stage.requests or self.seconds < self.stage.seconds:
            return False
        shown = self._shown()
        quality = not self._quality or (shown | self._passed)[self._quality].any()
        return bool(quality and shown[self._required()].all())

    def _required(self) -> list[int]:
        """Return the objectives that this stage must show. Without the champion's answers, times cannot be compared."""
        return [
            at for at, one in enumerate(self.rules.objectives)
            if one.role == "required" and (self._levels is None or one.quantile is None)
        ]  # fmt: skip

    def advance(self) -> None:
        """Begin the next stage. Before the last one, in which the champion answers nothing, its level is fixed."""
        self._passed |= self._shown()
        self.at += 1
        self.seconds, self.requests = 0.0, 0
        self._evidence.next_stage(self.stage.wider)
        self.memory.next_stage()
        if self.stage.weight >= 1:
            self._levels = champion_levels(self.rules, self._totals)

    @property
    def last(self) -> bool:
        """Whether no stage follows."""
        return self.at + 1 == len(self.stages)

    def figures(self) -> list[dict[str, Any]]:
        """Return each objective's figures: means and numbers of both versions, evidence and what it must reach."""
        worse, better = self._evidence.worse, self._evidence.not_worse
        totals = self._totals
        return [
            {
                "objective": one.name,
                "champion": None if one.absolute else totals.mean(False, at),
                "champion_requests": totals.number(False, at),
                "challenger": totals.mean(True, at),
                "challenger_requests": totals.number(True, at),
                "limit_seconds": self._limits[at],
                "worse": float(worse[at]),
                "worse_needs": self._threshold(one),
                "not_worse": float(better[at]),
                "not_worse_needs": self._needs,
                "reason": None if totals.number(True, at) else "no data",
            }
            for at, one in enumerate(self.rules.objectives)
        ]

    def to_json(self) -> dict[str, Any]:
        """Return the state as JSON data."""
        return {
            "at": self.at, "seconds": self.seconds, "requests": self.requests, "total": self.total,
            "memory": self.memory.to_json(), "evidence": self._evidence.to_json(),
            "limits": self._limits, "baseline": self._baseline,
            "sums": self._totals.sums, "numbers": self._totals.numbers,
            "levels": None if self._levels is None else [_values(one) for one in self._levels],
            "passed": self._passed.tolist(),
        }  # fmt: skip

    def restore(self, data: Mapping[str, Any]) -> None:
        """Restore the state that `to_json` returned. Raises ValueError or KeyError if it does not fit the rules."""
        if not 0 <= data["at"] < len(self.stages):
            raise ValueError(f"the stored rollout is at stage {data['at']} of {len(self.stages)}")
        self._evidence.next_stage(self.stages[data["at"]].wider)
        self._evidence.restore(data["evidence"])
        self.at, self.seconds = int(data["at"]), float(data["seconds"])
        self.requests, self.total = int(data["requests"]), int(data["total"])
        self.memory = Memory.from_json(data["memory"])
        self._limits = data["limits"]
        self._baseline = data["baseline"]
        self._totals.sums, self._totals.numbers = data["sums"], data["numbers"]
        levels = data["levels"]
        self._levels = None if levels is None else (_array(levels[0]), _array(levels[1]))
        self._passed = np.array(data["passed"], bool)

    def _values(self, challenger: bool, seen: Outcome) -> Values:
        """Return the values of a request, and count them."""
        if not challenger:
            self.reference(seen)
        values = values_of(self._fields, self._limits, seen, self.stage.slack)
        self._totals.add(challenger, values)
        if challenger and seen.failed is not None:
            self.requests += 1
            self.total += 1
        return values

    def _shown(self) -> NDArray[np.bool_]:
        return np.asarray(self._evidence.not_worse >= self._needs)

    @property
    def _needs(self) -> float:
        """The evidence that shows an objective not to be worse."""
        return 1 / ((1 - self.rules.level_share) * self.rules.promote_alpha)

    def _threshold(self, one: Objective) -> float:
        return 1 / ((1 - self.rules.level_share) * one.share * self.rules.alpha)

    def _leak_alpha(self) -> float:
        return self.rules.leak.share * self.rules.alpha / len(self.stages)

    def _worse(self) -> str | None:
        evidence = self._evidence.worse
        for at, one in enumerate(self.rules.objectives):
            if evidence[at] >= self._threshold(one):
                return f"{one.name}: shown to be worse: {self._totals.compared(at, one)} (evidence {evidence[at]:.0f})"
        return None

    def _open(self, at: int, one: Objective) -> str:
        if not self._evidence.stage_blocks[at]:
            return f"{one.name}: no data"
        return f"{one.name}: evidence {self._evidence.not_worse[at]:.2g} of {self._needs:.3g}"


def _array(values: Values) -> Array:
    return np.array([np.nan if one is None else one for one in values])


def _values(array: Array) -> Values:
    return [None if np.isnan(one) else one for one in array.tolist()]
