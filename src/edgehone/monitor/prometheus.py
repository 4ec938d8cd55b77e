"""Rules and configuration for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from edgehone.monitor.alert import Alert
from edgehone.monitor.evaluate import JOB
from edgehone.monitor.expression import Series, Share
from edgehone.monitor.promql import all_of, number, promql, quoted
from edgehone.monitor.words import described

INTERVAL_S = 15
RULES = "rules.yml"
# How a unit is shown by the templates of Prometheus.
_SHOWN: Mapping[str, str] = {"share": "humanizePercentage", "s": "humanizeDuration", "bytes": "humanize1024"}


def rules(alerts: Sequence[Alert]) -> dict[str, Any]:
    """Return the content of the file of rules: a group for each symptom, and one for the objectives.

    Recording rules stand before the alerts that use them, in the same group, so they are of the same moment.
    """
    groups: dict[str, list[dict[str, Any]]] = {}
    for alert in alerts:
        group = groups.setdefault(f"edgehone_{'objectives' if alert.burn else alert.symptom}", [])
        names = recorded(alert)
        known = {one["record"] + one["expr"] for one in group if "record" in one}
        group += [one for one in _records(alert, names) if one["record"] + one["expr"] not in known]
        group.append(_rule(alert, {query: _selected(name, alert) for query, name in names.items()}))
    return {
        "groups": [{"name": name, "interval": f"{INTERVAL_S}s", "rules": one} for name, one in groups.items()]
    }


def alert_name(alert: Alert) -> str:
    """Return the name in Prometheus, in its usual spelling."""
    return "Edgehone" + "".join(word.capitalize() for word in alert.name.split("_"))


def recorded(alert: Alert) -> dict[str, str]:
    """Return the names of recording rules by the PromQL that they record: the shares of an objective's windows."""
    if not alert.burn:
        return {}
    objective = alert.name.partition("_budget_")[0]
    shares = [one.value for one in alert.conditions if isinstance(one.value, Share)]
    return {
        promql(one): f"edgehone:{objective}_bad_share:rate{duration(one.part.window_s)}" for one in shares
    }


def duration(seconds: float) -> str:
    """Return a duration as Prometheus writes it, in the largest unit that gives a whole number."""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length and seconds % length == 0:
            return f"{seconds / length:.0f}{unit}"
    return f"{seconds:.0f}s"


def scrape_configuration(target: str, *, https: bool = False) -> dict[str, Any]:
    """Return the content of prometheus.yml for a server at HOST:PORT. /metrics needs no key."""
    job: dict[str, Any] = {"job_name": JOB, "static_configs": [{"targets": [target]}]}
    if https:
        job |= {"scheme": "https", "tls_config": {"ca_file": "ca.pem"}}
    return {
        "global": {"scrape_interval": f"{INTERVAL_S}s", "evaluation_interval": f"{INTERVAL_S}s"},
        "rule_files": [RULES],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": ["127.0.0.1:9093"]}]}]},
        "scrape_configs": [job],
    }


def untemplated(text: str) -> str:
    """Return a text for a label or an annotation in which nothing is a template."""
    return text.replace("{{", '{{ "{{" }}')


def _records(alert: Alert, names: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    for query, name in names.items():
        labels = {} if alert.model is None else {"labels": {"model": alert.model}}  # no template here
        yield {"record": name, "expr": query, **labels}


def _selected(name: str, alert: Alert) -> str:
    return name if alert.model is None else f"{name}{{model={quoted(alert.model)}}}"


def _rule(alert: Alert, names: Mapping[str, str]) -> dict[str, Any]:
    model = {} if alert.model is None else {"model": untemplated(alert.model)}
    return {
        "alert": alert_name(alert),
        "expr": all_of(alert.conditions, names),
        **({"for": duration(alert.for_s)} if alert.for_s else {}),
        "labels": {"severity": alert.severity, "symptom": alert.symptom, **model},
        "annotations": {
            "summary": _labelled(alert.says),
            "figures": _figures(alert),
            "action": _labelled(alert.do),
        },
    }


def _figures(alert: Alert) -> str:
    """Return the template of the sentence with the value and its limit."""
    first = alert.conditions[0]
    value = f"{{{{ $value | {_SHOWN.get(alert.unit, 'humanize')} }}}}"
    sign = {">": "above", "<": "below"}[first.op]
    if alert.kind == "quantile":
        value = "{{ $value | humanizePercentage }}"
        beyond = _bound(first.value)
        what = f"{value} of the requests took longer than {beyond} s; the limit is {100 * first.limit:g} %"
        return f"{what} ({alert.basis})"
    what = f"{described(first.value)} is {value}, {sign} {number(alert.limit)} {alert.unit}".rstrip()
    return untemplated_but_values(f"{what} ({alert.basis})", value)


def untemplated_but_values(text: str, value: str) -> str:
    """Return a text in which `value` is the only template."""
    return value.join(untemplated(part) for part in text.split(value))


def _bound(value: Any) -> str:
    assert isinstance(value, Share)
    series: Series = value.part.series
    return f"{float(series.labels['le']):g}"


def _labelled(text: str) -> str:
    """Return a text with labels in braces as a template of Prometheus."""
    for name in ("model", "folder"):
        text = text.replace(f"{{{name}}}", f"{{{{ $labels.{name} }}}}")
    return text
