"""The facts about a model's drift for GET /admin/watch."""

from __future__ import annotations

from typing import Any

from edgehone.serve.drift.model_watch import EVALUATION, TRAFFIC, ModelWatch


def told(watch: ModelWatch) -> dict[str, Any]:
    """Return the signal of both comparisons as JSON data, and what requests are compared with."""
    signals = watch.signals
    evidence = [
        {**one, "reference": reference}
        for reference, signal in signals.items()
        for one in signal.to_json()["evidence"]
    ]
    ignored: dict[str, int] = {}
    for signal in signals.values():
        for name, count in signal.ignored.items():
            ignored[name] = max(count, ignored.get(name, 0))
    alarms = [f"{signal.summary} (against the {name})" for name, signal in signals.items() if signal.alarm]
    return {
        "alarm": bool(alarms),
        "since": watch.since,
        "requests": watch.requests,
        "evidence": evidence,
        "ignored": ignored,
        "summary": "; ".join(alarms) or f"no drift in {watch.requests} requests",
        "references": {EVALUATION: _evaluation(watch), TRAFFIC: _traffic(watch)},
        "approved": watch.approved or None,
    }


def _evaluation(watch: ModelWatch) -> dict[str, Any]:
    found: dict[str, Any] = {
        "samples": watch.evaluated.reference.samples if watch.evaluated.reference else None,
        "alarms": watch.counts,
        "features": list(watch.evaluated.features),
        "reason": "an operator approved other traffic" if watch.approved else watch.evaluated.reason or None,
    }
    if watch.evaluation is not None and not watch.counts:
        found["differs"] = watch.evaluation.signal.summary
    return found


def _traffic(watch: ModelWatch) -> dict[str, Any]:
    wanted = watch.rules.requests
    if watch.traffic is not None:
        return {"samples": watch.traffic.reference.samples, "alarms": True, "reason": None}
    reason = watch.refused or f"{watch.collected} of {wanted} samples are collected"
    return {"samples": None, "alarms": False, "reason": reason}
