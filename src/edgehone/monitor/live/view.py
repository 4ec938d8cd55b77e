"""Activity of a server in the last minute, from two scrapes of /metrics."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from edgehone.monitor.exposition import samples
from edgehone.serve.history.figures import Labels, Reading, Series, figures

_COUNTERS = tuple(
    f"edgehone_{name}_total"
    for name in (
        "failures", "generated_tokens", "prompt_tokens", "cpu_seconds", "refused_keys", "oversized_requests",
        "malformed_requests", "template_violations",
    )
)  # fmt: skip
_HISTOGRAMS = tuple(
    f"edgehone_{name}_seconds_bucket" for name in ("request", "first_token", "token")
)  # fmt: skip
_GAUGES = tuple(
    f"edgehone_{name}"
    for name in (
        "ready", "waiting_requests", "running_requests", "engine_restarts", "resident_memory_bytes", "drift_alarm",
        "drift_log10_evidence", "changed_files", "machine_memory_available_bytes", "machine_temperature_celsius",
        "machine_cpu_pressure_ratio", "machine_throttled", "disk_free_bytes",
    )
)  # fmt: skip
_KINDS = {
    **dict.fromkeys(_COUNTERS, "counter"),
    **dict.fromkeys(_HISTOGRAMS, "histogram"),
    **dict.fromkeys(_GAUGES, "gauge"),
}
# Of the reasons of failures: the server's own fault, and refused because too many waited.
_FAILED, _REFUSED = ("engine", "late"), ("full",)


@dataclass(frozen=True)
class ModelView:
    """A model. Rates are per second, `drift` is the largest evidence of a detector, as a power of ten.

    What is not known is None: rates and quantiles before the second scrape, quantiles without a request in the last
    minute, tokens of graphs, drift of a bundle without a reference.
    """

    name: str
    ready: bool
    problem: str | None
    requests_per_s: float | None
    failed_per_s: float | None
    refused_per_s: float | None
    p50_s: float | None
    p95_s: float | None
    p99_s: float | None
    first_token_p95_s: float | None
    token_p50_s: float | None
    tokens_per_s: float | None
    waiting: float
    running: float
    restarts: float
    processors: float | None
    memory_bytes: float | None
    drift: float | None
    drift_by: str | None
    drift_alarms: tuple[str, ...]
    changed_files: float | None


@dataclass(frozen=True)
class AlertView:
    """An alert that fires or, if `pending`, holds but not for its time yet. `since_s`: for how long it has held."""

    name: str
    severity: str
    labels: Mapping[str, str]
    figure: float | None
    limit: float
    unit: str
    since_s: float
    pending: bool
    says: str
    do: str


@dataclass(frozen=True)
class View:
    """A server at a time (Unix, seconds).

    `over_s` is the time that rates and quantiles are about. While it does not answer, `unreachable_since` is the time
    of the first scrape that failed, `problem` says why, and the models are those of the last scrape.
    """

    url: str
    at: float
    over_s: float | None = None
    models: tuple[ModelView, ...] = ()
    machine: Mapping[str, float] = field(default_factory=dict)
    attacks_per_min: Mapping[str, float] = field(default_factory=dict)
    alerts: tuple[AlertView, ...] = ()
    unreachable_since: float | None = None
    problem: str | None = None


def reading_in(text: str, at: float) -> Reading:
    """Return the values of a scrape that the view shows. Raises ValueError for text in another format."""
    found = Reading(at)
    for metric, labels, value in samples(text, _KINDS):
        if not math.isnan(value):
            _put(found, metric, labels, value)
    return found


def _put(reading: Reading, metric: str, labels: Labels, value: float) -> None:
    known = dict(labels)
    if _KINDS[metric] == "histogram" and not _is_number(known.get("le", "")):
        raise ValueError(f"a bucket of {metric} without a bound: {known}")
    reading.put(_KINDS[metric], metric, known, value)


def _is_number(text: str) -> bool:
    try:
        return not math.isnan(float(text))
    except ValueError:
        return False


def models_between(
    before: Reading | None, now: Reading, problems: Mapping[str, str]
) -> tuple[ModelView, ...]:
    """Return the models between two readings (before: None at the first); `problems` are those that /readyz tells."""
    found = figures(before or now, now)
    names = sorted(
        dict(labels).get("model", "") for metric, labels in now.gauges if metric == "edgehone_ready"
    )
    return tuple(_model(_Found(found, name), problems.get(name)) for name in names)


def machine_of(now: Reading) -> dict[str, float]:
    """Return the figures of the machine by name: of several zones the hottest, of several disks the fullest."""
    found: dict[str, float] = {}
    for (metric, _), value in now.gauges.items():
        name = metric.removeprefix("edgehone_").removeprefix("machine_")
        if "machine_" in metric:
            found[name] = max(value, found.get(name, value))
        elif metric == "edgehone_disk_free_bytes":
            found[name] = min(value, found.get(name, value))
    return found


def attacks_between(before: Reading | None, now: Reading) -> dict[str, float]:
    """Return how many requests per minute were refused, by reason, without zeros."""
    names = ("refused_keys", "oversized_requests", "malformed_requests", "template_violations")
    found = _Found(figures(before or now, now), None)
    rates = {name: found.sum(f"edgehone_{name}_total", "rate") or 0.0 for name in names}
    return {name: 60 * value for name, value in rates.items() if value}


@dataclass(frozen=True)
class _Found:
    """The figures of a model, or of the whole server."""

    figures: Mapping[Series, float]
    model: str | None

    def all(self, metric: str, stat: str) -> Iterable[tuple[Mapping[str, str], float]]:
        for series, value in self.figures.items():
            labels = dict(series.labels)
            if (series.metric, series.stat) == (metric, stat) and self.model in (None, labels.get("model")):
                yield labels, value

    def sum(
        self, metric: str, stat: str, fits: Callable[[Mapping[str, str]], bool] = lambda labels: True
    ) -> float | None:
        values = [value for labels, value in self.all(metric, stat) if fits(labels)]
        return math.fsum(values) if values else None

    def of_reason(self, reasons: Sequence[str], *, known: bool) -> float | None:
        """Return the rate of failures; 0 without any yet, if rates are known."""
        rate = self.sum("edgehone_failures_total", "rate", lambda labels: labels.get("reason", "") in reasons)
        return rate if rate is not None or not known else 0.0

    def second(self, name: str, stat: str) -> float | None:
        """Return a quantile of a histogram of seconds; of one whose model was asked, there is one series."""
        return self.sum(f"edgehone_{name}_seconds", stat)


def _model(found: _Found, problem: str | None) -> ModelView:
    assert found.model is not None
    rated = any(series.stat == "rate" for series in found.figures)
    requests = found.sum("edgehone_request_seconds", "rate")
    drift = max(
        (
            (value, labels.get("name"))
            for labels, value in found.all("edgehone_drift_log10_evidence", "value")
        ),
        default=(None, None),
        key=lambda one: one[0],
    )
    alarms = sorted(
        labels.get("kind", "") for labels, value in found.all("edgehone_drift_alarm", "value") if value
    )
    return ModelView(
        name=found.model,
        ready=bool(found.sum("edgehone_ready", "value")),
        problem=problem,
        requests_per_s=requests if requests is not None or not rated else 0.0,
        failed_per_s=found.of_reason(_FAILED, known=rated),
        refused_per_s=found.of_reason(_REFUSED, known=rated),
        p50_s=found.second("request", "p50"),
        p95_s=found.second("request", "p95"),
        p99_s=found.second("request", "p99"),
        first_token_p95_s=found.second("first_token", "p95"),
        token_p50_s=found.second("token", "p50"),
        tokens_per_s=found.sum("edgehone_generated_tokens_total", "rate"),
        waiting=found.sum("edgehone_waiting_requests", "value") or 0.0,
        running=found.sum("edgehone_running_requests", "value") or 0.0,
        restarts=found.sum("edgehone_engine_restarts", "value") or 0.0,
        processors=found.sum("edgehone_cpu_seconds_total", "rate"),
        memory_bytes=found.sum("edgehone_resident_memory_bytes", "value"),
        drift=drift[0],
        drift_by=drift[1],
        drift_alarms=tuple(one for one in alarms if one != "any"),
        changed_files=found.sum("edgehone_changed_files", "value"),
    )
