"""Bottlenecks by rule: a figure above a threshold. The rules are in bottlenecks.toml."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from edgehone.core.figure import Figure


@dataclass(frozen=True)
class Bottleneck:
    """A judged rule. `holds` is None if its figure is missing; `reason` then says why."""

    name: str
    figure: str
    value: float | None
    threshold: float
    holds: bool | None
    says: str
    source: str
    reason: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return a dict for JSON."""
        return asdict(self)


@lru_cache(maxsize=1)
def rules() -> tuple[Mapping[str, Any], ...]:
    """Return the rules, in order."""
    path = Path(__file__).with_name("bottlenecks.toml")
    return tuple(tomllib.loads(path.read_text("utf-8"))["rule"])


def judge(figures: Mapping[str, Figure]) -> tuple[Bottleneck, ...]:
    """Judge every rule by the figures."""
    return tuple(_judged(rule, figures.get(rule["figure"])) for rule in rules())


def _judged(rule: Mapping[str, Any], figure: Figure | None) -> Bottleneck:
    known = figure or Figure.missing("not measured")
    return Bottleneck(
        name=rule["name"],
        figure=rule["figure"],
        value=known.value,
        threshold=rule["threshold"],
        holds=None if known.value is None else known.value > rule["threshold"],
        says=rule["says"],
        source=rule["source"],
        reason=known.reason,
    )
