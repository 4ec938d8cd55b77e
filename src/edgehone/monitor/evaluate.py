"""Evaluate alerts from scrapes of /metrics, without Prometheus. Both raise the same alerts of the same traffic."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from edgehone.monitor.alert import Alert
from edgehone.monitor.exposition import Labels, samples
from edgehone.monitor.expression import Condition, Join, Quantile, Series, Share, Total, Value, totals_of
from edgehone.monitor.samples import Samples
from edgehone.serve.measured.quantile import interpolated

# A pause between scrapes that is longer is a gap: what held before it is not known to have held during it. It is also
# how long Prometheus uses a last value.
GAP_S = 300.0
# Prometheus gives its targets these labels; alerts on `up` name the job.
UP, JOB = "up", "edgehone"

_JOINS: Mapping[Join, Callable[[list[float]], float]] = {"sum": math.fsum, "max": max, "min": min}

Group = tuple[str, ...]  # the values of the labels that a value is told apart by


@dataclass(frozen=True)
class Firing:
    """An alert that holds. `value` is compared with the limit; `figure` is what people are shown, in the alert's unit.

    `since` is when it began to hold, on the clock of `Evaluator.add`; `pending`: it has not held for `for_s` yet.
    """

    alert: Alert
    labels: Mapping[str, str]
    value: float
    figure: float | None
    since: float
    pending: bool = False

    @property
    def says(self) -> str:
        """What is wrong, in words."""
        return filled(self.alert.says, self.labels)

    @property
    def do(self) -> str:
        """What to do."""
        return filled(self.alert.do, self.labels)


def urgency(one: Firing) -> tuple[bool, bool, str]:
    """Return what firing alerts are sorted by: those that hold for their time first, then pages."""
    return one.pending, one.alert.severity != "page", one.alert.name


def filled(text: str, labels: Mapping[str, str]) -> str:
    """Return a text of alerts.toml with its labels in braces replaced by their values."""
    return re.sub(r"\{(\w+)\}", lambda match: labels.get(match[1], "?"), text)


class Evaluator:
    """Alerts, evaluated at each scrape.

    It keeps only what they need, for as long as their longest window.
    """

    def __init__(self, alerts: Sequence[Alert]) -> None:
        self._alerts = tuple(alerts)
        self._kept = _windows(self._alerts)
        self._series: dict[str, dict[Labels, Samples]] = {}
        self._held: dict[tuple[int, Group], Firing] = {}
        self._told: float | None = None  # the caller's time of the last scrape
        self._now, self._step = 0.0, 10.0
        self._ahead = 0.0  # how far the caller's clock has jumped back in all
        self.problem: str | None = None

    def add(self, at: float, text: str | None) -> None:
        """Add the text of a scrape, None for one that failed, and evaluate the alerts.

        `at` is in seconds on any clock, best on a monotonic one: where it jumps back, the usual time between two
        scrapes is taken to have passed, and where it jumps ahead, scrapes are missing. Text that cannot be read is a
        scrape that failed; `problem` then says why.
        """
        gap = self._pass(at)
        self.problem = None
        try:
            found = [] if text is None else list(samples(text, self._kept))
        except ValueError as error:
            self.problem, text, found = str(error), None, []
        for metric, labels, value in found:
            self._put(metric, labels, value)
        self._put(UP, (("job", JOB),), float(text is not None))
        self._evaluate(gap)

    def firing(self) -> tuple[Firing, ...]:
        """Return the alerts that have held for their time, at the last scrape."""
        return tuple(one for one in self._held.values() if not one.pending)

    def pending(self) -> tuple[Firing, ...]:
        """Return the alerts that hold, but not for their time yet."""
        return tuple(one for one in self._held.values() if one.pending)

    def value(self, value: Value) -> Mapping[Group, float]:
        """Return what a value is at the last scrape, by the values of its labels."""
        if isinstance(value, Total):
            return self._total(value)
        if isinstance(value, Quantile):
            return self._quantile(value)
        return self._share(value)

    def _pass(self, at: float) -> bool:
        """Let time pass. Returns whether more passed than `GAP_S`."""
        if self._told is None:
            self._now = at
        elif at <= self._told:
            self._now += self._step
            self._ahead += self._told - at + self._step
        else:
            step, self._now = at - self._told, at + self._ahead
            if step <= GAP_S:
                self._step = step
        gap = self._told is not None and at - self._told > GAP_S
        self._told = at
        return gap

    def _put(self, metric: str, labels: Labels, value: float) -> None:
        if metric in self._kept and not math.isnan(value):
            of_metric = self._series.setdefault(metric, {})
            if labels not in of_metric:
                of_metric[labels] = Samples(self._kept[metric])
            of_metric[labels].add(self._now, value)

    def _evaluate(self, gap: bool) -> None:
        held: dict[tuple[int, Group], Firing] = {}
        for index, alert in enumerate(self._alerts):
            figures: Mapping[Group, float] | None = None
            for group, value in self._holding(alert.conditions).items():
                figures = self.value(alert.figure) if figures is None else figures
                before = self._held.get((index, group))
                kept = before is not None and not (gap and before.pending)
                since = before.since if before is not None and kept else self._now
                now = Firing(
                    alert, dict(zip(alert.labels, group, strict=True)), value, figures.get(group), since
                )
                held[index, group] = replace(now, pending=self._now - since < alert.for_s)
        self._held = held

    def _holding(self, conditions: Sequence[Condition]) -> Mapping[Group, float]:
        """Return the values of the first condition where all hold."""
        found: dict[Group, float] | None = None
        for one in conditions:
            values = self.value(one.value)
            true = {group for group, value in values.items() if _holds(one, value)}
            found = (
                {group: values[group] for group in true}
                if found is None
                else {group: value for group, value in found.items() if group in true}
            )
            if not found:
                break
        return dict(sorted((found or {}).items()))

    def _total(self, one: Total) -> dict[Group, float]:
        joined: dict[Group, list[float]] = {}
        for labels, series in self._chosen(one.series):
            if (value := self._over(one, series)) is not None:
                known = dict(labels)
                joined.setdefault(tuple(known.get(label, "") for label in one.by), []).append(value)
        return {group: _JOINS[one.join](values) for group, values in joined.items()}

    def _over(self, one: Total, series: Samples) -> float | None:
        if one.over == "now":
            at, value = series.last
            return value if at == self._now else None  # it is no longer told
        if one.over == "least":
            return series.least(self._now, one.window_s)
        grown = series.increase(self._now, one.window_s)
        return grown / one.window_s if grown is not None and one.over == "rate" else grown

    def _share(self, one: Share) -> dict[Group, float]:
        wholes = self._total(one.whole)
        found = {}
        for group, part in self._total(one.part).items():
            if group in wholes:
                whole = wholes[group]
                share = part / whole if whole else math.nan if part == 0 else math.inf
                found[group] = 1 - share if one.rest else share
        return found

    def _quantile(self, one: Quantile) -> dict[Group, float]:
        buckets: dict[Group, list[tuple[float, float]]] = {}
        for (bound, *group), count in self._total(one.buckets).items():
            buckets.setdefault(tuple(group), []).append((float(bound), count))
        return {group: interpolated(one.q, sorted(found)) for group, found in buckets.items()}

    def _chosen(self, series: Series) -> Iterable[tuple[Labels, Samples]]:
        patterns = [(label, _compiled(pattern)) for label, pattern in series.where.items()]
        for labels, found in self._series.get(series.metric, {}).items():
            known = dict(labels)
            same = all(known.get(label, "") == text for label, text in series.labels.items())
            if same and all(pattern.fullmatch(known.get(label, "")) for label, pattern in patterns):
                yield labels, found


def _holds(one: Condition, value: float) -> bool:
    return value > one.limit if one.op == ">" else value < one.limit


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def _windows(alerts: Sequence[Alert]) -> dict[str, float]:
    """Return the metrics that alerts need, with their longest windows."""
    kept: dict[str, float] = {}
    for alert in alerts:
        for value in (alert.figure, *(one.value for one in alert.conditions)):
            for total in totals_of(value):
                kept[total.series.metric] = max(kept.get(total.series.metric, 0.0), total.window_s)
    return kept
