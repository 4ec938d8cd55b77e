"""What alerts and panels compute of the metrics of a server: a closed form, with one meaning in PromQL and in Python.

`promql.py` writes it for Prometheus, `evaluate.py` computes it from scrapes. A value is a `Total`, such as

    sum by (model) (increase(edgehone_engine_restarts[600s]))

a `Share` of one in another, or a `Quantile`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

# now: the last value; increase: how much a counter grew in the window, without its resets; rate: that a second;
# least: the lowest value of a gauge in the window.
Over = Literal["now", "increase", "rate", "least"]
Join = Literal["sum", "max", "min"]
Operator = Literal[">", "<"]


@dataclass(frozen=True)
class Series:
    """The series of a metric whose labels match.

    `where` maps a label to a regular expression of its whole value (RE2), `labels` to the value itself.
    """

    metric: str
    where: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Total:
    """Series, each over a window of seconds, joined to one value for each combination of the labels `by`."""

    series: Series
    over: Over = "now"
    window_s: float = 0.0
    by: tuple[str, ...] = ()
    join: Join = "sum"


@dataclass(frozen=True)
class Share:
    """`part` divided by `whole`, for the labels that both have; `rest`: 1 minus that."""

    part: Total
    whole: Total
    rest: bool = False


@dataclass(frozen=True)
class Quantile:
    """The quantile q of a histogram, interpolated in its bucket. `buckets` are joined by `le` and the other labels."""

    q: float
    buckets: Total


Value = Total | Share | Quantile


@dataclass(frozen=True)
class Condition:
    """A value above or below a limit."""

    value: Value
    op: Operator
    limit: float


def totals_of(value: Value) -> tuple[Total, ...]:
    """Return the totals that a value is made of."""
    if isinstance(value, Share):
        return value.part, value.whole
    return (value,) if isinstance(value, Total) else (value.buckets,)
