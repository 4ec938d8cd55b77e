"""The tables of alerts and panels: what ships is valid, and mistakes are named."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgehone.certify.monitoring import _SERVED
from edgehone.certify.profile import Monitoring
from edgehone.core.errors import InputError
from edgehone.monitor import table as module
from edgehone.monitor.panels import panels
from edgehone.monitor.planted import example
from edgehone.monitor.table import Limit, read_table, table
from edgehone.serve.drift import observer
from tests.serve.test_metrics import STABLE, WHERE_KNOWN

GOOD = module.TABLE.read_text("utf-8")


def changed(tmp_path: Path, old: str, new: str) -> Path:
    assert old in GOOD
    path = tmp_path / "alerts.toml"
    path.write_text(GOOD.replace(old, new, 1), "utf-8")
    return path


def test_every_symptom_has_alerts_and_every_limit_a_source() -> None:
    found = table()
    assert {one.symptom for one in found.rows} == set(module.Symptom.__args__)  # type: ignore[attr-defined]
    limits = [one.limit for one in found.rows if isinstance(one.limit, Limit)]
    assert {one.factor for one in limits} <= set(Monitoring.__annotations__)
    assert {one.baseline for one in limits} <= {None, "accuracy", *_SERVED}


def test_texts_name_only_labels_that_the_alert_keeps() -> None:
    for row in table().rows:
        assert set(re.findall(r"\{(\w+)\}", row.says + row.do)) <= set(row.by), row.name


def test_every_regular_expression_has_an_example() -> None:
    patterns = [
        text for row in table().rows for where in (row.where, row.of_where) for text in where.values()
    ]
    assert patterns
    for pattern in patterns:
        assert re.fullmatch(pattern, example(pattern))


def test_every_panel_shows_limits_of_alerts_that_exist_and_on_its_own_metric() -> None:
    known = {row.name: row for row in table().alert}
    for row in panels():
        for panel in row.panel:
            for name in panel.alerts:
                assert known[name].metric in {query.metric for query in panel.query}, (panel.title, name)


def test_every_metric_is_one_that_the_server_exports() -> None:
    source = Path(observer.__file__).read_text("utf-8")
    drift = set(re.findall(r'"(edgehone_drift_\w+)"', source))  # of bundles with a reference only
    queries = [query for row in panels() for panel in row.panel for query in panel.query]
    used = {one for row in (*table().rows, *queries) for one in (row.metric, row.of) if one}
    names = {one.removesuffix("_total").removesuffix("_count") for one in used}
    assert names <= {"up", *STABLE, *WHERE_KNOWN, *drift}


def test_the_dashboard_shows_every_metric_that_alerts_are_about() -> None:
    shown = {query.metric for row in panels() for panel in row.panel for query in panel.query}
    assert {row.metric for row in table().rows} - shown == {"up"}


@pytest.mark.parametrize(
    "old, new, told",
    [
        ('kind = "quantile"', 'kind = "median"', "median"),
        ("window_s = 300", "windows = 300", "windows"),
        ("q = 0.95", "q = 1.5", "q"),
        ("q = 0.95\n", "", "latency_p95: `q` belongs to the kind quantile"),
        ('op = ">"', 'op = "<"', "a quantile can only be above"),
        ('name = "latency_p50"', 'name = "latency_p95"', "latency_p95: its name is there twice"),
        ('factor = "latency", baseline', 'factr = "latency", baseline', "factr"),
        ('of = "edgehone_requests_total"\n', "", "refused: `of` belongs to the kind ratio"),
        ('metric = "edgehone_ready"', 'window_s = 5\nmetric = "edgehone_ready"', "not_ready: every kind but gauge"),
        ("[[alert]]", "[[alert]", "cannot be read"),
        ("objective = 0.95 ", "objective = 2 ", "objective"),
        ('severity = "ticket"', 'severity = "shout"', "page or ticket"),
    ],
)  # fmt: skip
def test_a_mistake_is_named(tmp_path: Path, old: str, new: str, told: str) -> None:
    with pytest.raises(InputError) as caught:
        read_table(changed(tmp_path, old, new))
    assert told in caught.value.message and caught.value.hint


def test_a_missing_table_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_table(tmp_path / "none.toml")
