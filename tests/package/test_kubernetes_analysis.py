"""What Prometheus is asked of a new version, asked of real servers by a real Prometheus."""

from __future__ import annotations

import functools
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
import yaml

from edgehone.package.targets.kubernetes.analysis import Metric, manifest, metrics, weights
from edgehone.rollout.decision.rules import shipped
from tests.finished import Finished
from tests.monitor.certified import baselines
from tests.monitor.programs import Prometheus, exposed, prometheus
from tests.serve.server import running

# One process starts the servers and Prometheus for all of these tests.
pytestmark = pytest.mark.xdist_group("analysis")
Outcome = str
WINDOW = "12s"
NEW, OLD = "5d9c", "77f0"
# Limits that a null backend on a busy machine keeps.
EASY = {"served_p50_s": 5.0, "served_p95_s": 5.0, "served_first_token_p95_s": 5.0, "served_token_p95_s": 5.0}
# What the clock decides; the other metrics are the same on every machine.
TIMES = {"latency", "tail"}
# Their change since the first scrape makes these comparable; each is one way in which a new version may be worse.
WORSE: dict[str, tuple[Callable[[str], str], set[str]]] = {
    "failing": (lambda text: text.replace('status="200"', 'status="500"'), {"errors", "error_rate"}),
    "refusing": (lambda text: text.replace('status="200"', 'status="429"'), {"errors"}),
    "large": (
        lambda text: _changed(text, "edgehone_resident_memory_bytes", lambda value: 20 * value + 1e9),
        {"memory-grown", "memory"},
    ),
    "not ready": (lambda text: _changed(text, "edgehone_ready", lambda value: 0.0), {"not_ready"}),
    "unsure": (
        lambda text: _changed(
            text, "edgehone_confidence_entropy_sum", lambda value: value + 0.5 * _counted(text)
        ),
        {"confidence"},
    ),
    "slow": (
        lambda text: re.sub(r"(edgehone_request_seconds_bucket\{le=\"(?!\+Inf)[^}]*\}) \S+", r"\1 0.0", text),
        {"latency", "tail", "latency_p50", "latency_p95"},
    ),
}


def _changed(text: str, metric: str, change: Callable[[float], float]) -> str:
    return re.sub(
        rf"^({metric}\{{[^}}]*\}}) (\S+)$", lambda m: f"{m[1]} {change(float(m[2]))}", text, flags=re.M
    )


def _counted(text: str) -> float:
    found = re.search(r"^edgehone_confidence_entropy_count\{[^}]*\} (\S+)$", text, flags=re.M)
    return float(found[1]) if found else 0.0


def outcome(metric: Metric, asked: Prometheus, new: str) -> Outcome:
    """Judge a metric as Argo Rollouts does, with a short window."""
    query = metric.query.replace("[300s]", f"[{WINDOW}]")
    for name, value in {"pods": new, "stable": OLD, "namespace": "prod"}.items():
        query = query.replace(f"{{{{args.{name}}}}}", value)
    found = [float(one["value"][1]) for one in asked.query(query)]
    if found and found[0] < metric.good:
        return "successful"
    return "failed" if found and found[0] >= metric.bad else "inconclusive"


@pytest.fixture(scope="module")
def judged(
    _finished: Finished, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[str, dict[str, Outcome]]]:
    """The outcomes of all metrics, by what is wrong with the new pods."""
    place = tmp_path_factory.mktemp("analysis")
    asked = metrics("bundle", baselines("bundle", **EASY, served_model_memory_bytes=1e9), True)
    settings = place / "serve.toml"
    settings.write_text(f'confidence_every = 1\n[bundles.bundle]\npath = "{_finished.bundle}"\n')
    with ExitStack() as stack:
        old, new = (stack.enter_context(running(settings, as_config=True)) for _ in range(2))
        texts: dict[str, Callable[[str], str]] = {
            "equal": str,
            **{name: one for name, (one, _) in WORSE.items()},
        }
        shown = _Shown(f"{new.url}/metrics")
        targets = {OLD: old.url.removeprefix("http://")}
        for name, change in texts.items():
            targets[name] = stack.enter_context(exposed(functools.partial(_changed_by, change, shown)))
        configuration = place / "prometheus.yml"
        configuration.write_text(_configuration(targets))
        server = stack.enter_context(prometheus(configuration, place / "data"))
        end = time.monotonic() + 11
        while time.monotonic() < end:
            for one in (old, new):
                for number in range(8):
                    one.complete(f"Once upon a time {number}", max_tokens=4, temperature=0)
        yield {name: {one.name: outcome(one, server, name) for one in asked} for name in texts} | {
            "nobody": {one.name: outcome(one, server, "other") for one in asked}
        }


def _changed_by(change: Callable[[str], str], shown: _Shown) -> str:
    return change(shown.text())


class _Shown:
    """The metrics of a server, asked for once in half a second, so that all who scrape it do not slow it down."""

    def __init__(self, url: str) -> None:
        self._url, self._text, self._at = url, "", 0.0
        self._lock = threading.Lock()

    def text(self) -> str:
        with self._lock:
            if time.monotonic() - self._at > 0.5:
                self._text, self._at = httpx.get(self._url, timeout=60).text, time.monotonic()
            return self._text


def _configuration(targets: Mapping[str, str]) -> str:
    jobs = [
        {"targets": [address], "labels": {"namespace": "prod", "rollouts_pod_template_hash": name}}
        for name, address in targets.items()
    ]
    scrape = {"job_name": "edgehone", "scrape_interval": "1s", "scrape_timeout": "1s", "static_configs": jobs}
    return yaml.safe_dump({"scrape_configs": [scrape]})


def test_an_equal_version_succeeds(judged: Mapping[str, dict[str, Outcome]]) -> None:
    found = {name: one for name, one in judged["equal"].items() if name not in TIMES}
    assert found == dict.fromkeys(found, "successful")
    assert {"errors", "confidence", "memory-grown", "latency_p95", "error_rate", "not_ready"} <= set(found)


@pytest.mark.parametrize("name", WORSE)
def test_a_worse_version_fails(name: str, judged: Mapping[str, dict[str, Outcome]]) -> None:
    failed = {one for one, found in judged[name].items() if found == "failed"}
    assert WORSE[name][1] <= failed
    if name != "slow":
        assert failed - TIMES == WORSE[name][1]


def test_without_data_nothing_succeeds(judged: Mapping[str, dict[str, Outcome]]) -> None:
    assert set(judged["nobody"].values()) == {"inconclusive"}


def test_limits_are_those_of_the_rules_and_of_the_certificate() -> None:
    by_name = {one.name: one for one in metrics("tiny", baselines("tiny"), True)}
    rules = {one.name: one for one in shipped().objectives}
    assert (by_name["errors"].good, by_name["errors"].bad) == (
        rules["errors"].harm,
        rules["errors"].not_worse,
    )
    assert 'le="0.0' in by_name["latency_p95"].query and "served_p95_s" in by_name["latency_p95"].says
    assert 'model="tiny"' in by_name["memory"].query
    without = {one.name for one in metrics("tiny", None, False)}
    assert "latency_p95" not in without and "confidence" not in without and "not_ready" in without
    assert weights(10) == (25, 50) and weights(2) == (50,) and weights(100) == (1, 5, 25, 50)


def test_a_metric_is_yaml() -> None:
    for one in metrics("tiny", baselines("tiny"), True):
        ((entry,), address) = yaml.safe_load(manifest(one, "http://p:9090")), "http://p:9090"
        found: Any = entry["provider"]["prometheus"]
        assert found == {"address": address, "query": found["query"]} and found["query"].strip() == one.query
