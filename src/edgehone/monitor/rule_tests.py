"""Tests of the rules for `promtool test rules`: each alert fires on series that break its limit, and on no others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

from edgehone.monitor.alert import Alert
from edgehone.monitor.evaluate import JOB
from edgehone.monitor.planted import TEST_INTERVAL_S, Case, Line, cases, lines, seconds
from edgehone.monitor.prometheus import RULES, alert_name
from edgehone.monitor.promql import number, quoted

_TARGET = {"job": JOB, "instance": "127.0.0.1:8080"}


def rule_tests(alerts: Sequence[Alert]) -> dict[str, Any]:
    """Return the content of the file of tests."""
    return {
        "rule_files": [RULES],
        "evaluation_interval": f"{TEST_INTERVAL_S}s",
        "tests": [_test(alert, case) for alert in alerts for case in cases(alert)],
    }


def _test(alert: Alert, case: Case) -> dict[str, Any]:
    scrapes = ceil(seconds(alert) / TEST_INTERVAL_S)
    planted = lines(alert, case, scrapes)
    firing = f'ALERTS{{alertname="{alert_name(alert)}",alertstate="firing"'
    model = "" if alert.model is None else f",model={quoted(alert.model)}"
    labels = {
        "__name__": "ALERTS",
        "alertname": alert_name(alert),
        "alertstate": "firing",
        "severity": alert.severity,
        "symptom": alert.symptom,
        **_TARGET,
        **{name: _label(name, alert, planted) for name in alert.labels if _label(name, alert, planted)},
    }
    expected = [{"labels": _series(labels), "value": 1}] if case == "breaks" else []
    return {
        "name": f"{alert_name(alert)}{'' if alert.model is None else f' of {alert.model}'}: {_CASES[case]}",
        "interval": f"{TEST_INTERVAL_S}s",
        "input_series": [
            {
                "series": _series({"__name__": one.metric, **_TARGET, **one.labels}),
                "values": _values(one, scrapes),
            }
            for one in planted
        ],
        "promql_expr_test": [
            {
                "expr": f"{firing}{model}}}",
                "eval_time": f"{scrapes * TEST_INTERVAL_S}s",
                "exp_samples": expected,
            }
        ],
    }


_CASES: Mapping[Case, str] = {
    "breaks": "it fires", "keeps": "silent within the limit", "few": "silent with few requests"
}  # fmt: skip


def _label(name: str, alert: Alert, planted: Sequence[Line]) -> str:
    return next((one.labels[name] for one in planted if name in one.labels), "")


def _series(labels: Mapping[str, str]) -> str:
    matchers = ",".join(f"{name}={quoted(text)}" for name, text in labels.items() if name != "__name__")
    return f"{labels['__name__']}{{{matchers}}}"


def _values(line: Line, scrapes: int) -> str:
    return f"{number(line.start)}+{number(line.step)}x{scrapes}"
