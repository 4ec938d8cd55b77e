"""Alerts with their limits: the rows of alerts.toml, applied to the baselines of the bundles that are served."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from edgehone.monitor.expression import Condition, Operator, Quantile, Series, Share, Total, Value
from edgehone.monitor.table import (
    AlertRow,
    BurnRow,
    Kind,
    Limit,
    ObjectiveRow,
    Row,
    Severity,
    Symptom,
    Table,
    table,
)
from edgehone.serve.buckets import BOUNDS


@dataclass(frozen=True)
class Baselines:
    """What certification measured of a bundle, by name, and the factors of its profile.

    `model` is the name under which it is served. `reasons` says of figures that are missing why they are, and `reason`
    why all are.
    """

    model: str
    figures: Mapping[str, float]
    factors: Mapping[str, float]
    reasons: Mapping[str, str] = field(default_factory=dict)
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class Alert:
    """An alert: it is raised where all conditions held for `for_s` seconds; its value is that of the first.

    `figure` is what people are shown, in `unit`: for a quantile the quantile itself, interpolated in a bucket, else
    that value. `limit` is in that unit too, and `basis` says what it was made of. `labels` are those that tell
    instances of the alert apart; `says` and `do` may name them in braces. `model` is whose baseline is in the limit,
    else None. `burn` is of an alert on an objective: how many times too fast its budget is used up.
    """

    name: str
    symptom: Symptom
    severity: Severity
    kind: Kind
    conditions: tuple[Condition, ...]
    figure: Value
    op: Operator
    limit: float
    unit: str
    basis: str
    for_s: float
    says: str
    do: str
    labels: tuple[str, ...]
    model: str | None
    burn: float | None = None


@dataclass(frozen=True)
class LeftOut:
    """An alert that is missing, of a model, and why."""

    name: str
    model: str
    reason: str


def alerts(baselines: Sequence[Baselines], rows: Table | None = None) -> tuple[Alert, ...]:
    """Return the alerts on a server of bundles with these baselines; those without a baseline they need are missing."""
    return tuple(one for one in _made(baselines, rows or table()) if isinstance(one, Alert))


def left_out(baselines: Sequence[Baselines], rows: Table | None = None) -> tuple[LeftOut, ...]:
    """Return the alerts that `alerts` leaves out, with the reasons."""
    return tuple(one for one in _made(baselines, rows or table()) if isinstance(one, LeftOut))


def faster(alert: Alert, times: float) -> Alert:
    """Return an alert whose windows and `for_s` are so many times shorter."""

    def total(one: Total) -> Total:
        return replace(one, window_s=one.window_s / times)

    def value(one: Value) -> Value:
        if isinstance(one, Share):
            return replace(one, part=total(one.part), whole=total(one.whole))
        return total(one) if isinstance(one, Total) else replace(one, buckets=total(one.buckets))

    conditions = tuple(replace(one, value=value(one.value)) for one in alert.conditions)
    return replace(alert, conditions=conditions, figure=value(alert.figure), for_s=alert.for_s / times)


class _Missing(Exception):
    """A baseline or a factor that an alert needs is not there; the message says why."""


def _made(baselines: Sequence[Baselines], rows: Table) -> Iterator[Alert | LeftOut]:
    for row in rows.rows:
        if isinstance(row.limit, Limit):
            for one in baselines if row.limit.baseline else _strictest(baselines, row.limit):
                yield from _of_model(row, rows.burn, one)
        else:
            yield from _of_row(row, rows.burn, None)


def _strictest(baselines: Sequence[Baselines], limit: Limit) -> Sequence[Baselines]:
    """Return one of the baselines for a limit that is about the whole server: that with the lowest factor."""
    return sorted(baselines, key=lambda one: one.factors.get(limit.factor, float("inf")))[:1]


def _of_model(
    row: AlertRow | ObjectiveRow, burns: Sequence[BurnRow], one: Baselines
) -> Iterator[Alert | LeftOut]:
    try:
        yield from list(_of_row(row, burns, one))
    except _Missing as missing:
        yield LeftOut(row.name, one.model, str(missing))


def _of_row(row: AlertRow | ObjectiveRow, burns: Sequence[BurnRow], one: Baselines | None) -> Iterator[Alert]:
    if isinstance(row, AlertRow):
        yield _alert(row, one)
    else:
        yield from (_burning(row, burn, one) for burn in burns)


def _alert(row: AlertRow, baselines: Baselines | None) -> Alert:
    limit, basis = _limit(row.limit, baselines)
    model = baselines.model if baselines and isinstance(row.limit, Limit) and row.limit.baseline else None
    if row.kind == "quantile":
        assert row.q is not None
        first = Condition(_slower(row, limit, row.window_s, model), ">", round(1 - row.q, 9))
        figure: Value = quantile(
            _series(f"{row.metric}_bucket", row.where, model), row.q, row.window_s, row.by
        )
    else:
        figure = _value(row, model)
        first = Condition(figure, row.op, limit)
    conditions = [first]
    if row.least:
        conditions.append(_enough(row, row.window_s, model))
    if row.busy:
        waiting = Total(_series("edgehone_waiting_requests", {}, model), "least", row.window_s, row.by)
        conditions.append(Condition(waiting, ">", 0))
    return Alert(
        name=row.name, symptom=row.symptom, severity=row.severity, kind=row.kind, conditions=tuple(conditions),
        figure=figure, op=row.op, limit=limit, unit=row.unit, basis=basis, for_s=row.for_s, says=row.says, do=row.do,
        labels=row.by, model=model,
    )  # fmt: skip


def _burning(row: ObjectiveRow, burn: BurnRow, baselines: Baselines | None) -> Alert:
    limit, basis, model = 0.0, "", None
    if row.limit:
        limit, basis = _limit(row.limit, baselines)
        basis, model = (
            f"requests longer than {limit:.4g} s, {basis}; ",
            baselines.model if baselines else None,
        )
    budget = round(1 - row.objective, 9)
    most = round(burn.burn * budget, 9)
    if most >= 1:
        raise ValueError(f"{row.name}: a budget of {budget:g} cannot be used up {burn.burn:g} times too fast")
    conditions = tuple(
        Condition(_bad(row, limit, window, model), ">", most) for window in (burn.long_s, burn.short_s)
    )
    conditions += (_enough_bad(row, burn.long_s, most, model),)
    return Alert(
        name=f"{row.name}_budget_{burn.name}", symptom=row.symptom, severity=burn.severity, kind=row.kind,
        conditions=conditions, figure=conditions[0].value, op=">", limit=most, unit="share",
        basis=f"{basis}{burn.burn:g} times the budget of {budget:g}, in {burn.long_s:g} s and in {burn.short_s:g} s",
        for_s=burn.for_s, says=row.says, do=row.do, labels=row.by, model=model, burn=burn.burn,
    )  # fmt: skip


def _limit(limit: float | Limit, baselines: Baselines | None) -> tuple[float, str]:
    """Return a limit as a number, and what it was made of."""
    if not isinstance(limit, Limit):
        return limit, "a fixed limit"
    assert baselines is not None
    factor = baselines.factors.get(limit.factor)
    if factor is None:
        raise _Missing(baselines.reason or f"the certificate has no factor {limit.factor!r}")
    if limit.baseline is None:
        return factor, f"{limit.factor} of the profile"
    figure = baselines.figures.get(limit.baseline)
    if figure is None:
        none = f"the certificate has no baseline {limit.baseline!r}"
        raise _Missing(baselines.reasons.get(limit.baseline) or none)
    return factor * figure, f"{factor:g} times {limit.baseline} of the certificate, {figure:.4g}"


def quantile(buckets: Series, q: float, window_s: float, by: tuple[str, ...]) -> Quantile:
    """Return a quantile of a histogram from its buckets."""
    return Quantile(q, Total(buckets, "rate", window_s, ("le", *by)))


def _series(metric: str, where: Mapping[str, str], model: str | None, **labels: str) -> Series:
    return Series(metric, where, labels if model is None else {**labels, "model": model})


def _value(row: AlertRow, model: str | None) -> Value:
    series = _series(row.metric, row.where, model)
    if row.kind == "ratio":
        return _ratio(row, row.window_s, model)
    if row.kind == "gauge":
        return Total(series, "now", by=row.by, join=row.join)
    return Total(series, "rate" if row.kind == "rate" else "increase", row.window_s, row.by)


def _ratio(row: Row, window_s: float, model: str | None) -> Share:
    assert row.of is not None
    part = Total(_series(row.metric, row.where, model), "rate", window_s, row.by)
    return Share(part, Total(_series(row.of, row.of_where, model), "rate", window_s, row.by))


def _bad(row: ObjectiveRow, limit: float, window_s: float, model: str | None) -> Share:
    return _ratio(row, window_s, model) if row.kind == "ratio" else _slower(row, limit, window_s, model)


def _slower(row: Row, limit: float, window_s: float, model: str | None) -> Share:
    """Return the share of observations beyond the smallest bound of a bucket that is not below the limit."""
    bounds = BOUNDS[row.metric]
    at = bisect_left(bounds, limit)
    if at == len(bounds):
        raise _Missing(
            f"the limit of {limit:.4g} s is beyond {bounds[-1]:g} s, the last bucket of {row.metric}"
        )
    within = _series(f"{row.metric}_bucket", row.where, model, le=str(float(bounds[at])))
    whole = _series(f"{row.metric}_count", row.where, model)
    return Share(Total(within, "rate", window_s, row.by), Total(whole, "rate", window_s, row.by), rest=True)


def _enough(row: Row, window_s: float, model: str | None) -> Condition:
    """Return the condition that at least so many observations came. Increases are extrapolated, hence not whole."""
    if row.kind == "quantile":
        series = _series(f"{row.metric}_count", row.where, model)
    else:
        series = _series(row.of or row.metric, row.of_where, model)
    return Condition(Total(series, "increase", window_s, row.by), ">", row.least - 0.5)


def _enough_bad(row: ObjectiveRow, window_s: float, most: float, model: str | None) -> Condition:
    """Return the condition that so many bad requests came, where their share is above `most`."""
    if row.kind == "ratio":
        series, least = _series(row.metric, row.where, model), row.least_bad
    else:
        series, least = _series(f"{row.metric}_count", row.where, model), row.least_bad / most
    return Condition(Total(series, "increase", window_s, row.by), ">", least - 0.5)
