"""Everything that is generated to monitor a server: rules, their tests, configurations, a dashboard, README.md."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from string import Template

from edgehone.core.errors import InputError
from edgehone.monitor.alert import Alert, Baselines, LeftOut, alerts, left_out
from edgehone.monitor.alertmanager import configuration
from edgehone.monitor.grafana import dashboard
from edgehone.monitor.prometheus import RULES, duration, rules, scrape_configuration
from edgehone.monitor.rule_tests import rule_tests
from edgehone.monitor.yaml_text import yaml_text

_TARGET = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}")
README = "README.md"


@dataclass(frozen=True)
class Monitored:
    """A server at HOST:PORT, and the baselines of the bundles that it serves."""

    target: str
    https: bool
    baselines: Sequence[Baselines]


def generated(server: Monitored) -> dict[str, str]:
    """Return the contents of the files by name.

    Raises InputError for a target or a model's name that cannot stand in them.
    """
    _check(server)
    made, missing = alerts(server.baselines), left_out(server.baselines)
    head = (
        f"Made by edgehone {version('edgehone')} from certificates. Make it again after each certification."
    )
    title = f"edgehone: {', '.join(one.model for one in server.baselines)}"
    return {
        README: _readme(server, made, missing),
        f"prometheus/{RULES}": yaml_text(rules(made), head),
        "prometheus/rules_test.yml": yaml_text(
            rule_tests(made), f"{head}\npromtool test rules rules_test.yml"
        ),
        "prometheus/prometheus.yml": yaml_text(
            scrape_configuration(server.target, https=server.https), _SCRAPE
        ),
        "alertmanager/alertmanager.yml": yaml_text(configuration(), _ADDRESSES),
        "grafana/dashboard.json": json.dumps(dashboard(made, title), indent=1, ensure_ascii=False) + "\n",
    }


_SCRAPE = "An example. To a Prometheus that you have, add the file of rules and the job, which must be called edgehone."
_ADDRESSES = "Replace the addresses of webhooks and mail: they are placeholders."


def _check(server: Monitored) -> None:
    if not _TARGET.fullmatch(server.target):
        raise InputError(
            f"{server.target!r} is no HOST:PORT", hint="give a URL such as http://127.0.0.1:8080"
        )
    for one in server.baselines:
        try:
            one.model.encode()
        except UnicodeEncodeError:
            raise InputError(
                f"the model's name {one.model!r} is no text in UTF-8", hint="rename the bundle's folder"
            ) from None


def _readme(server: Monitored, made: Sequence[Alert], missing: Sequence[LeftOut]) -> str:
    template = Template(files("edgehone.monitor").joinpath("readme.md.template").read_text("utf-8"))
    return template.substitute(
        models=", ".join(f"`{_cell(one.model)}`" for one in server.baselines),
        target=server.target,
        alerts="\n".join(map(_row, made)),
        missing=_missing(missing),
    )


def _row(alert: Alert) -> str:
    of = "" if alert.model is None else f" of `{_cell(alert.model)}`"
    sign = {">": "above", "<": "below"}[alert.op]
    limit = f"{sign} {alert.limit:.4g} {alert.unit}".rstrip()
    held = f" for {duration(alert.for_s)}" if alert.for_s else ""
    return f"| {alert.name}{of} | {alert.severity} | {alert.symptom} | {limit}{held} | {_cell(alert.basis)} |"


def _missing(missing: Sequence[LeftOut]) -> str:
    if not missing:
        return "No alert is left out."
    rows = "\n".join(f"| {one.name} of `{_cell(one.model)}` | {_cell(one.reason)} |" for one in missing)
    return f"These alerts are left out, because their baseline is missing:\n\n| alert | why |\n| --- | --- |\n{rows}"


def _cell(text: str) -> str:
    """Return a text for a cell of a table of Markdown."""
    return " ".join(text.replace("|", "\\|").replace("`", "'").split())
