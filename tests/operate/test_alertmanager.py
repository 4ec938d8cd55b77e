"""An incident that operate escalates goes through a real Alertmanager to a human's webhook."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from edgehone.monitor.yaml_text import yaml_text
from edgehone.operate.calls import ESCALATED, ESCALATING, Calls
from edgehone.operate.escalate import webhook
from edgehone.operate.journal import Journal
from edgehone.operate.options import Options
from tests.monitor import programs
from tests.ports import free_port

pytestmark = [pytest.mark.real, pytest.mark.whole]
URL = "http://127.0.0.1:8080"


def test_an_escalation_is_notified_by_a_real_alertmanager_that_was_down_at_first(tmp_path: Path) -> None:
    with programs.webhook() as (hook, received):
        content = {
            "route": {"receiver": "humans", "group_wait": "0s", "group_by": ["alertname", "symptom"]},
            "receivers": [{"name": "humans", "webhook_configs": [{"url": f"{hook}/call"}]}],
        }
        (tmp_path / "alertmanager.yml").write_text(yaml_text(content))
        (tmp_path / "state").mkdir()
        journal = Journal(tmp_path / "state", URL)
        incident = journal.open_incident("bundle", "latency", ["latency_p95"])
        journal.name_outcome(incident.id, ESCALATING)
        journal.tell("escalating", "nothing helped", incident.id, why="no remedy is left")

        def tell(*words: Any, **detail: Any) -> None:
            journal.tell(*words, **detail)

        def deliver(manager: str) -> None:
            options = Options(channels=(webhook(f"http://{manager}/api/v2/alerts"),), times=600.0)
            Calls(journal, tmp_path / "state", URL, options, tell).deliver()

        down = free_port()
        deliver(f"127.0.0.1:{down}")
        assert [one.kind for one in journal.events(incident.id)] == ["escalating", "not delivered"]
        with programs.alertmanager(tmp_path / "alertmanager.yml", tmp_path / "data") as manager:
            deliver(manager)
            assert journal.open_incidents()[0].outcome == ESCALATED
            told = received.wait_for("edgehone_operate_escalated")
        labels = told["labels"]
        assert (labels["model"], labels["symptom"], labels["severity"]) == ("bundle", "latency", "page")
        assert labels["server"] == URL
        assert "no remedy is left" in told["annotations"]["summary"]
        assert json.loads(told["annotations"]["detail"])["why"] == "no remedy is left"
        page = Path(told["annotations"]["story"])
        assert "nothing helped" in page.read_text("utf-8")
        assert received.bodies[-1][0] == "/call" and told["startsAt"][:4] == time.strftime(
            "%Y", time.gmtime()
        )
        journal.close()
