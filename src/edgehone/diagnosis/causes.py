"""Causes by symptom and framework, judged by facts. The table is causes.toml."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from edgehone.diagnosis.facts import Fact, Facts

SYMPTOMS = ("memory", "slow", "accuracy", "compatibility", "latency", "throughput")


@dataclass(frozen=True)
class Remedy:
    """Advice, with a command to type, or `settings` that --apply writes into the bundle and judges by `figure`."""

    says: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    figure: str | None = None
    more: bool = False  # True: a higher figure is better
    command: str | None = None
    source: str | None = None


@dataclass(frozen=True)
class Cause:
    """A judged entry. `found` is None if a fact it depends on is unknown; `evidence` states each fact."""

    name: str
    symptom: str
    found: bool | None
    says: str
    source: str
    evidence: tuple[str, ...]
    remedies: tuple[Remedy, ...]

    def to_json(self) -> dict[str, Any]:
        """Return a dict for JSON."""
        return asdict(self)


@lru_cache(maxsize=1)
def table() -> tuple[Mapping[str, Any], ...]:
    """Return the entries of causes.toml."""
    text = Path(__file__).with_name("causes.toml").read_text("utf-8")
    return tuple(tomllib.loads(text)["cause"])


def judge(about: str, facts: Facts, symptom: str | None = None) -> list[Cause]:
    """Judge every cause of a bundle or a model (`about`) that applies to its backend, of one symptom or of all."""
    backend = facts["backend"].value if "backend" in facts else None
    return [
        judged(entry, facts)
        for entry in table()
        if entry["about"] == about
        and symptom in (None, entry["symptom"])
        and (backend is None or backend in entry.get("backends", (backend,)))
    ]


def judged(entry: Mapping[str, Any], facts: Facts) -> Cause:
    """Judge one entry by the facts."""
    held = [holds(condition, facts[condition["fact"]]) for condition in entry["when"]]
    # One condition that does not hold excludes the cause, even if other facts are unknown.
    found = False if False in held else None if None in held else True
    return Cause(
        entry["name"],
        entry["symptom"],
        found,
        _filled(entry["says"], facts),
        entry["source"],
        tuple(_evidence(condition, facts[condition["fact"]]) for condition in entry["when"]),
        tuple(_remedy(one, facts) for one in entry.get("remedy", ())),
    )


def holds(condition: Mapping[str, Any], fact: Fact) -> bool | None:
    """Return whether a condition holds of its fact; None if the fact is unknown."""
    value = fact.value
    if value is None:
        return None
    if "is" in condition:
        return bool(value == condition["is"])
    if "in" in condition:
        return value in condition["in"]
    assert isinstance(value, (int, float))
    return bool(value > condition["above"] if "above" in condition else value < condition["below"])


def _evidence(condition: Mapping[str, Any], fact: Fact) -> str:
    """Return the fact and the condition on it, as text."""
    name = condition["fact"].replace("_", " ")
    if fact.value is None:
        return f"{name}: unknown ({fact.reason})"
    shown = f"{fact.value:.3g}" if isinstance(fact.value, float) else str(fact.value)
    for word in ("above", "below"):
        if word in condition:
            return f"{name} = {shown} (condition: {word} {condition[word]:g})"
    expected = condition["is"] if "is" in condition else " or ".join(map(str, condition["in"]))
    return f"{name} = {shown} (condition: {expected})"


def _remedy(entry: Mapping[str, Any], facts: Facts) -> Remedy:
    settings = {
        name: facts[value].value if isinstance(value, str) and value in facts else value
        for name, value in entry.get("settings", {}).items()
    }
    command = entry.get("command")
    return Remedy(
        _filled(entry["says"], facts),
        settings,
        entry.get("figure"),
        entry.get("more", False),
        None if command is None else _filled(command, facts),
        entry.get("source"),
    )


def _filled(text: str, facts: Facts) -> str:
    """Replace {names of facts} in a text by their values."""
    for name, fact in facts.items():
        if f"{{{name}}}" in text:
            text = text.replace(f"{{{name}}}", "?" if fact.value is None else str(fact.value))
    return text
