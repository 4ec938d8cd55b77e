"""Causes of problems of a running server, judged by live facts. The table is service.toml."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from edgehone.diagnosis.causes import Cause, judged
from edgehone.diagnosis.facts import Facts


@lru_cache(maxsize=1)
def table() -> tuple[Mapping[str, Any], ...]:
    """Return the entries of service.toml."""
    return tuple(tomllib.loads(Path(__file__).with_name("service.toml").read_text("utf-8"))["cause"])


def judge_service(facts: Facts, symptom: str, alerts: Collection[str] = ()) -> list[Cause]:
    """Judge every cause of a symptom of a server; the first of those found is the first to be remedied.

    With `alerts`, of infrastructure only the causes of these.
    """
    return [
        judged({**entry, "symptom": symptom}, facts)
        for entry in table()
        if symptom in entry["symptoms"] and _of(entry, symptom, alerts)
    ]


def _of(entry: Mapping[str, Any], symptom: str, alerts: Collection[str]) -> bool:
    return symptom != "infrastructure" or not alerts or not {*alerts}.isdisjoint(entry["alerts"])
