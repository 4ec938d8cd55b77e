"""Derive from measurements on this machine what shares of its peak rates runtimes reach.

Each measured candidate yields the share of the read bandwidth (if its weights exceed the caches), the share of the
float rate in the prompt, and the seconds per block (if its weights fit in a cache). Shares of one backend and precision
are averaged. Their scatter is the error, but at least the variation between processors in roofline.toml. Without
measurements, the shares of roofline.toml are used.
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
    from edgehone.plan.target import PredictionTarget

_Z = NormalDist().inv_cdf(0.975)
# Fewest shares whose scatter is used.
_ENOUGH = 3


@dataclass(frozen=True)
class Observation:
    """A measured candidate: seconds per token and per prompt, and the shares of the peak rates they amount to.

    `size` in bytes, `call` in seconds per block. A share that the measurement does not reveal is None.
    """

    backend: str
    precision: str
    size: float
    token: float
    prompt: float
    read: float | None
    compute: float | None
    call: float | None


def observe(
    demand: Demand,
    backend: str,
    bits: float | None,
    *,
    size: float | None,
    decode: float | None,
    ttft_ms: float | None,
    here: PredictionTarget,
) -> Observation | None:
    """Return the observation of a candidate: `size` in bytes, `decode` in tokens/s, `ttft_ms` in milliseconds.

    `here` is the machine that measured it. Returns None if a measurement is missing.
    """
    if not (size and decode and ttft_ms):
        return None
    token, prompt = 1 / decode, ttft_ms / 1e3
    precision = roofline.precision_of(bits or 8 * size / demand.parameters)
    bandwidth, rate = here.bandwidth.value, roofline.rate_of(precision, here)
    cached = size < min_uncached_bytes(here)
    read = (
        None
        if cached or not bandwidth
        else (demand.used * size + demand.cache_bytes) / (token * bandwidth * 1e9)
    )
    return Observation(
        backend,
        precision,
        size,
        token,
        prompt,
        read,
        demand.prompt_operations / (prompt * rate) if rate else None,
        token / demand.layers if cached else None,
    )


def min_uncached_bytes(here: PredictionTarget) -> float:
    """Return the least bytes of weights whose token time reveals the memory bandwidth. Smaller ones are cached."""
    return float(roofline.CACHED * (here.last_cache or roofline_data.table()["cached"]["unknown"]))


def shares(
    observations: Sequence[Observation], backend: str, precision: str, own: Observation | None = None
) -> Shares:
    """Return the shares that a backend reaches at a precision, from observations, else from roofline.toml.

    `own`: the observation of the candidate itself, if it was measured; its own shares then replace the averages.
    """
    backend = roofline_data.table()["same_runtime"].get(backend, backend)
    alike = [one for one in observations if one.backend == backend and one.precision == precision]
    shipped = roofline_data.table()["shares"].get(backend) or roofline_data.table()["shares"]["other"]
    floor = float(roofline_data.table()["error"]["own"])

    def share(kind: str) -> tuple[float, float, bool]:
        values = [value for one in alike if (value := getattr(one, kind))]
        mine = getattr(own, kind) if own else None
        scatter = _scatter(observations, kind)
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
    source = "measured here" if here or calls else "shipped measurements"
    return Shares(read, read_error, compute, compute_error, call, source)


def leave_one_out(observations: Sequence[Observation], demand: Demand, here: PredictionTarget) -> list[float]:
    """Predict the token time of each observation from all others. Return the errors as factors of at least 1.

    Observations without another one of the same backend and precision are left out.
    """
    errors = []
    for at, one in enumerate(observations):
        others = [*observations[:at], *observations[at + 1 :]]
        if not any(o.backend == one.backend and o.precision == one.precision for o in others):
            continue
        reached = shares(others, one.backend, one.precision)
        time = roofline.token_time(demand, one.precision, one.size, reached, here)
        if isinstance(time, Time):
            errors.append(math.exp(abs(math.log(time.seconds / one.token))))
    return errors


def describe_errors(errors: Sequence[float]) -> str | None:
    """Describe the errors of `leave_one_out` in a sentence. Return None if there are none."""
    if not errors:
        return None
    return (
        f"leave-one-out: the {len(errors)} candidates measured here are predicted within a factor of "
        f"{median(errors):.2f} (median) and {max(errors):.2f} (worst)"
    )


def _scatter(observations: Sequence[Observation], kind: str) -> float | None:
    """Return the factor within which 95 % of the shares lie around the mean of their group; None for too few shares.

    A group is a backend and precision. Deviations of all groups are pooled.
    """
    groups: dict[tuple[str, str], list[float]] = {}
    for one in observations:
        if value := getattr(one, kind):
            groups.setdefault((one.backend, one.precision), []).append(math.log(value))
    deviations = [value - sum(logs) / len(logs) for logs in groups.values() for value in logs]
    degrees_of_freedom = len(deviations) - len(groups)
    if degrees_of_freedom < _ENOUGH - 1:
        return None
    return math.exp(_Z * math.sqrt(sum(deviation**2 for deviation in deviations) / degrees_of_freedom))


def _spread(values: Sequence[float]) -> float | None:
    if len(values) < 2:
        return None
    logs = [math.log(value) for value in values]
    mean = sum(logs) / len(logs)
    return math.exp(_Z * math.sqrt(sum((log - mean) ** 2 for log in logs) / (len(logs) - 1)))


def _mean(values: Sequence[float]) -> float:
    return math.exp(sum(map(math.log, values)) / len(values))
