"""Values and alerts in words, for people."""

from __future__ import annotations

from typing import Any

from edgehone.monitor.alert import Alert
from edgehone.monitor.expression import Quantile, Series, Total, Value


def described(value: Value) -> str:
    """Return what a value is, such as "p95 of edgehone_request_seconds in 300 s"."""
    if isinstance(value, Quantile):
        metric = value.buckets.series.metric.removesuffix("_bucket")
        return f"p{100 * value.q:g} of {metric} in {value.buckets.window_s:g} s"
    if isinstance(value, Total):
        return _total(value)
    share = f"{_series(value.part.series)} / {_series(value.whole.series)} in {value.part.window_s:g} s"
    return f"1 - {share}" if value.rest else share


def alert_json(alert: Alert) -> dict[str, Any]:
    """Return an alert as a certificate has it."""
    bound = {">": "above", "<": "below"}[alert.op]
    return {
        "name": alert.name,
        "symptom": alert.symptom,
        "severity": alert.severity,
        "metric": described(alert.figure),
        bound: alert.limit,
        "unit": alert.unit,
        "for_s": alert.for_s,
        "basis": alert.basis,
    }


def _total(one: Total) -> str:
    series = _series(one.series)
    if one.over == "now":
        return series if one.join == "sum" else f"{one.join} of {series}"
    what = {"increase": "increase", "rate": "rate a second", "least": "minimum"}[one.over]
    return f"{what} of {series} in {one.window_s:g} s"


def _series(series: Series) -> str:
    """Return the metric and its labels, without those that every alert on a model has."""
    labels = [f'{name}=~"{text}"' for name, text in series.where.items()]
    labels += [f'{name}="{text}"' for name, text in series.labels.items() if name != "model"]
    return series.metric + (f"{{{', '.join(labels)}}}" if labels else "")
