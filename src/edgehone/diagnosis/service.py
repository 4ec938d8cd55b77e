"""Causes of problems of a running server, judged by live facts. The table is service.toml."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from edgehone.diagnosis.causes import Cause, judged
from edgehone.diagnosis.facts import Facts


@lru_cache(maxsize=1)
def table() -> tuple[Mapping[str, Any], ...]:
    """Return the entries of service.toml."""
    return tuple(tomllib.loads(Path(__file__).with_name("service.toml").read_text("utf-8"))["cause"])


def judge_service(facts: Facts, symptom: str) -> list[Cause]:
    """Judge every cause of a symptom of a server; the first of those found is the first to be remedied."""
    return [judged({**entry, "symptom": symptom}, facts) for entry in table() if symptom in entry["symptoms"]]
