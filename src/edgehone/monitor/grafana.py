"""A dashboard for Grafana: the rows of panels.toml, with the limits of the alerts."""

from __future__ import annotations

import string
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from edgehone.monitor.alert import Alert
from edgehone.monitor.panels import Panel, Query, panels
from edgehone.monitor.promql import promql

# Variables of the dashboard by label. Grafana puts in a regular expression of the chosen values.
_CHOSEN: Mapping[str, str] = {"job": "$job", "instance": "$instance", "model": "$model"}
_SOURCE: Mapping[str, str] = {"type": "prometheus", "uid": "${datasource}"}
_FIRING = 'ALERTS{alertname=~"Edgehone.*",alertstate="firing",job=~"$job",instance=~"$instance"}'
# The form of dashboards that Grafana 11 and later write. Older ones read what they know of it.
SCHEMA_VERSION = 39
# The grid has 24 columns.
_WIDTH, _HEIGHT = 8, 8


def dashboard(alerts: Sequence[Alert], title: str) -> dict[str, Any]:
    """Return the dashboard, for import into Grafana. `title` is the name that people see."""
    return {
        "uid": "edgehone",
        "title": title,
        "tags": ["edgehone"],
        "schemaVersion": SCHEMA_VERSION,
        "editable": True,
        "graphTooltip": 1,  # the same moment in all panels
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": list(_variables())},
        "annotations": {"list": []},
        "panels": list(_panels(alerts)),
    }


def queries() -> Iterator[tuple[Panel, Query, str]]:
    """Yield every query with its panel, and its PromQL with the variables."""
    for row in panels():
        for panel in row.panel:
            for query in panel.query:
                yield panel, query, promql(query.value(_CHOSEN))


def _panels(alerts: Sequence[Alert]) -> Iterator[dict[str, Any]]:
    number, y = 1, 0
    yield {**_firing(), "id": number, "gridPos": {"x": 0, "y": 0, "w": 24, "h": 6}}
    y += 6
    for row in panels():
        number += 1
        grid = {"x": 0, "y": y, "w": 24, "h": 1}
        yield {
            "id": number,
            "type": "row",
            "title": row.title,
            "collapsed": False,
            "gridPos": grid,
            "panels": [],
        }
        y += 1
        for place, panel in enumerate(row.panel):
            number += 1
            at = {
                "x": place * _WIDTH % 24,
                "y": y + place * _WIDTH // 24 * _HEIGHT,
                "w": _WIDTH,
                "h": _HEIGHT,
            }
            yield {**_panel(panel, alerts), "id": number, "gridPos": at}
        y += -(-len(row.panel) * _WIDTH // 24) * _HEIGHT


def _panel(panel: Panel, alerts: Sequence[Alert]) -> dict[str, Any]:
    drawn = [one for one in alerts if one.name in panel.alerts]
    limits = sorted({one.limit for one in drawn})
    steps = [{"color": "green", "value": None}, *({"color": "red", "value": limit} for limit in limits)]
    texts = [
        f"{_of(one)}{one.name}: {_SIGNS[one.op]} {one.limit:.4g} {one.unit} ({one.basis})." for one in drawn
    ]
    custom = {
        "thresholdsStyle": {"mode": "line" if limits else "off"},
        "showPoints": "never",
        "fillOpacity": 10,
    }
    return {
        "type": "timeseries",
        "title": panel.title,
        "description": "\n\n".join([*texts, *([f"Empty if {panel.empty}."] if panel.empty else [])]),
        "datasource": dict(_SOURCE),
        "targets": [_target(place, query) for place, query in enumerate(panel.query)],
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "min": 0,
                "thresholds": {"mode": "absolute", "steps": steps},
                "custom": custom,
            },
            "overrides": [],
        },
        "options": {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
    }


_SIGNS: Mapping[str, str] = {">": "above", "<": "below"}


def _of(alert: Alert) -> str:
    return "" if alert.model is None else f"{alert.model}: "


def _target(place: int, query: Query) -> dict[str, Any]:
    return {
        "refId": string.ascii_uppercase[place],
        "datasource": dict(_SOURCE),
        "expr": promql(query.value(_CHOSEN)),
        "legendFormat": f"{query.legend} {{{{instance}}}}",
        "range": True,
    }


def _firing() -> dict[str, Any]:
    target = {"refId": "A", "datasource": dict(_SOURCE), "expr": _FIRING, "range": True}
    return {
        "type": "state-timeline",
        "title": "Alerts that fire",
        "description": "Empty if none does.",
        "datasource": dict(_SOURCE),
        "targets": [{**target, "legendFormat": "{{severity}} {{alertname}} {{model}} {{instance}}"}],
        "fieldConfig": {
            "defaults": {"thresholds": {"mode": "absolute", "steps": [{"color": "red", "value": None}]}},
            "overrides": [],
        },
        "options": {"showValue": "never", "rowHeight": 0.8, "mergeValues": True},
    }


def _variables() -> Iterator[dict[str, Any]]:
    yield {
        "type": "datasource",
        "name": "datasource",
        "label": "Data source",
        "query": "prometheus",
        "hide": 0,
    }
    for name, query in (
        ("job", "label_values(edgehone_ready, job)"),
        ("instance", 'label_values(edgehone_ready{job=~"$job"}, instance)'),
        ("model", 'label_values(edgehone_ready{job=~"$job",instance=~"$instance"}, model)'),
    ):
        yield {
            "type": "query",
            "name": name,
            "label": name.capitalize(),
            "datasource": dict(_SOURCE),
            "query": {"query": query, "refId": name},
            "refresh": 2,  # when the time range changes
            "includeAll": True,
            "multi": True,
            "allValue": ".*",
            "current": {"text": ["All"], "value": ["$__all"]},
            "sort": 1,
            "hide": 0,
        }
