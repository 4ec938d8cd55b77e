"""A running rollout: it passes observations of both versions to the judge, and carries out the judge's verdicts.

Everything happens in the server's event loop. A decision that gives the challenger more requests is
written to disk first; one that gives it fewer takes effect first.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edgehone.core.errors import SetupError
from edgehone.rollout.decision.judge import Judge
from edgehone.rollout.decision.outcome import Outcome, outcome_of
from edgehone.rollout.decision.plan import Plan, Progress, Status
from edgehone.rollout.decision.rules import of_table
from edgehone.rollout.decision.store import Store
from edgehone.serve.model import Model
from edgehone.serve.observation import Feedback, Observation
from edgehone.serve.record import Record
from edgehone.serve.rollout.ab import MetricTest
from edgehone.serve.rollout.copies import Exchange
from edgehone.serve.rollout.seen import Answered, badness, memory_sample, outcomes_of_copy
from edgehone.serve.rollout.split import Challenger, Split

TICK = 0.1
_SAMPLE_SECONDS = 1.0
_SAVE_SECONDS = 1.0


@dataclass(frozen=True)
class Controls:
    """Functions by which a rollout changes the server: shadow a challenger, promote it, retire it, say a text."""

    shadow: Callable[[bool], None]
    promote: Callable[[], None]
    retire: Callable[[], None]
    say: Callable[[str], None]


class Running:
    """One rollout. It observes the requests of its name."""

    def __init__(
        self, plan: Plan, progress: Progress, champion: Model, challenger: Model, split: Split, store: Store,
        controls: Controls,
    ) -> None:  # fmt: skip
        rules = of_table(plan.rules)
        self.plan, self.champion, self.challenger = plan, champion, challenger
        self.judge = Judge(rules, rules.strategies[plan.strategy])
        self.status: Status = progress.status
        self.reason, self.interruptions = progress.reason, progress.interruptions
        self.answered = {"champion": 0, "challenger": 0, "copies": 0, **progress.answered}
        self.ab = MetricTest(plan, rules, progress.ab) if plan.strategy == "ab" else None
        if progress.judge is not None:
            self.judge.restore(progress.judge)
        self._split, self._store, self._controls = split, store, controls
        sticky = plan.sticky.lower().encode() if plan.sticky else None
        self._routed = Challenger(challenger, 0.0, sticky, plan.id, plan.strategy == "ab")
        self._answers = Answered()
        self._saved_at = self._sampled_at = time.monotonic()
        self._unwritten: tuple[str, str] | None = None  # the last step, if the disk did not take it
        self.ended = asyncio.Event()

    def begin(self) -> None:
        """Begin, or go on, with the stage that the judge is at. The challenger's engine is ready."""
        status: Status = "paused" if self.status == "paused" else "running"
        self.status = status
        stage = self.judge.stage
        self._save(
            ("stage", f"{stage.name}: {'copies of requests' if stage.shadow else 'requests'}"),
            weight=stage.weight,
        )
        self._split.add(self.plan.name, self._routed)
        self._move()

    async def run(self) -> None:
        """Watch until the rollout has ended. Raises SetupError if its evidence cannot be written."""
        before = time.monotonic()
        while not self.ended.is_set():
            await asyncio.sleep(TICK)
            # Not the wall clock, which may be set.
            now = time.monotonic()
            if self.status == "running":
                self.judge.passed(now - before)
            before = now
            if now - self._sampled_at >= _SAMPLE_SECONDS:
                await self._sample(now - self._sampled_at)
                self._sampled_at = now
            self._decide()
            if now - self._saved_at >= _SAVE_SECONDS and not self.ended.is_set():
                self._save()

    async def written(self) -> None:
        """Wait until the end is on disk: else the next run of the server would go on with the rollout."""
        while self._unwritten:
            await asyncio.sleep(_SAVE_SECONDS)
            self._write_end(*self._unwritten)

    def observe(self, seen: Observation) -> None:
        """Take a request. One that counts for neither version has another id."""
        if self.ended.is_set() or seen.model != self.plan.name:
            return
        challenger = seen.version == self.challenger.id
        if not challenger and seen.version != self.champion.id:
            return
        self.answered["challenger" if challenger else "champion"] += 1
        if seen.id:
            self._answers.add(seen.id, challenger)
        found = outcome_of(seen.status, seen.seconds, seen.entropy)
        if found is None:
            return
        # In the shadow stage pairs are compared; but who is compared must be known from the first request on.
        if not self.judge.stage.shadow:
            self._take(challenger, found)
        elif not challenger:
            self.judge.reference(found)

    def feedback(self, seen: Feedback) -> None:
        """Take a client's feedback on an answer."""
        challenger, bad = self._answers.challenger(seen.id), badness(seen)
        if challenger is None or bad is None or self.ended.is_set() or self.judge.stage.shadow:
            return
        self._take(challenger, Outcome(bad=bad))

    def copied(self, exchange: Exchange, copy: Record, answer: bytes) -> None:
        """Take a request that the challenger was sent a copy of."""
        if self.ended.is_set() or not self.judge.stage.shadow:
            return
        self.answered["copies"] += 1
        if found := outcomes_of_copy(exchange, copy, answer):
            self.judge.pair(*found)
            self._go_back_if_worse()

    def pause(self) -> None:
        """Stay at this stage. The challenger is still rolled back if it is worse."""
        self.status = "paused"
        self._save(("paused", f"at {self.judge.stage.name}"))

    def resume(self) -> None:
        """Go on."""
        self.status = "running"
        self._save(("resumed", f"at {self.judge.stage.name}"))

    def end(self, status: Status, reason: str) -> None:
        """End with the champion: no further request goes to the challenger, even if the disk is full."""
        if self.ended.is_set():
            return
        self._split.remove(self.plan.name)
        self._routed.weight = 0.0
        self.status, self.reason = status, reason
        self.ended.set()
        self._controls.retire()
        self._controls.say(
            f"{self.plan.name}: the rollout has ended ({status}), the champion serves on: {reason}"
        )
        self._write_end(status, reason)

    def interrupt(self) -> None:
        """Stop because the server ends. The rollout stays open on disk, for the next run of the server."""
        if not self.ended.is_set():
            self.ended.set()
            self._save()

    def progress(self) -> Progress:
        """Return how far the rollout is."""
        ab = self.ab.to_json() if self.ab else None
        return Progress(
            self.status, self.reason, self._routed.weight, self.interruptions, self.judge.to_json(), ab,
            dict(self.answered),
        )  # fmt: skip

    def told(self) -> dict[str, Any]:
        """Return the figures that are shown while it runs, besides what is on disk."""
        return {
            "status": self.status,
            "reason": self.reason,
            "stage": self.judge.stage.name,
            "weight": self._routed.weight,
            "seconds": self.judge.seconds,
            "requests": self.judge.requests,
            "answered": dict(self.answered),
            "waits_for": "; ".join(self.judge.lacking()) or None,
            "figures": self.judge.figures(),
            "memory": self.judge.memory.to_json(),
            "effect": self.ab.told() if self.ab else None,
        }

    def _take(self, challenger: bool, seen: Outcome) -> None:
        self.judge.outcome(challenger, seen)
        if self.ab:
            self.ab.add(challenger, seen)
        if challenger:
            self._go_back_if_worse()

    def _go_back_if_worse(self) -> None:
        """Roll back if that is the verdict. This is checked after each request, everything else by `run`."""
        engine = self.challenger.engine
        if engine.problem is not None or engine.restarts:
            self.end("rolled back", f"its engine does not run: {engine.ended or engine.problem}")
        elif (verdict := self.judge.verdict()).action == "roll back":
            self.end("rolled back", verdict.reason)

    def _decide(self) -> None:
        if self.ended.is_set():
            return
        self._go_back_if_worse()
        if self.status != "running":
            return
        if self.ab is not None:
            if found := self.ab.end(self.judge):
                self.end(*found)
            return
        verdict = self.judge.verdict()
        if verdict.action == "give up":
            self.end("not enough traffic", verdict.reason)
        elif verdict.action == "advance":
            self._advance(verdict.reason)

    def _advance(self, reason: str) -> None:
        if self.judge.last:
            if self.judge.stage.shadow:  # the strategy of copies alone
                self.end("finished", reason)
            else:
                self._promote(reason)
            return
        self.judge.advance()
        stage = self.judge.stage
        self._save(("passed", reason), ("stage", f"{stage.name}: requests"), weight=stage.weight)
        self._controls.say(
            f"{self.plan.name}: {stage.name} of the requests go to {self.plan.challenger.path}"
        )
        self._move()

    def _promote(self, reason: str) -> None:
        self.status, self.reason = "promoted", reason
        self._save(("promoted", reason), weight=1.0)
        self._split.remove(self.plan.name)
        self._controls.promote()
        self._controls.say(f"{self.plan.name}: {self.plan.challenger.path} is promoted: {reason}")
        self.ended.set()

    def _move(self) -> None:
        """Route the requests as the stage states."""
        stage = self.judge.stage
        self._controls.shadow(stage.shadow)
        self._routed.weight = stage.weight

    def _write_end(self, status: str, reason: str) -> None:
        try:
            self._save((status, reason), weight=0.0)
            self._unwritten = None
        except SetupError as error:
            if self._unwritten is None:
                self._controls.say(f"warning: {error.message}; the end of the rollout is not on disk yet")
            self._unwritten = status, reason

    def _save(self, *steps: tuple[str, str], weight: float | None = None) -> None:
        progress = self.progress()
        if weight is not None:
            progress = Progress(**{**progress.to_json(), "weight": weight})
        self._store.save(self.plan.id, progress, *steps)
        self._saved_at = time.monotonic()

    async def _sample(self, seconds: float) -> None:
        champion, challenger = self.champion.processes["engine"], self.challenger.processes["engine"]
        self.judge.sample(await asyncio.to_thread(memory_sample, champion, challenger), seconds)
