"""What Prometheus is asked of the pods of a new version, made from the rules of `edgehone rollout` and from the alerts.

Argo Rollouts judges each measurement three ways: successful, failed, or neither ("inconclusive"), which also is what no
data gives; a rollout with several of those stops for a person. The rules compare the new pods with the old ones, the
alerts compare each new pod with the bundle's certificate.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from edgehone.monitor.alert import Alert, Baselines, alerts
from edgehone.monitor.expression import Quantile, Series, Share, Total, Value
from edgehone.monitor.promql import all_of, number, selector
from edgehone.monitor.table import table
from edgehone.rollout.decision.rules import Objective, Rules, shipped

WINDOW_S: Final = 300  # that of the alerts
INTERVAL_S: Final = 60
COUNT: Final = 10
# A measurement that says neither is repeated so often; then the rollout waits for a person.
_MOST_INCONCLUSIVE: Final = 3
# The alerts that a version can raise by itself within minutes; `errors` of the rules has the refused requests.
_ALERTS: Final = (
    "latency_p95",
    "latency_p50",
    "first_token_p95",
    "token_p95",
    "error_rate",
    "engine_failures",
    "not_ready",
    "restarts",
    "memory",
)
# Statuses that the rules count as errors, of HTTP and of gRPC: 429 and 5xx.
_ERRORS: Final = "429|5..|RESOURCE_EXHAUSTED|INTERNAL|UNAVAILABLE|DEADLINE_EXCEEDED|UNKNOWN"
# Labels of the pods of a version; Argo Rollouts fills in the arguments.
_NAMESPACE: Final = "{{args.namespace}}"
_NEW, _OLD = "{{args.pods}}", "{{args.stable}}"


@dataclass(frozen=True)
class Metric:
    """A metric of an AnalysisTemplate. It succeeds below `good`, and fails from `bad` on; in between it does neither.

    `failures`: so many failed measurements are tolerated.
    """

    name: str
    query: str
    good: float
    bad: float
    says: str
    failures: int = 0


def metrics(model: str, baselines: Baselines | None, is_language: bool) -> tuple[Metric, ...]:
    """Return all metrics for a bundle that is served as `model`. `baselines` are None without a certificate."""
    rules = shipped()
    known = baselines or Baselines(model, {}, {}, reason="the bundle has no certificate")
    chosen = [one for one in alerts([known]) if one.name in _ALERTS]
    return (*_compared(model, rules, is_language), *(_of_alert(one) for one in chosen))


def weights(most_replicas: int) -> tuple[int, ...]:
    """Return the steps of a ramp in percent that so many pods can make: those of the rules, but for the first ones."""
    found = [round(100 * one.weight) for one in shipped().strategies["ramp"]]
    return tuple(one for one in found if one * most_replicas >= 100 and one < 100)


def manifest(metric: Metric, address: str) -> str:
    """Return a metric as an entry of an AnalysisTemplate (YAML)."""
    lines = [
        f"# {metric.says}",
        f"- name: {metric.name.replace('_', '-')}",
        f"  initialDelay: {WINDOW_S}s",
        f"  interval: {INTERVAL_S}s",
        f"  count: {COUNT}",
        f"  failureLimit: {metric.failures}",
        f"  inconclusiveLimit: {_MOST_INCONCLUSIVE}",
        "  consecutiveErrorLimit: 3",
        f"  successCondition: len(result) > 0 && result[0] < {number(metric.good)}",
        f"  failureCondition: len(result) > 0 && result[0] >= {number(metric.bad)}",
        "  provider:",
        "    prometheus:",
        f"      address: {json.dumps(address)}",
        "      query: |",
        *(f"        {line}" for line in metric.query.splitlines()),
    ]
    return "\n".join(lines)


def _compared(model: str, rules: Rules, is_language: bool) -> Sequence[Metric]:
    by_name = {one.name: one for one in rules.objectives}
    least = max(one.requests for one in rules.strategies["ramp"] if not one.shadow and one.weight < 1)
    found = [
        _errors(by_name["errors"], least),
        _latency(by_name["latency"], model, least),
        _tail(by_name["tail"], model, least),
    ]
    if is_language:
        found.append(_confidence(by_name["confidence"], model))
    return [*found, _memory(rules, model)]


def _errors(rule: Objective, least: int) -> Metric:
    path = next(one for one in table().alert if one.name == "error_rate").where["path"]

    def share(pods: str) -> str:
        bad = _grown(Series("edgehone_requests_total", {"path": path, "status": _ERRORS}), pods)
        every = _grown(Series("edgehone_requests_total", {"path": path}), pods)
        return f"({bad} or vector(0)) / ({every} >= {least})"

    says = "the share of requests that fail or are refused, minus that of the old pods"
    return Metric("errors", f"{share(_NEW)}\n- {share(_OLD)}", rule.harm, rule.not_worse, says)


def _latency(rule: Objective, model: str, least: int) -> Metric:
    assert rule.quantile is not None
    limit = f"({number(rule.factor)} * {_quantile(rule.quantile, model, _OLD)} + {number(rule.plus_seconds)})"
    query = f"{_quantile(rule.quantile, model, _NEW)}\n/ {limit}\n{_enough(model, least)}"
    return Metric(
        "latency", query, 1, 1, f"the median, as a share of {rule.factor:g} times that of the old pods"
    )


def _tail(rule: Objective, model: str, least: int) -> Metric:
    """Return the metric of slow requests.

    That a share 1 - q + harm of the requests is above a limit is that the quantile q - harm is. 0: fewer than that are;
    2: more than 1 - q + not_worse are; 1: something in between.
    """
    assert rule.quantile is not None
    limit = f"({number(rule.factor)} * {_quantile(rule.quantile, model, _OLD)} + {number(rule.plus_seconds)})"
    above = [
        f"({_quantile(round(rule.quantile - margin, 9), model, _NEW)} > bool {limit})"
        for margin in (rule.harm, rule.not_worse)
    ]
    says = f"whether more than {1 - rule.quantile + rule.harm:.3g} of the requests take longer than "
    says += (
        f"{rule.quantile:.0%} of the old pods' (1), or more than {1 - rule.quantile + rule.not_worse:.3g} (2)"
    )
    return Metric("tail", f"({above[0]}\n+ {above[1]})\n{_enough(model, least)}", 1, 2, says)


def _confidence(rule: Objective, model: str) -> Metric:
    def mean(pods: str) -> str:
        total, count = (
            _grown(Series(f"edgehone_confidence_entropy_{one}", {}, {"model": model}), pods)
            for one in ("sum", "count")
        )
        return f"{total} / ({count} > 0)"

    says = "the mean entropy of answers, minus that of the old pods"
    return Metric("confidence", f"{mean(_NEW)}\n- {mean(_OLD)}", rule.harm, rule.not_worse, says)


def _memory(rules: Rules, model: str) -> Metric:
    def most(pods: str) -> str:
        series = _of(Series("edgehone_resident_memory_bytes", {}, {"model": model}), pods)
        return f"max(sum by (instance) ({selector(series)}))"

    rule = rules.memory
    limit = f"({number(rule.factor)} * {most(_OLD)} + {number(rule.plus_megabytes * 1e6)})"
    says = f"memory, as a share of {rule.factor:g} times that of the old pods and {rule.plus_megabytes:g} MB"
    return Metric("memory-grown", f"{most(_NEW)}\n/ {limit}", 1, 1, says)


def _of_alert(alert: Alert) -> Metric:
    """Return the metric that counts the new pods which an alert is about; nothing without enough requests."""
    conditions = [replace(one, value=_of_new(one.value)) for one in alert.conditions]
    if len(conditions) > 1:
        known = all_of(conditions[-1:])
    else:
        labels = {"model": alert.model} if alert.model else {}
        known = selector(_of(Series("edgehone_ready", {}, labels), _NEW))
    query = f"count(\n{_indented(all_of(conditions))}\n)\nor 0 * count({known})"
    basis = f": {alert.basis}" if alert.model else ""
    says = f"pods that break the alert {alert.name} ({alert.limit:.4g} {alert.unit}{basis})"
    return Metric(alert.name, query, 1, 1, says, failures=min(COUNT - 1, round(alert.for_s / INTERVAL_S)))


def _of_new(value: Value) -> Value:
    if isinstance(value, Share):
        return replace(value, part=_total(value.part), whole=_total(value.whole))
    if isinstance(value, Quantile):
        return replace(value, buckets=_total(value.buckets))
    return _total(value)


def _total(one: Total) -> Total:
    return replace(one, series=_of(one.series, _NEW))


def _of(series: Series, pods: str) -> Series:
    """Return the series of the pods of a version."""
    labels = {**series.labels, "namespace": _NAMESPACE, "rollouts_pod_template_hash": pods}
    return replace(series, labels=labels)


def _grown(series: Series, pods: str) -> str:
    return f"sum(increase({selector(_of(series, pods))}[{WINDOW_S}s]))"


def _quantile(q: float, model: str, pods: str) -> str:
    buckets = selector(_of(Series("edgehone_request_seconds_bucket", {}, {"model": model}), pods))
    return f"histogram_quantile({number(q)}, sum by (le) (rate({buckets}[{WINDOW_S}s])))"


def _enough(model: str, least: int) -> str:
    counts = (
        _grown(Series("edgehone_request_seconds_count", {}, {"model": model}), pods) for pods in (_NEW, _OLD)
    )
    return "\n".join(f"and {one} >= {least}" for one in counts)


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())
