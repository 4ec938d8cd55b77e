"""What runtimes reach of a machine, from what was measured on it: the shares that predictions for others stand on.

Of each candidate that was measured: the share of the read bandwidth where its weights are too many for the caches, the
share of the float rate in the prompt, and the seconds for each block where the weights fit a cache. Those of one
backend and precision are carried together; their scatter is the error, never less than what one share was seen to
differ by from processor to processor (roofline.toml). Where nothing was measured, roofline.toml's shares serve.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, median
from typing import TYPE_CHECKING

from edgehone.plan import roofline, roofline_data
from edgehone.plan.roofline import Demand, Shares, Time

if TYPE_CHECKING:
    from edgehone.plan.target import Target

_Z = NormalDist().inv_cdf(0.975)
# Fewer shares than this tell too little of their scatter.
_ENOUGH = 3


@dataclass(frozen=True)
class Seen:
    """A candidate as it was measured: seconds of a token and of the prompt, and the shares that these are."""

    backend: str
    precision: str
    size: float
    token: float
    prompt: float
    read: float | None
    compute: float | None
    call: float | None


def seen(
    asked: Demand,
    backend: str,
    bits: float | None,
    *,
    size: float | None,
    decode: float | None,
    ttft_ms: float | None,
    here: Target,
) -> Seen | None:
    """The shares of a candidate of `size` bytes that decodes so many tokens a second on this machine, the first of them
    after so many milliseconds; None where one of these is missing."""
    if not (size and decode and ttft_ms):
        return None
    token, prompt = 1 / decode, ttft_ms / 1e3
    precision = roofline.precision_of(bits or 8 * size / asked.parameters)
    bandwidth, rate = here.bandwidth.value, roofline.rate_of(precision, here)
    cached = size < least_bytes(here)
    read = (
        None
        if cached or not bandwidth
        else (asked.used * size + asked.cache_bytes) / (token * bandwidth * 1e9)
    )
    return Seen(
        backend,
        precision,
        size,
        token,
        prompt,
        read,
        asked.prompt_operations / (prompt * rate) if rate else None,
        token / asked.layers if cached else None,
    )


def least_bytes(here: Target) -> float:
    """The bytes of weights from which a measured token tells of the memory: smaller ones lie in the caches."""
    return float(roofline.CACHED * (here.last_cache or roofline_data.table()["cached"]["unknown"]))


def shares(found: Sequence[Seen], backend: str, precision: str, own: Seen | None = None) -> Shares:
    """What the backend reaches at that precision; of a candidate that was measured (`own`), what it reached itself."""
    alike = [one for one in found if one.backend == backend and one.precision == precision]
    shipped = roofline_data.table()["shares"].get(backend) or roofline_data.table()["shares"]["other"]
    floor = float(roofline_data.table()["error"]["own"])

    def share(kind: str) -> tuple[float, float, bool]:
        values = [value for one in alike if (value := getattr(one, kind))]
        mine = getattr(own, kind) if own else None
        scatter = _scatter(found, kind)
        if mine or values:
            value = mine or _mean(values)
            return value, max(floor, scatter or floor), True
        known = shipped[kind][precision] if precision in shipped[kind] else shipped[kind]["low"]
        elsewhere = float(roofline_data.table()["error"][f"shipped_{kind}"])
        return _mean(known), max(elsewhere, _spread(known) or floor**2), False

    read, read_error, here = share("read")
    compute, compute_error, _ = share("compute")
    calls = [value for one in alike if (value := one.call)]
    call = (own.call if own else None) or (_mean(calls) if calls else float(shipped["call_us"]) / 1e6)
    told = "measured here" if here or calls else "shipped measurements"
    return Shares(read, read_error, compute, compute_error, call, told)


def left_out(found: Sequence[Seen], asked: Demand, here: Target) -> list[float]:
    """By what factor the time of a token is missed for each that was measured, predicted from all the others."""
    missed = []
    for at, one in enumerate(found):
        others = [*found[:at], *found[at + 1 :]]
        if not any(o.backend == one.backend and o.precision == one.precision for o in others):
            continue
        reached = shares(others, one.backend, one.precision)
        time = roofline.token_time(asked, one.precision, one.size, reached, here)
        if isinstance(time, Time):
            missed.append(math.exp(abs(math.log(time.seconds / one.token))))
    return missed


def told(missed: Sequence[float]) -> str | None:
    """That error in a sentence; None where nothing could be left out."""
    if not missed:
        return None
    return (
        f"left out one by one, the {len(missed)} measured here are predicted within a factor of {median(missed):.2f} "
        f"(median) and {max(missed):.2f} (worst)"
    )


def _scatter(found: Sequence[Seen], kind: str) -> float | None:
    """The factor that 95 % of the shares lie within about their own group's mean, over all groups; None of too few."""
    groups: dict[tuple[str, str], list[float]] = {}
    for one in found:
        if value := getattr(one, kind):
            groups.setdefault((one.backend, one.precision), []).append(math.log(value))
    rests = [value - sum(logs) / len(logs) for logs in groups.values() for value in logs]
    free = len(rests) - len(groups)
    if free < _ENOUGH - 1:
        return None
    return math.exp(_Z * math.sqrt(sum(rest**2 for rest in rests) / free))


def _spread(values: Sequence[float]) -> float | None:
    if len(values) < 2:
        return None
    logs = [math.log(value) for value in values]
    mean = sum(logs) / len(logs)
    return math.exp(_Z * math.sqrt(sum((log - mean) ** 2 for log in logs) / (len(logs) - 1)))


def _mean(values: Sequence[float]) -> float:
    return math.exp(sum(map(math.log, values)) / len(values))
