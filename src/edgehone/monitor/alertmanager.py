"""A configuration of Alertmanager: the receivers of alerts, and which alerts inhibit others."""

from __future__ import annotations

from typing import Any

WEBHOOK = "http://127.0.0.1:9094/alerts"
_MAIL = {"page": "on-call@example.org", "ticket": "tickets@example.org"}


def configuration() -> dict[str, Any]:
    """Return the content of alertmanager.yml. Addresses are placeholders."""
    return {
        "global": {
            "smtp_smarthost": "localhost:25",
            "smtp_from": "edgehone@example.org",
            "smtp_require_tls": False,
        },
        "route": {
            "receiver": "ticket",
            "group_by": ["job", "instance", "symptom"],
            "group_wait": "30s",
            "group_interval": "5m",
            "repeat_interval": "24h",
            "routes": [
                {
                    "matchers": ['severity="page"'],
                    "receiver": "page",
                    "group_wait": "10s",
                    "repeat_interval": "4h",
                }
            ],
        },
        "inhibit_rules": _inhibitions(),
        "receivers": [
            {
                "name": severity,
                "webhook_configs": [{"url": f"{WEBHOOK}/{severity}", "send_resolved": True}],
                "email_configs": [{"to": address, "send_resolved": True}],
            }
            for severity, address in _MAIL.items()
        ],
    }


def _inhibitions() -> list[dict[str, Any]]:
    """Return which alerts keep quiet: consequences beside their cause, slower budgets beside faster ones."""
    server = ["job", "instance"]
    symptom = [*server, "model", "symptom"]
    return [
        _quiet('alertname="EdgehoneDown"', 'alertname=~"Edgehone.*",alertname!="EdgehoneDown"', server),
        _quiet('alertname="EdgehoneNotReady"', 'symptom=~"latency|throughput"', [*server, "model"]),
        _quiet('alertname=~"Edgehone.*BudgetFast"', 'alertname=~"Edgehone.*Budget(Medium|Slow)"', symptom),
        _quiet('alertname=~"Edgehone.*BudgetMedium"', 'alertname=~"Edgehone.*BudgetSlow"', symptom),
        # One symptom of a model or server: who is paged needs no ticket beside it.
        _quiet('severity="page"', 'severity="ticket"', symptom),
    ]


def _quiet(source: str, target: str, equal: list[str]) -> dict[str, Any]:
    return {"source_matchers": source.split(","), "target_matchers": target.split(","), "equal": equal}
