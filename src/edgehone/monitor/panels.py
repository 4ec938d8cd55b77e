"""The table of the dashboard's panels: panels.toml."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from edgehone.core import typed_json
from edgehone.core.typed_json import OPTIONAL
from edgehone.monitor.expression import Join, Quantile, Series, Share, Total, Value
from edgehone.monitor.table import Kind

WINDOW_S = 300.0
TABLE = Path(__file__).with_name("panels.toml")


@dataclass(frozen=True, kw_only=True)
class Query:
    """A query of a panel; the head of panels.toml says what the fields are."""

    kind: Kind
    metric: str
    legend: str
    where: Mapping[str, str] = field(default_factory=dict, metadata=OPTIONAL)
    of: str | None = field(default=None, metadata=OPTIONAL)
    of_where: Mapping[str, str] = field(default_factory=dict, metadata=OPTIONAL)
    by: tuple[str, ...] = field(default=("model",), metadata=OPTIONAL)
    join: Join = field(default="sum", metadata=OPTIONAL)
    q: float | None = field(default=None, metadata=OPTIONAL)

    def value(self, where: Mapping[str, str]) -> Value:
        """Return what is asked, of series whose labels match `where` too; `model` only where the query has it."""
        more = {name: text for name, text in where.items() if name != "model" or "model" in self.by}
        if self.kind == "quantile":
            assert self.q is not None
            buckets = Series(f"{self.metric}_bucket", {**self.where, **more})
            return Quantile(self.q, Total(buckets, "rate", WINDOW_S, ("le", *self.by)))
        series = Series(self.metric, {**self.where, **more})
        if self.kind == "ratio":
            assert self.of is not None
            whole = Series(self.of, {**self.of_where, **more})
            return Share(Total(series, "rate", WINDOW_S, self.by), Total(whole, "rate", WINDOW_S, self.by))
        if self.kind == "gauge":
            return Total(series, by=self.by, join=self.join)
        return Total(series, "rate" if self.kind == "rate" else "increase", WINDOW_S, self.by)


@dataclass(frozen=True, kw_only=True)
class Panel:
    """A panel: its queries, the alerts whose limits it shows, and when it may be empty."""

    title: str
    unit: str
    query: tuple[Query, ...]
    alerts: tuple[str, ...] = field(default=(), metadata=OPTIONAL)
    empty: str | None = field(default=None, metadata=OPTIONAL)


@dataclass(frozen=True)
class Row:
    """A row of panels."""

    title: str
    panel: tuple[Panel, ...]


@dataclass(frozen=True)
class Panels:
    """panels.toml."""

    row: tuple[Row, ...]


@lru_cache(maxsize=1)
def panels() -> tuple[Row, ...]:
    """Return the rows."""
    parsed = tomllib.loads(TABLE.read_text("utf-8"))
    return typed_json.read(Panels, parsed, TABLE.name, hint="its head says what the fields are").row
