"""What to watch in operation: baselines that were measured here, and the thresholds of alerts derived from them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from edgehone.certify.found import Skipped
from edgehone.certify.performance import measured_memory, measured_speed
from edgehone.certify.serving import BELOW, Loads, loads
from edgehone.certify.subject import Subject
from edgehone.core.errors import EdgehoneError
from edgehone.serve.load.loads import quantile, served

_FIGURES = (
    "workload_latency_ms", "undisturbed_p50_ms", "undisturbed_p95_ms", "undisturbed_p99_ms", "ttft_ms",
    "decode_tokens_per_s", "requests_per_s",
)  # fmt: skip


def monitoring(subject: Subject) -> dict[str, Any]:
    """Return `baselines` (figures by name) and `alerts` (metric of /metrics or of the process, limit, duration)."""
    baselines: dict[str, Any] = {}
    alerts: list[dict[str, Any]] = []
    try:
        speed = subject.once(measured_speed)
        for name in _FIGURES:
            if (figure := speed.figures.get(name)) is not None and figure.value is not None:
                baselines[name] = figure.to_json()
    except (EdgehoneError, Skipped) as error:
        baselines["speed"] = {"value": None, "reason": str(error)}
    try:
        peak = subject.once(measured_memory)["peak_memory_bytes"]
        baselines["peak_memory_bytes"] = peak.to_json()
    except (EdgehoneError, Skipped) as error:
        baselines["memory"] = {"value": None, "reason": str(error)}
    try:
        served_loads = subject.once(loads)
        baselines |= _served(served_loads)
        alerts += _alerts(subject, served_loads)
    except (EdgehoneError, Skipped) as error:
        baselines["serving"] = {"value": None, "reason": str(error)}
    return {"baselines": baselines, "alerts": alerts}


def _served(found: Loads) -> dict[str, Any]:
    seconds = [one.seconds for one in served(found.below)]
    named = {
        "served_requests_per_s": (found.capacity, "requests/s"),
        "served_p50_s": (quantile(seconds, 0.5), "s"),
        "served_p95_s": (quantile(seconds, 0.95), "s"),
        "served_memory_mb": (found.memory_before, "MB"),
        "ready_s": (found.ready, "s"),
    }
    return {
        name: {"value": value, "unit": unit, "n": len(seconds), "load": f"{BELOW:g} times the capacity"}
        for name, (value, unit) in named.items()
        if not math.isnan(value)
    }


def _alerts(subject: Subject, found: Loads) -> Iterator[dict[str, Any]]:
    """Yield alerts on what `edgehone serve` tells at /metrics; `for_s` keeps single requests from alarming."""
    limits = subject.profile.monitoring
    seconds = [one.seconds for one in served(found.below)]
    metric = "edgehone_request_seconds"
    for name, q in (("p50", 0.5), ("p95", 0.95)):
        if seconds:
            limit = limits.latency * quantile(seconds, q)
            yield {
                "name": f"latency_{name}",
                "metric": metric,
                "quantile": q,
                "above": limit,
                "unit": "s",
                "for_s": 300,
            }
    yield {
        "name": "error_rate",
        "metric": 'edgehone_requests_total{status=~"5.."} / edgehone_requests_total',
        "above": limits.error_rate,
        "unit": "share",
        "for_s": 120,
    }
    yield {
        "name": "refused",
        "metric": 'edgehone_requests_total{status="429"}',
        "above": limits.error_rate,
        "unit": "share",
        "for_s": 300,
    }
    yield {
        "name": "memory",
        "metric": "resident memory of the server and its children",
        "above": limits.memory * found.memory_before,
        "unit": "MB",
        "for_s": 300,
    }
    yield {
        "name": "throughput",
        "metric": "requests per second at full load",
        "below": limits.throughput * found.capacity,
        "unit": "requests/s",
        "for_s": 300,
    }
    yield {"name": "not_ready", "metric": "edgehone_ready", "below": 1, "unit": "", "for_s": 30}
    yield {
        "name": "restarts",
        "metric": "increase of edgehone_engine_restarts",
        "above": 0,
        "unit": "in 1 h",
        "for_s": 0,
    }
