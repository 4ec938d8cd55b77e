"""Bottlenecks by rule: a figure, a threshold, and what it means. The rules are bottlenecks.toml."""

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
    """A rule judged: `holds` is None where its figure is missing, and `reason` says why it is."""

    name: str
    figure: str
    value: float | None
    threshold: float
    holds: bool | None
    says: str
    source: str
    reason: str | None = None

    def to_json(self) -> dict[str, Any]:
        """A plain dict."""
        return asdict(self)


@lru_cache(maxsize=1)
def rules() -> tuple[Mapping[str, Any], ...]:
    """The rules, in the order in which they are told."""
    path = Path(__file__).with_name("bottlenecks.toml")
    return tuple(tomllib.loads(path.read_text("utf-8"))["rule"])


def judge(figures: Mapping[str, Figure]) -> tuple[Bottleneck, ...]:
    """Every rule against the figures."""
    return tuple(_judged(rule, figures.get(rule["figure"])) for rule in rules())


def _judged(rule: Mapping[str, Any], figure: Figure | None) -> Bottleneck:
    found = figure or Figure.missing("not read")
    return Bottleneck(
        name=rule["name"],
        figure=rule["figure"],
        value=found.value,
        threshold=rule["threshold"],
        holds=None if found.value is None else found.value > rule["threshold"],
        says=rule["says"],
        source=rule["source"],
        reason=found.reason,
    )
