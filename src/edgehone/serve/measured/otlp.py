"""Send measurements of language models to an OpenTelemetry collector, by OTLP over HTTP (extra `otel`).

Names, units, attributes and buckets are those of OpenTelemetry's semantic conventions for generative AI (model
servers, and tokens). Graphs have no place in them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from edgehone.core.distributions import version
from edgehone.core.errors import InputError, SetupError
from edgehone.serve.observation import Feedback, Observation

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics import MeterProvider

# Where OpenTelemetry's specification says that a collector is named.
_VARIABLES = ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
# The operations, by the path of the request.
_OPERATIONS: Mapping[str, str] = {
    "/v1/chat/completions": "chat",
    "/v1/responses": "chat",
    "/v1/completions": "text_completion",
    "/v1/embeddings": "embeddings",
}
# Instruments with their units, texts and buckets, as the conventions advise.
_INSTRUMENTS: Mapping[str, tuple[str, str, tuple[float, ...]]] = {
    "gen_ai.server.request.duration": (
        "s", "Generative AI server request duration such as time-to-last byte or last output token.",
        (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92),
    ),
    "gen_ai.server.time_to_first_token": (
        "s", "Time to generate first token for successful responses.",
        (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
    ),
    "gen_ai.server.time_per_output_token": (
        "s", "Time per output token generated after the first token for successful responses.",
        (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5),
    ),
    "gen_ai.client.token.usage": (
        "{token}", "Number of input and output tokens used.", tuple(float(4**power) for power in range(14)),
    ),
}  # fmt: skip
# Seconds of an attempt to send; at the server's end the last one is waited for.
_SECONDS = 2.0


def collector(stated: str | None, environment: Mapping[str, str] = os.environ) -> str | None:
    """Return where metrics are sent: to `stated`, a collector's base URL, or where the environment says; None: nowhere.

    Raises InputError for what is no URL of HTTP.
    """
    if stated is not None:
        if not stated.startswith(("http://", "https://")):
            raise InputError(f"--otlp is {stated!r}", hint="give a URL: --otlp http://collector:4318")
        return stated.rstrip("/") + "/v1/metrics"
    own, base = (environment.get(name) for name in _VARIABLES)
    return own or (base.rstrip("/") + "/v1/metrics" if base else None)


class Otlp:
    """An observer that sends metrics, from a thread of the SDK."""

    def __init__(self, url: str, address: str, port: int, seconds: float | None = None) -> None:
        """`address` and `port` are those of the server. Metrics are sent every so many seconds (None: as
        OTEL_METRIC_EXPORT_INTERVAL says, else 60).

        Raises SetupError without the extra.
        """
        self._provider = _provider(url, seconds)
        meter = self._provider.get_meter("edgehone", version("edgehone"))
        self._duration, self._first, self._token, self._usage = (
            meter.create_histogram(name, unit, text, explicit_bucket_boundaries_advisory=buckets).record
            for name, (unit, text, buckets) in _INSTRUMENTS.items()
        )
        self._server = {"server.address": address, "server.port": port}

    def observe(self, seen: Observation) -> None:
        """Add a request to a model that generates."""
        operation = _OPERATIONS.get(seen.path)
        if operation is None:
            return
        common: dict[str, Any] = {
            "gen_ai.operation.name": operation,
            "gen_ai.provider.name": "edgehone",
            "gen_ai.request.model": seen.model,
            "gen_ai.response.model": seen.model,
            **self._server,
        }
        if seen.status >= 400:
            self._duration(seen.seconds, {**common, "error.type": str(seen.status)})
            return
        self._duration(seen.seconds, common)
        if seen.first_seconds is not None:
            self._first(seen.first_seconds, common)
        if seen.token_seconds is not None:
            self._token(seen.token_seconds, common)
        for kind, count in (("input", seen.prompt_tokens), ("output", seen.generated_tokens)):
            if count:
                self._usage(count, {**common, "gen_ai.token.type": kind})

    def feedback(self, seen: Feedback) -> None:
        """The conventions have no metric of it."""

    def end(self) -> None:
        """Send the remaining metrics if the collector answers soon."""
        with suppress(Exception):  # the SDK raises a bare Exception at its timeout, and logs what failed
            self._provider.shutdown(timeout_millis=1000 * _SECONDS)


def _provider(url: str, seconds: float | None) -> MeterProvider:
    try:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
        from opentelemetry.sdk.resources import Resource
    except ModuleNotFoundError as error:
        raise SetupError(
            f"sending metrics to {url} needs the package {error.name}, which is not installed",
            hint='pip install "edgehone[otel]"',
        ) from error
    own = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": "edgehone"}
    every = None if seconds is None else 1000 * seconds
    reader = PeriodicExportingMetricReader(OTLPMetricExporter(url, timeout=_SECONDS), every)
    resource = Resource.create({**own, "service.version": version("edgehone")})
    return MeterProvider([reader], resource, shutdown_on_exit=False)


def sender(
    stated: str | None, address: str, port: int, say: Callable[[str], None], seconds: float | None = None
) -> Otlp | None:
    """Return the exporter of metrics; None if no collector is named.

    Without the extra it is an error if --otlp asks, and a warning if only the environment does, which is not the
    server's own.
    """
    if (url := collector(stated)) is None:
        return None
    try:
        return Otlp(url, address, port, seconds)
    except SetupError as error:
        if stated is not None:
            raise
        say(f"warning: {error.message}; {error.hint}")
        return None
