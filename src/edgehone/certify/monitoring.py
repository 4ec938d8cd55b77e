"""What to watch in operation: baselines that were measured here, and the alerts derived from them.

The alerts are those of `edgehone.monitor`, with the factors of the profile.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from edgehone.certify.found import Skipped
from edgehone.certify.graph_runs import CLEAN, graph_runs
from edgehone.certify.performance import measured_memory, measured_speed
from edgehone.certify.serving import BELOW, Loads, loads
from edgehone.certify.subject import Subject
from edgehone.core.errors import EdgehoneError
from edgehone.evaluation import statistics as st
from edgehone.monitor.alert import alerts
from edgehone.monitor.baseline import baselines_in
from edgehone.monitor.scraped import quantile_between
from edgehone.monitor.words import alert_json
from edgehone.serve.load.loads import quantile, served

_FIGURES = (
    "workload_latency_ms", "undisturbed_p50_ms", "undisturbed_p95_ms", "undisturbed_p99_ms", "ttft_ms",
    "decode_tokens_per_s", "requests_per_s",
)  # fmt: skip
_HISTOGRAMS = {
    "served_first_token_p95_s": "edgehone_first_token_seconds",
    "served_token_p95_s": "edgehone_token_seconds",
}
_SERVED = (
    "served_requests_per_s", "served_p50_s", "served_p95_s", *_HISTOGRAMS, "served_memory_bytes",
    "served_model_memory_bytes", "ready_s",
)  # fmt: skip


def monitoring(subject: Subject) -> dict[str, Any]:
    """Return `baselines` (figures by name, or why they are missing), `factors` of limits, and `alerts`.

    An alert without its baseline is left out; `edgehone monitor` names it.
    """
    baselines = {**_speed(subject), **_memory(subject), **_serving(subject), "accuracy": _accuracy(subject)}
    found = {"baselines": baselines, "factors": asdict(subject.profile.monitoring)}
    return {**found, "alerts": [alert_json(one) for one in alerts([baselines_in(found, "MODEL")])]}


def _speed(subject: Subject) -> dict[str, Any]:
    try:
        speed = subject.once(measured_speed)
    except (EdgehoneError, Skipped) as error:
        return {"speed": _missing(error)}
    known = {name: speed.figures[name] for name in _FIGURES if name in speed.figures}
    return {name: figure.to_json() for name, figure in known.items() if figure.value is not None}


def _memory(subject: Subject) -> dict[str, Any]:
    try:
        return {"peak_memory_bytes": subject.once(measured_memory)["peak_memory_bytes"].to_json()}
    except (EdgehoneError, Skipped) as error:
        return {"peak_memory_bytes": _missing(error)}


def _serving(subject: Subject) -> dict[str, Any]:
    try:
        found = subject.once(loads)
    except (EdgehoneError, Skipped) as error:
        return dict.fromkeys(_SERVED, _missing(error))
    return dict(_served(found))


def _served(found: Loads) -> Iterator[tuple[str, Mapping[str, Any]]]:
    seconds = [one.seconds for one in served(found.below)]
    told = {"n": len(seconds), "load": f"{BELOW:g} times the capacity"}
    figures = {
        "served_requests_per_s": (found.capacity, "requests/s"),
        "served_p50_s": (quantile(seconds, 0.5), "s"),
        "served_p95_s": (quantile(seconds, 0.95), "s"),
        **{
            name: (quantile_between(*found.metrics, metric, 0.95), "s")
            for name, metric in _HISTOGRAMS.items()
        },
        "served_memory_bytes": (found.memory_before * 1e6, "bytes"),
        "served_model_memory_bytes": (found.model_memory * 1e6, "bytes"),
        "ready_s": (found.ready, "s"),
    }
    for name, (value, unit) in figures.items():
        if math.isnan(value):
            yield (
                name,
                {"value": None, "reason": f"the server counted none of {told['n']} requests", "unit": unit},
            )
        else:
            yield name, {"value": value, "unit": unit, **told}


def _accuracy(subject: Subject) -> dict[str, Any]:
    """Return the share of classes that are right: what labels sent back to the server are compared with."""
    if subject.is_language:
        return {"value": None, "reason": "answers of language models have no classes that labels could name"}
    try:
        correct = subject.once(graph_runs).correct(CLEAN)
    except (EdgehoneError, Skipped) as error:
        return _missing(error)
    if correct is None:
        return {"value": None, "reason": "the evaluation samples have no classes as labels"}
    return st.mean_interval(correct[1].astype(float)).figure("share").to_json()


def _missing(error: Exception) -> dict[str, Any]:
    return {"value": None, "reason": str(error)}
