"""The table of alerts: alerts.toml, checked field by field."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from edgehone.core import typed_json
from edgehone.core.errors import InputError
from edgehone.core.typed_json import OPTIONAL
from edgehone.monitor.expression import Join, Operator

TABLE = Path(__file__).with_name("alerts.toml")
Symptom = Literal[
    "latency", "memory", "throughput", "errors", "accuracy", "drift", "infrastructure", "security", "business"
]
Severity = Literal["page", "ticket"]
Kind = Literal["quantile", "ratio", "rate", "increase", "gauge"]
_HINT = "its head says what the fields are"
_Share = Annotated[float, msgspec.Meta(gt=0, lt=1)]
_Seconds = Annotated[float, msgspec.Meta(ge=0)]
_Positive = Annotated[float, msgspec.Meta(gt=0)]


@dataclass(frozen=True)
class Limit:
    """A factor of the profile, multiplied by a baseline of the certificate if one is named."""

    factor: str
    baseline: str | None = field(default=None, metadata=OPTIONAL)


@dataclass(frozen=True, kw_only=True)
class Row:
    """What an alert and an objective have in common; the head of alerts.toml says what the fields are."""

    name: str
    symptom: Symptom
    kind: Kind
    metric: str
    where: Mapping[str, str] = field(default_factory=dict, metadata=OPTIONAL)
    of: str | None = field(default=None, metadata=OPTIONAL)
    of_where: Mapping[str, str] = field(default_factory=dict, metadata=OPTIONAL)
    by: tuple[str, ...] = field(default=("model",), metadata=OPTIONAL)
    least: _Seconds = field(default=0.0, metadata=OPTIONAL)
    says: str
    do: str


@dataclass(frozen=True, kw_only=True)
class AlertRow(Row):
    """An entry [[alert]]."""

    severity: Severity
    q: _Share | None = field(default=None, metadata=OPTIONAL)
    window_s: _Seconds = field(default=0.0, metadata=OPTIONAL)
    join: Join = field(default="sum", metadata=OPTIONAL)
    busy: bool = field(default=False, metadata=OPTIONAL)
    op: Operator
    limit: float | Limit
    unit: str
    for_s: _Seconds


@dataclass(frozen=True, kw_only=True)
class ObjectiveRow(Row):
    """An entry [[objective]]. `limit` is that of a request that is good, None where `where` says what is bad."""

    limit: Limit | None = field(default=None, metadata=OPTIONAL)
    objective: _Share
    least_bad: _Positive


@dataclass(frozen=True, kw_only=True)
class BurnRow:
    """An entry [[burn]]: how many times too fast the budget is used up, by both windows."""

    name: str
    burn: float
    long_s: _Seconds
    short_s: _Seconds
    for_s: _Seconds
    severity: Severity


@dataclass(frozen=True)
class Table:
    """alerts.toml."""

    alert: tuple[AlertRow, ...]
    objective: tuple[ObjectiveRow, ...]
    burn: tuple[BurnRow, ...]

    @property
    def rows(self) -> tuple[AlertRow | ObjectiveRow, ...]:
        """Alerts and objectives."""
        return (*self.alert, *self.objective)


@lru_cache(maxsize=1)
def table() -> Table:
    """Return the table that ships."""
    return read_table(TABLE)


def read_table(path: Path) -> Table:
    """Return a table. Raises InputError for unknown fields, values of another type, and rows that make no sense."""
    try:
        parsed = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}", hint=_HINT) from error
    found = typed_json.read(Table, parsed, path.name, hint=_HINT)
    names = [one.name for one in found.rows]
    for row in found.rows:
        if problem := _problem(row) or ("its name is there twice" if names.count(row.name) > 1 else None):
            raise InputError(f"{path.name}: {row.name}: {problem}", hint=_HINT)
    return found


def _problem(row: AlertRow | ObjectiveRow) -> str | None:
    if (row.kind == "ratio") != (row.of is not None):
        return "`of` belongs to the kind ratio, which needs it"
    return _problem_of_alert(row) if isinstance(row, AlertRow) else _problem_of_objective(row)


def _problem_of_alert(row: AlertRow) -> str | None:
    if (row.kind == "quantile") != (row.q is not None):
        return "`q` belongs to the kind quantile, which needs it"
    if row.kind == "quantile" and row.op != ">":
        return "a quantile can only be above its limit"
    if (row.kind == "gauge") != (row.window_s == 0):
        return "every kind but gauge needs `window_s`"
    return None


def _problem_of_objective(row: ObjectiveRow) -> str | None:
    if row.kind not in ("ratio", "quantile") or (row.kind == "quantile") != (row.limit is not None):
        return "an objective is a ratio, or a quantile with a limit"
    return None
