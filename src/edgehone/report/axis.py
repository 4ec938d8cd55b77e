"""Axes: the positions of values in per cent of the length, and ticks."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from edgehone.report.figures import BYTES, power_of_ten, shape

# A logarithmic axis shows this many decades below its largest value. Smaller values are drawn at its end, marked ≤.
DECADES = 4.0
# The axis is logarithmic if the ratio of the largest value to the smallest exceeds this.
_WIDE = 3.0
_MOST_TICKS = 5
# Values that differ by a smaller share are shown as equal: ticks have six digits.
_EQUAL = 1e-4
# Margin at both ends, as a share of the length.
_PAD = 0.06


@dataclass(frozen=True)
class Axis:
    """An axis from `low` to `high`.

    `cut`: smaller values are drawn at its low end. Ticks are (position in per cent, text).
    """

    low: float
    high: float
    log: bool
    cut: bool
    ticks: tuple[tuple[float, str], ...]

    def at(self, value: float) -> float:
        """Return the position of a value in per cent, between 0 and 100."""
        return round(_share(value, self.low, self.high, self.log) * 100, 2)


def axis(name: str, unit: str, values: Iterable[float], *, zero: bool = False) -> Axis:
    """Return an axis for a figure that contains all `values`, starting at 0 if `zero`, for lengths to be comparable."""
    finite = [v for v in values if math.isfinite(v)] or [0.0, 1.0]
    least, most = min(finite), max(finite)
    positive = [v for v in finite if v > 0]
    if not zero and shape(name).log and positive and most / min(positive) > _WIDE:
        floor = max(min(positive), most / 10**DECADES)
        pad = (most / floor) ** _PAD
        low, high = floor / pad, most * pad
        steps, log, cut = _log_steps(low, high), True, least < floor
    else:
        span = most - least
        if span < _EQUAL * max(abs(most), abs(least)) or not span:  # ticks between them would read the same
            span = abs(most) or 1.0
        low = 0.0 if zero else least - _PAD * span
        high = most + _PAD * span
        steps, log, cut = _linear_steps(low, high), False, False
    ticks = [(round(100 * _share(v, low, high, log), 2), _tick(v, name, unit)) for v in steps]
    return Axis(low, high, log, cut, tuple(ticks))


def _share(value: float, low: float, high: float, log: bool) -> float:
    if log:
        value, low, high = math.log(max(value, low)), math.log(low), math.log(high)
    return min(1.0, max(0.0, (value - low) / (high - low)))


def _linear_steps(low: float, high: float) -> list[float]:
    """Return round numbers, about five."""
    rough = (high - low) / _MOST_TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= rough)
    return [i * step for i in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _log_steps(low: float, high: float) -> list[float]:
    """Return powers of ten, with 2 and 5 between them if there is room; round numbers within less than a decade."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for factors in ((1, 2, 5), (1, 3), (1,)):
        steps = [f * 10.0**e for e in range(first, last + 1) for f in factors if low <= f * 10.0**e <= high]
        if len(steps) <= _MOST_TICKS:
            return steps if len(steps) > 2 else _linear_steps(low, high)
    return steps[:: math.ceil(len(steps) / _MOST_TICKS)]


def _tick(value: float, name: str, unit: str) -> str:
    if value == 0:
        return "0"
    if unit == "share" or shape(name).percent:
        text = f"{100 * value:.6g} %"
    elif unit == "bytes":
        size, word = next((pair for pair in BYTES if abs(value) >= pair[0]), BYTES[-1])
        text = f"{value / size:.6g} {word}"
    elif value and abs(value) < 1e-3:
        factor, times, power = power_of_ten(value, 6).partition(" × ")
        text = f"{float(factor):g}{times}{power}" if times else factor
    else:
        text = f"{value:,.6g}"
    return text.replace("-", "−")
