"""A/B tests in a server: the value of a request by metric, and when a test ends."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

from edgehone.rollout.decision.effect import AbTest
from edgehone.rollout.decision.judge import Judge
from edgehone.rollout.decision.outcome import Outcome
from edgehone.rollout.decision.plan import Plan, Status
from edgehone.rollout.decision.rules import Rules

METRICS: Final[Mapping[str, Callable[[Outcome], float | None]]] = {
    "latency": lambda seen: math.log(max(seen.seconds, 1e-6)) if seen.seconds is not None else None,
    "errors": lambda seen: None if seen.failed is None else float(seen.failed),
    "confidence": lambda seen: seen.entropy,
    "feedback": lambda seen: seen.bad,
}


class MetricTest:
    """The test of a plan's metric."""

    def __init__(self, plan: Plan, rules: Rules, stored: Mapping[str, Any] | None) -> None:
        """`stored` is what `to_json` returned in an earlier run of the server."""
        self._metric, self._rules = plan.metric, rules
        self._test = AbTest(rules.ab.scales[plan.metric], rules.ab.alpha, rules.ab.least_requests)
        if stored is not None:
            self._test.restore(stored)

    def add(self, challenger: bool, seen: Outcome) -> None:
        """Add a request, unless it has no value of the metric."""
        value = METRICS[self._metric](seen)
        if value is not None:
            self._test.add(challenger, value)

    def end(self, judge: Judge) -> tuple[Status, str] | None:
        """Return how the test ends, and why; None if it goes on."""
        found, stage = self._test.effect, judge.stage
        if self._test.shown and judge.seconds >= stage.seconds and judge.requests >= stage.requests:
            return (
                "finished",
                f"{self._metric}: the challenger is shown to be {self._test.shown}: {self._words()}",
            )
        unshown = f"{self._metric}: no difference is shown: {self._words()}"
        if min(found.champion_requests, found.challenger_requests) >= self._rules.ab.most_requests:
            return "finished", unshown
        return ("not enough traffic", unshown) if judge.seconds >= self._rules.patience_seconds else None

    def told(self) -> dict[str, Any]:
        """Return effect, interval and p for people and programs."""
        return {**self._test.effect.to_json(), "metric": self._metric}

    def to_json(self) -> dict[str, Any]:
        """Return the state as JSON data."""
        return self._test.to_json()

    def _words(self) -> str:
        found = self._test.effect
        if found.value is None or found.low is None or found.high is None:
            return f"{found.champion_requests} and {found.challenger_requests} requests are too few"
        return (
            f"effect {found.value:+.4f} ({100 * (1 - self._test.alpha):g} % interval {found.low:+.4f} to "
            f"{found.high:+.4f}, p {found.p:.2g}; {found.champion_requests} and {found.challenger_requests} requests)"
        )
