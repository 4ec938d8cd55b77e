"""Use of the server by tenant and route, and its costs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from edgehone.serve.measured.callers import Caller
from edgehone.serve.observation import Feedback, Observation

_LABELS = ("tenant", "route")
# Returns the joules that the processor packages took since the server began; None without a counter.
Joules = Callable[[], float | None]


@dataclass(frozen=True)
class Price:
    """What is charged, in any currency: for 1,000 tokens of prompts and answers, and for a second in the engine."""

    thousand_tokens: float = 0.0
    engine_second: float = 0.0

    def of(self, used: Used) -> float:
        """Return what was used costs."""
        tokens = used.prompt + used.generated
        return self.thousand_tokens * tokens / 1000 + self.engine_second * used.seconds


@dataclass
class Used:
    """What a tenant used by a route. `before` are the seconds at the last reading of energy."""

    requests: int = 0
    prompt: int = 0
    generated: int = 0
    seconds: float = 0.0
    before: float = 0.0
    joules: float = 0.0


@dataclass(eq=False)
class Usage(Collector):
    """An observer and its metrics. Without a price there is no cost, without a counter of joules no energy."""

    joules: Joules
    price: Price = field(default_factory=Price)
    shared: float = 0.0  # joules that were shared out, or were nobody's
    used: dict[Caller, Used] = field(default_factory=dict)

    def observe(self, seen: Observation) -> None:
        """Count a request."""
        used = self.used.get((seen.tenant, seen.route))
        if used is None:
            used = self.used[seen.tenant, seen.route] = Used()
        used.requests += 1
        used.prompt += seen.prompt_tokens
        used.generated += seen.generated_tokens
        used.seconds += seen.engine_seconds

    def feedback(self, seen: Feedback) -> None:
        """Feedback uses nothing."""

    def collect(self) -> Iterable[Metric]:
        """Return the metrics."""
        joules = self.joules()
        if joules is not None:
            self._share(joules - self.shared)
            self.shared = joules
        name = "edgehone_tenant_"
        yield self._counted(
            name + "requests", "Requests to models by the headers.", lambda one: [((), one.requests)]
        )
        yield self._counted(
            name + "tokens",
            "Tokens of answered prompts and of answers by the headers.",
            lambda one: [(("prompt",), one.prompt), (("generated",), one.generated)],
            ["direction"],
        )
        yield self._counted(
            name + "engine_seconds",
            "Seconds for which requests held places in engines, by the headers.",
            lambda one: [((), one.seconds)],
        )
        if self.price != Price():
            yield self._counted(
                name + "cost",
                "What the tokens and seconds cost by the prices of the settings, by the headers.",
                lambda one: [((), self.price.of(one))],
            )
        if joules is not None:
            yield self._counted(
                name + "energy_joules",
                "Energy of the processor packages, shared out by the seconds in engines, by the headers.",
                lambda one: [((), one.joules)],
            )

    def _counted(
        self,
        name: str,
        text: str,
        values: Callable[[Used], Sequence[tuple[tuple[str, ...], float]]],
        more: Sequence[str] = (),
    ) -> Metric:
        found = CounterMetricFamily(name, text, labels=[*_LABELS, *more])
        for caller, used in self.used.items():
            for labels, value in values(used):
                found.add_metric([*caller, *labels], value)
        return found

    def _share(self, joules: float) -> None:
        """Divide the energy since the last call by seconds in the engine. Without a request it is not assigned."""
        spent = {caller: one.seconds - one.before for caller, one in self.used.items()}
        total = sum(spent.values())
        for caller, one in self.used.items():
            one.joules += joules * spent[caller] / total if total else 0.0
            one.before = one.seconds
