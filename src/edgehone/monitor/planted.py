"""Series of metrics that break the limit of an alert, or keep it: for the tests of rules that are made beside them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from edgehone.monitor.alert import Alert
from edgehone.monitor.expression import Condition, Series, Share, Total, totals_of

Case = Literal["breaks", "keeps", "few"]
# Seconds between two scrapes, and between two evaluations: less often than in use, so that the tests are quick.
TEST_INTERVAL_S = 30
# What a counter of requests grows between two scrapes where there are enough, also of bad ones of a small share.
_REQUESTS = 1000.0


@dataclass(frozen=True)
class Line:
    """A series that grows by `step` between two scrapes; 0 for a gauge."""

    metric: str
    labels: Mapping[str, str]
    start: float
    step: float


def cases(alert: Alert) -> tuple[Case, ...]:
    """Return the cases of an alert: it fires if its limit is broken, and not if it is kept, or requests are few."""
    return ("breaks", "keeps", "few") if _enough(alert) else ("breaks", "keeps")


def seconds(alert: Alert) -> float:
    """Return after how long an alert whose limit is broken from the start has fired, whatever its windows."""
    return alert.for_s + min(_longest(alert), 600.0) + 60.0


def lines(alert: Alert, case: Case, scrapes: int) -> list[Line]:
    """Return the series of a case, for so many scrapes."""
    first, enough = alert.conditions[0], _enough(alert)
    requests = 0.4 * (enough.limit + 0.5) / scrapes if enough and case == "few" else _REQUESTS
    found = list(_broken(first, requests, scrapes, breaks=case != "keeps"))
    others = [one for one in alert.conditions[1:] if one is not enough]
    return found + [
        _line(one.value.series, one.limit + 1, 0) for one in others if isinstance(one.value, Total)
    ]


def example(pattern: str) -> str:
    """Return a text that a regular expression of alerts.toml matches. Raises ValueError if none is found."""
    text = pattern.partition("|")[0].replace(".*", "x").replace(".", "0").replace("\\\\0", ".")
    if not re.fullmatch(pattern, text):
        raise ValueError(f"no example is known of the regular expression {pattern!r}")
    return text


def _broken(one: Condition, requests: float, scrapes: int, *, breaks: bool) -> Iterator[Line]:
    if isinstance(one.value, Share):
        yield from _shared(one.value, _beside(one, breaks, most=1.0), requests)
    elif isinstance(one.value, Total) and one.value.over == "now":
        yield _line(one.value.series, _beside(one, breaks), 0)
    elif isinstance(one.value, Total):
        beside = _beside(one, breaks)
        yield _line(
            one.value.series, 1000, beside * TEST_INTERVAL_S if one.value.over == "rate" else beside / scrapes
        )


def _beside(one: Condition, breaks: bool, most: float = float("inf")) -> float:
    """Return a value that is well beyond the limit, or well within it."""
    if (one.op == ">") == breaks:
        return min(most, 2 * one.limit) if one.limit else 2.0
    return one.limit / 2


def _shared(one: Share, share: float, requests: float) -> Iterator[Line]:
    part = _line(one.part.series, 1000, requests * (1 - share if one.rest else share))
    yield part
    whole = _line(one.whole.series, 1000, requests)
    if one.whole.series.metric != one.part.series.metric:
        yield whole
        return
    # The whole has the part in it: the rest of it is a series with other labels.
    other = {name: "other" for name in one.part.series.where if name not in one.whole.series.where}
    yield Line(whole.metric, {**part.labels, **other}, 1000, requests - part.step)


def _line(series: Series, start: float, step: float) -> Line:
    labels = {name: example(pattern) for name, pattern in series.where.items()} | dict(series.labels)
    return Line(series.metric, labels, start, step)


def _enough(alert: Alert) -> Condition | None:
    """Return the condition that there are enough requests."""
    of = [
        one for one in alert.conditions[1:] if isinstance(one.value, Total) and one.value.over == "increase"
    ]
    return of[0] if of else None


def _longest(alert: Alert) -> float:
    return max(total.window_s for one in alert.conditions for total in totals_of(one.value))
