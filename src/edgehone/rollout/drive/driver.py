"""Drive a rollout over HAProxy: look at the servers of both versions, judge, and set weights.

The weights are set again at each look, so an HAProxy that was started again with those of its configuration soon has
them. If the driver ends, however it does, the guardian sends every request to the champion, and the rollout stays open:
`edgehone rollout resume` goes on with it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from edgehone.core.errors import InputError
from edgehone.rollout.decision.judge import Judge
from edgehone.rollout.decision.memory import MemorySample
from edgehone.rollout.decision.plan import Plan, Progress, Status
from edgehone.rollout.decision.rules import of_table
from edgehone.rollout.decision.store import Store
from edgehone.rollout.drive.counted import Counter, shuffled
from edgehone.rollout.drive.guardian import Guardian
from edgehone.rollout.drive.haproxy import Balancer

LOOK_SECONDS = 0.5
# How long a server has to answer at /metrics, which no engine delays.
_ASK_SECONDS = 2.0
# Looks in a row that a server of the challenger does not answer before it is rolled back.
_SILENT = 3


class Asked(Protocol):
    """A server whose metrics are read, and which tells what it serves."""

    def metrics(self, seconds: float = 10.0) -> str | None:
        """Return the text of /metrics, waiting for it so long; None if it does not answer."""
        ...

    def told(self, method: str, path: str) -> Any:
        """Return the JSON that it answers to a request. Raises Declined, SetupError."""
        ...


@dataclass(frozen=True)
class Servers:
    """The servers of both versions by their names in HAProxy, and how to reach HAProxy."""

    balancer: Balancer
    champion: Mapping[str, Asked]
    challenger: Mapping[str, Asked]


class Driver:
    """One rollout over HAProxy."""

    def __init__(
        self, plan: Plan, progress: Progress, servers: Servers, store: Store, say: Callable[[str], None]
    ) -> None:
        rules = of_table(plan.rules)
        # Copies of requests are made by a server, not by HAProxy.
        stages = [one for one in rules.strategies[plan.strategy] if not one.shadow]
        if plan.strategy != "ramp" or not stages or stages[0].weight >= 1:
            raise InputError(
                f"over HAProxy there is no strategy {plan.strategy!r}: a challenger is compared while both answer",
                hint="--strategy ramp; its stages are rules (--rules FILE)",
            )
        self.plan, self.progress = plan, progress
        self.judge = Judge(rules, stages)
        if progress.judge is not None:
            self.judge.restore(progress.judge)
        self._servers, self._store, self._say = servers, store, say
        self._champion = {name: Counter(plan.name) for name in servers.champion}
        self._challenger = {name: Counter(plan.name) for name in servers.challenger}
        self._random = random.Random(plan.id)
        self._silent = 0
        self._guardian: Guardian | None = None

    def run(self, ended: Callable[[], bool] = lambda: False) -> Progress:
        """Drive until the rollout has ended, or `ended` says so: then it stays open, and the champion answers.

        Raises Lost if HAProxy does not answer; the guardian then tries on.
        """
        balancer = self._servers.balancer
        balancer.check()
        self._guardian = Guardian(balancer.path, balancer.commands(0.0))
        self._begin("running" if self.progress.status == "starting" else self.progress.status)
        before = time.monotonic()
        while self.progress.status in ("running", "paused") and not ended():
            time.sleep(LOOK_SECONDS)
            now = time.monotonic()
            self._tick(now - before)
            before = now
        if self.progress.status != "promoted":
            balancer.move(0.0)
            self._guardian.done()
        return self.progress

    def _begin(self, status: Status) -> None:
        stage = self.judge.stage
        self._save(("stage", f"{stage.name}: requests"), status=status, weight=stage.weight)
        self._servers.balancer.move(stage.weight)

    def _tick(self, seconds: float) -> None:
        self._wishes()
        if self.progress.status not in ("running", "paused"):
            return
        self._servers.balancer.move(self.judge.stage.weight)
        self._look(seconds)
        if self.progress.status == "running":
            self.judge.passed(seconds)
        verdict = self.judge.verdict()
        if self._silent >= _SILENT:
            self._end("rolled back", "a server of the challenger does not answer")
        elif verdict.action == "roll back":
            self._end("rolled back", verdict.reason)
        elif self.progress.status == "paused" or verdict.action == "wait":
            self._save()
        elif verdict.action == "give up":
            self._end("not enough traffic", verdict.reason)
        elif self.judge.last:
            self._promote(verdict.reason)
        else:
            self._advance(verdict.reason)

    def _advance(self, reason: str) -> None:
        self.judge.advance()
        stage = self.judge.stage
        self._save(("passed", reason), ("stage", f"{stage.name}: requests"), weight=stage.weight)
        self._servers.balancer.move(stage.weight)
        self._say(f"{self.plan.name}: {stage.name} of the requests go to the challenger")

    def _promote(self, reason: str) -> None:
        # The guardian ends before the state says "promoted": else a kill between the two would send the requests back
        # to the champion of a rollout that has ended. Killed after it, the rollout is open, and `resume` ends it.
        assert self._guardian is not None
        self._servers.balancer.move(1.0)
        self._guardian.done()
        self._save(("promoted", reason), status="promoted", reason=reason, weight=1.0)
        servers = ", ".join(self._servers.challenger)
        self._say(
            f"{self.plan.name}: promoted: {reason}. HAProxy keeps these weights until it is started again: give "
            f"{servers} the weight in its configuration"
        )

    def _look(self, seconds: float) -> None:
        errors = self._servers.balancer.errors()
        for name, server in self._servers.champion.items():
            if (text := server.metrics(_ASK_SECONDS)) is not None:
                self._champion[name].look(text, errors[name])
        silent = False
        for name, server in self._servers.challenger.items():
            if (text := server.metrics(_ASK_SECONDS)) is None:
                silent = True
            else:
                self._challenger[name].look(text, errors[name])
        self._silent = self._silent + 1 if silent else 0
        mine, theirs = [*self._challenger.values()], [*self._champion.values()]
        for challenger, outcome in shuffled(theirs, mine, self._random):
            self.judge.outcome(challenger, outcome)
            if challenger and self.judge.verdict().action == "roll back":
                return
        self.judge.sample(MemorySample(_largest(theirs), _largest(mine), None), seconds)

    def _wishes(self) -> None:
        """Do what pause, resume and abort have asked for."""
        wish = self._store.take_wish(self.plan.id)
        if wish == "abort":
            self._end("aborted", "an operator has aborted it")
        elif wish == "pause" and self.progress.status == "running":
            self._save(("paused", f"at {self.judge.stage.name}"), status="paused")
        elif wish == "resume" and self.progress.status == "paused":
            self._save(("resumed", f"at {self.judge.stage.name}"), status="running")

    def _end(self, status: Status, reason: str) -> None:
        self._servers.balancer.move(0.0)
        self._save((status, reason), status=status, reason=reason, weight=0.0)
        self._say(f"{self.plan.name}: {status}, the champion serves on: {reason}")

    def _save(self, *steps: tuple[str, str], **changed: Any) -> None:
        self.progress = replace(
            self.progress, judge=self.judge.to_json(), answered={"challenger": self.judge.total}, **changed
        )
        self._store.save(self.plan.id, self.progress, *steps)


def send_back(balancer: Balancer, store: Store, number: str, progress: Progress) -> None:
    """Abort a rollout whose driver does not run."""
    balancer.move(0.0)
    ended = replace(progress, status="aborted", reason="an operator has aborted it", weight=0.0)
    store.save(number, ended, ("aborted", ended.reason))


def _largest(counters: Sequence[Counter]) -> float | None:
    return max((one.memory for one in counters if one.memory is not None), default=None)
