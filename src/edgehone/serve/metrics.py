"""Counters for Prometheus. Reading them asks no engine: a scrape never loads, wakes or blocks a model."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from edgehone.serve.buckets import SECONDS, TOKEN_SECONDS
from edgehone.serve.http import Malformed, Refused, Violation

if TYPE_CHECKING:
    from edgehone.serve.model import Model

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


# What is counted of refused requests: by kind the name of the metric and its text.
_SECURITY = {
    "key": ("refused_keys", "Requests without a valid key."),
    "size": ("oversized_requests", "Requests with a head or a body larger than the limits."),
    "form": ("malformed_requests", "Requests that are no HTTP, or whose body cannot be read."),
    "template": (
        "template_violations",
        "Conversations that the chat template refuses, or with control tokens of the model in their texts.",
    ),
}


class OfModel(NamedTuple):
    """The series of one model: times of requests, of first tokens and of further ones, and tokens."""

    seconds: Histogram
    first: Histogram
    token: Histogram
    prompt_tokens: Counter
    generated_tokens: Counter


class Metrics:
    """The metrics of a server. Labels have few values: a client cannot make new ones."""

    def __init__(self, models: Iterable[Model]) -> None:
        own = self._registry = CollectorRegistry()
        self.requests = Counter(
            "edgehone_requests", "Requests by their path and HTTP status.", ("path", "status"), registry=own
        )
        self.seconds = Histogram(
            "edgehone_request_seconds", "Time of a request, waiting included.", ("model",), buckets=SECONDS,
            registry=own,
        )  # fmt: skip
        self.first = Histogram(
            "edgehone_first_token_seconds", "Time to the first token, waiting included.", ("model",),
            buckets=SECONDS, registry=own,
        )  # fmt: skip
        self.token = Histogram(
            "edgehone_token_seconds", "Mean time of a further token of a request.", ("model",),
            buckets=TOKEN_SECONDS, registry=own,
        )  # fmt: skip
        self.prompt_tokens = Counter(
            "edgehone_prompt_tokens", "Tokens of answered prompts.", ("model",), registry=own
        )
        self.generated_tokens = Counter(
            "edgehone_generated_tokens", "Generated tokens.", ("model",), registry=own
        )
        self.together = Histogram(
            "edgehone_batch_requests", "Requests to a graph that were answered in one batch.", ("model",),
            buckets=(1, 2, 4, 8, 16, 32, 64, 128), registry=own,
        )  # fmt: skip
        self._security = {
            kind: Counter(f"edgehone_{name}", text, registry=own) for kind, (name, text) in _SECURITY.items()
        }
        # Finding a series by its labels takes longer than counting in it.
        self._counted = functools.cache(self.requests.labels)
        self._together = functools.cache(self.together.labels)
        self.of = functools.cache(self._of)
        self.register(_State(models))

    def register(self, collector: Collector) -> None:
        """Show the metrics of a collector too. It is asked at each scrape, in the event loop, so it must be quick."""
        self._registry.register(collector)

    def collect(self) -> Iterable[Metric]:
        """Return all metrics as they are now."""
        return self._registry.collect()

    def refused(self, error: Exception) -> None:
        """Count a refused request that indicates an attack or a broken client."""
        if kind := _kind(error):
            self._security[kind].inc()

    def refused_status(self, status: int) -> None:
        """Count what a connection refused, which is no HTTP (400), or whose head is too large (431) or too slow."""
        if kind := {400: "form", 431: "size"}.get(status):
            self._security[kind].inc()

    def violated(self) -> None:
        """Count a conversation with control tokens of the model in its texts."""
        self._security["template"].inc()

    def counted(self, path: str, status: int | str) -> None:
        """Count a request, by the path of its operation."""
        self._counted(path, status).inc()

    def answered(self, model: str, seconds: float, together: int) -> None:
        """Count an answer of a graph, with the number of requests in its batch."""
        self.of(model).seconds.observe(seconds)
        self._together(model).observe(together)

    def _of(self, model: str) -> OfModel:
        return OfModel(
            self.seconds.labels(model),
            self.first.labels(model),
            self.token.labels(model),
            self.prompt_tokens.labels(model),
            self.generated_tokens.labels(model),
        )

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self._registry)


def _kind(error: Exception) -> str | None:
    if isinstance(error, Violation):
        return "template"
    if isinstance(error, Malformed):
        return "form"
    status = error.status if isinstance(error, Refused) else None
    return {401: "key", 413: "size"}.get(status or 0)


class _State(Collector):
    """What holds at the moment of a scrape."""

    def __init__(self, models: Iterable[Model]) -> None:
        self._models = models

    def collect(self) -> Iterable[Metric]:
        """Return the gauges of all models."""
        ready = GaugeMetricFamily("edgehone_ready", "1 if the engine answered a canary.", labels=["model"])
        waiting = GaugeMetricFamily(
            "edgehone_waiting_requests", "Requests without a place yet.", labels=["model"]
        )
        running = GaugeMetricFamily("edgehone_running_requests", "Requests in the engine.", labels=["model"])
        restarts = GaugeMetricFamily(
            "edgehone_engine_restarts", "Restarts of the engine since the server began.", labels=["model"]
        )
        loads = GaugeMetricFamily(
            "edgehone_engine_loads",
            "Times that a request loaded an unloaded model, since it is served.",
            labels=["model"],
        )
        cache = GaugeMetricFamily(
            "edgehone_cache_tokens",
            "Tokens that the engine's KV cache holds of all requests.",
            labels=["model"],
        )
        reserved = GaugeMetricFamily(
            "edgehone_cache_reserved_tokens",
            "Tokens of the prompts and the longest answers of the requests in the engine.",
            labels=["model"],
        )
        for model in self._models:
            name = [model.name]
            if isinstance(limit := getattr(model.engine, "cache", None), int):
                cache.add_metric(name, limit)
                reserved.add_metric(name, model.admission.reserved)
            ready.add_metric(name, float(model.problem is None))
            waiting.add_metric(name, model.admission.waiting)
            running.add_metric(name, model.admission.running)
            restarts.add_metric(name, model.engine.restarts)
            loads.add_metric(name, model.loads)
        return [ready, waiting, running, restarts, loads, cache, reserved]
