"""Real programs: `edgehone serve` of a certified bundle, Prometheus, Alertmanager, and a receiver of webhooks."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from edgehone.cli import main
from edgehone.monitor.alert import alerts, faster
from edgehone.monitor.baseline import read_baselines
from edgehone.monitor.evaluate import Evaluator
from edgehone.monitor.grafana import queries
from edgehone.monitor.prometheus import alert_name, rules
from edgehone.monitor.server import bundles_of, models_of, scrape
from edgehone.monitor.yaml_text import yaml_text
from tests.finished import Finished
from tests.monitor.certified import FIGURES, certify, monitoring, program
from tests.monitor.programs import Prometheus, Received, alertmanager, exposed, prometheus, webhook
from tests.monitor.traffic import Line
from tests.serve.server import Server, running

pytestmark = [pytest.mark.real, pytest.mark.whole]
KEY = "key-of-an-operator"
# The null engine takes 0.1 ms; these limits are kept by it, and by a machine where other tests run.
SLOW = {
    **FIGURES,
    "served_p50_s": 5.0,
    "served_p95_s": 10.0,
    "served_first_token_p95_s": 5.0,
    "served_token_p95_s": 1.0,
    "served_model_memory_bytes": 4e9,
}


@dataclass
class Watched:
    """A server that is watched by real programs."""

    server: Server
    folder: Path
    prometheus: Prometheus
    received: Received


@pytest.fixture(scope="module")
def watched(_finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A server with the generated rules and configurations; only addresses and intervals are changed."""
    program("prometheus", "prometheus")
    program("prometheus-alertmanager", "prometheus-alertmanager")
    place = tmp_path_factory.mktemp("monitored")
    bundle = certify(Path(shutil.copytree(_finished.bundle, place / "bundle")), monitoring(SLOW))
    (place / "operators").write_text(KEY)
    (place / "operators").chmod(0o600)
    settings = 'price_per_1000_tokens = 2.0\nconfidence_every = 1\nadmin_key_file = "operators"\n'
    (place / "serve.toml").write_text(f'{settings}[bundles.bundle]\npath = "{bundle}"\n')
    env = {"EDGEHONE_HOME": str(_finished.home)}
    with running(place / "serve.toml", env=env, as_config=True) as server, webhook() as (hook, received):
        words = ["--admin-key-file", str(place / "operators"), "--out", str(place / "out")]
        assert main.main(["monitor", server.url, *words]) == 0
        with alertmanager(
            _quick(place / "out" / "alertmanager" / "alertmanager.yml", hook), place / "am"
        ) as manager:
            configuration = _quick(place / "out" / "prometheus" / "prometheus.yml", hook, manager)
            with prometheus(configuration, place / "tsdb") as found:
                yield Watched(server, place, found, received)


def _quick(file: Path, hook: str, manager: str = "") -> Path:
    """Change only addresses and intervals of a generated configuration."""
    text = file.read_text("utf-8")
    for old, new in (
        ("http://127.0.0.1:9094", hook), ("127.0.0.1:9093", manager), ('"15s"', '"1s"'), ('"30s"', '"0s"'),
        ('"10s"', '"0s"'), ('"5m"', '"1s"'),
    ):  # fmt: skip
        text = text.replace(old, new)
    if file.name == "prometheus.yml":
        rules = file.with_name("rules.yml")
        rules.write_text(rules.read_text("utf-8").replace('interval: "15s"', 'interval: "1s"'), "utf-8")
    else:
        found = yaml.safe_load(text)
        for one in found["receivers"]:
            del one["email_configs"]  # there is no mail server
        text = yaml_text(found)
    file.write_text(text, "utf-8")
    return file


def ask(server: Server, count: int) -> None:
    for number in range(count):
        server.post("/v1/completions", {"model": "bundle", "prompt": f"To the {number} ", "max_tokens": 4})


def _wait_until_scraped(watched: Watched) -> None:
    """Wait until Prometheus has seen the counter of restarts twice: what it did not see before cannot grow."""
    seen = 'count_over_time(edgehone_engine_restarts{model="bundle"}[1m]) >= 2'
    watched.prometheus.wait_until(lambda: bool(watched.prometheus.query(seen)))


def test_a_healthy_server_raises_no_alert(watched: Watched) -> None:
    begun = time.monotonic()
    while time.monotonic() - begun < 4:
        ask(watched.server, 5)
        time.sleep(0.2)
    assert watched.prometheus.query('up{job="edgehone"}')[0]["value"][1] == "1"
    assert watched.prometheus.firing() == set()


def test_every_query_of_the_dashboard_has_data_or_a_reason(watched: Watched) -> None:
    ask(watched.server, 10)
    answer = watched.server.post("/v1/completions", {"model": "bundle", "prompt": "a", "max_tokens": 2})
    watched.server.post("/v1/feedback", {"id": answer.json()["id"], "verdict": "good"})
    time.sleep(3)
    ask(watched.server, 3)
    time.sleep(2)
    empty = []
    for panel, query, text in queries():
        for variable in ("$job", "$instance", "$model"):
            text = text.replace(variable, ".*")
        if not watched.prometheus.query(text):
            empty.append((panel.title, query.metric))
            assert panel.empty, f"{panel.title}: {text} has no data"
    # What may be missing of this server: sensors of the machine, energy, drift without a reference, failures.
    allowed = ("machine_", "energy", "drift", "labels", "requests_total", "observer_errors", "cache_")
    assert [metric for _, metric in empty if not any(word in metric for word in allowed)] == []


def test_an_engine_that_is_killed_raises_alerts_that_are_notified(watched: Watched) -> None:
    ask(watched.server, 5)
    _wait_until_scraped(watched)
    engine = watched.server.engine()
    engine.kill()
    watched.prometheus.wait_for("EdgehoneRestarts")
    told = watched.received.wait_for("EdgehoneRestarts")
    assert told["labels"]["severity"] == "ticket" and told["labels"]["model"] == "bundle"
    assert told["annotations"]["summary"] == "the engine of bundle was started again"
    assert "above 0" in told["annotations"]["figures"] and told["annotations"]["action"]
    assert {path for path, body in watched.received.bodies if "EdgehoneRestarts" in json.dumps(body)} == {
        "/alerts/ticket"
    }
    watched.server.wait_until(True)
    assert watched.server.engine().pid != engine.pid


def test_the_evaluation_without_prometheus_raises_the_same_on_the_live_server(watched: Watched) -> None:
    evaluator = Evaluator(alerts([read_baselines(watched.folder / "bundle")]))
    url = watched.server.url
    evaluator.add(time.monotonic(), scrape(url))
    _wait_until_scraped(watched)
    watched.server.engine().kill()
    watched.server.wait_until(False)
    watched.server.wait_until(True)
    evaluator.add(time.monotonic(), scrape(url))
    watched.prometheus.wait_for("EdgehoneRestarts")  # it scrapes and evaluates once a second only
    assert {alert_name(one.alert) for one in evaluator.firing()} == watched.prometheus.firing()
    assert {one.alert.name for one in evaluator.firing()} == {"restarts"}


def test_a_running_server_tells_its_models_and_to_operators_their_folders(watched: Watched) -> None:
    assert models_of(watched.server.url) == ("bundle",)
    assert bundles_of(watched.server.url, KEY)["bundle"] == watched.folder / "bundle"


@pytest.mark.long
def test_prometheus_and_the_evaluation_agree_while_traffic_changes(tmp_path: Path) -> None:
    """The windows are 60 times shorter, so that alerts rise and end within the test."""
    quick = [faster(one, 60) for one in alerts([_of(tmp_path)])]
    state = _Traffic()
    evaluator = Evaluator(quick)
    lock = threading.Lock()

    def text() -> str | None:
        with lock:
            content = state.step()
            evaluator.add(time.monotonic(), content)
            return content

    with exposed(text) as target:
        (tmp_path / "rules.yml").write_text(
            yaml_text(rules(quick)).replace('interval: "15s"', 'interval: "1s"')
        )
        job = {"job_name": "edgehone", "static_configs": [{"targets": [target]}]}
        every = {"scrape_interval": "500ms", "evaluation_interval": "500ms"}
        content = {"global": every, "rule_files": ["rules.yml"], "scrape_configs": [job]}
        (tmp_path / "prometheus.yml").write_text(yaml_text(content))
        with prometheus(tmp_path / "prometheus.yml", tmp_path / "tsdb") as found:
            for phase, expected in _PHASES:
                state.phase = phase
                time.sleep(25)
                assert _names(evaluator, lock) == found.firing()
                # The windows of budgets are minutes here, so their alerts outlive the phase.
                assert {one for one in found.firing() if "Budget" not in one} == expected, phase


_PHASES: tuple[tuple[str, set[str]], ...] = (
    ("well", set()),
    ("slow", {"EdgehoneLatencyP95"}),
    ("failing", {"EdgehoneErrorRate", "EdgehoneNotReady"}),
    ("well", set()),
    ("down", {"EdgehoneDown"}),
)


def _names(evaluator: Evaluator, lock: threading.Lock) -> set[str]:
    with lock:
        return {alert_name(one.alert) for one in evaluator.firing()}


def _of(folder: Path) -> Any:
    from tests.monitor.certified import baselines

    return baselines()


class _Traffic:
    """A server's counters, which grow with each scrape as the phase says."""

    def __init__(self) -> None:
        self.phase = "well"
        self._requests = self._late = self._bad = 0.0

    def step(self) -> str | None:
        """Return the next text."""
        if self.phase == "down":
            return None
        self._requests += 20
        self._late += 5 if self.phase == "slow" else 0
        self._bad += 4 if self.phase == "failing" else 0
        within, ready = self._requests - self._late, float(self.phase != "failing")
        model = {"model": "bundle"}
        path = {"path": "/v1/completions"}
        lines = [
            Line("edgehone_request_seconds_bucket", {**model, "le": "0.01"}, [within]),
            Line("edgehone_request_seconds_bucket", {**model, "le": "0.016"}, [within]),
            Line("edgehone_request_seconds_bucket", {**model, "le": "+Inf"}, [self._requests]),
            Line("edgehone_request_seconds_count", model, [self._requests]),
            Line("edgehone_requests_total", {**path, "status": "200"}, [self._requests - self._bad]),
            Line("edgehone_requests_total", {**path, "status": "503"}, [self._bad]),
            Line("edgehone_ready", model, [ready]),
        ]
        return "".join(f"{one.name} {one.values[0]}\n" for one in lines)
