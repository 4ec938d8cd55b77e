"""Speed figures, from rounds of native greedy generation; each round is a fresh process, interleaved over candidates.

A round opens the artifact, generates once to warm up, then times whole requests: the same prompt ids and the same
number of generated tokens for every framework. Prefill is prompt tokens / time to the first token; decode is the
tokens after the first / the time they took. Rounds are the independent samples: the interval is over rounds, so it
includes what varies from process to process (memory layout, scheduling, the clock).

Candidates are compared by what their requests take undisturbed (`evaluation.undisturbed`). What users saw on the
machine as it was, other programs included, is `observed_latency_ms` and the percentiles.

Under load several clients run in a closed loop, each with one request in progress at any time. N clients then complete
N requests in the mean latency (Little's law, 1961), from which the throughput is computed.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgehone.core.figure import Figure
from edgehone.evaluation import stream
from edgehone.evaluation.statistics import (
    coefficient_of_variation,
    mean_interval,
    percentile_needs,
    quantile_of_rounds,
    rounds_interval,
    t_quantile,
)
from edgehone.evaluation.undisturbed import Undisturbed, of_round

# An interval within ±3 % of the value is tight enough to compare candidates; a wider one is marked as unstable.
STEADY = 0.03
# Above this share of the processors, other processes slow a measurement enough to be reported.
DISTURBED = 0.1
# The variation of requests is that of those which were undisturbed for this share of their time.
OWN = 0.8
# Why there is no variation then. It may be small all the same, so no gate on it fails.
ALL_DISTURBED = "other programs disturbed every request"
# The figures of this module, with their units.
UNITS = {
    "ttft_ms": "ms",
    "workload_latency_ms": "ms",
    "observed_latency_ms": "ms",
    "prefill_tokens_per_s": "tokens/s",
    "decode_tokens_per_s": "tokens/s",
    "requests_per_s": "requests/s",
    "tokens_per_s_total": "tokens/s",
    "latency_cv": "ratio",
    "latency_p50_ms": "ms",
    "latency_p95_ms": "ms",
    "latency_p99_ms": "ms",
    "load_cold_ms": "ms",
    "load_warm_ms": "ms",
}

# The figures of opening the artifact.
LOADS = ("load_cold_ms", "load_warm_ms")

_NO_PREFILL = {
    True: "the time to the first token includes waiting for other clients",
    False: "the number of positions that a picture takes depends on the runtime",
}


@dataclass(frozen=True)
class Request:
    """A request of the workload.

    It has `batch` prompts of `prompt_tokens` (0 with a picture), and `generated` tokens are generated for each (0 for a
    graph). `clients` send requests at the same time. `frames_per_s` is the rate of a stream, 0 if there is none.
    """

    prompt_tokens: int = 0
    generated: int = 0
    batch: int = 1
    clients: int = 1
    frames_per_s: float = 0.0


def figures(rounds: Sequence[Mapping[str, Any]], request: Request) -> dict[str, Figure]:
    """Return the speed figures of one candidate from all its rounds."""
    calm = [of_round(one) for one in rounds]
    seen = [[1000 * r["total"] for r in one["requests"]] for one in rounds]
    rates = [[_rate(one, each, request)] for one, each in zip(rounds, calm, strict=True)]
    out = {
        "workload_latency_ms": _over_rounds([[1000 * _total(one, request)] for one in calm], "ms"),
        "observed_latency_ms": _over_rounds(seen, "ms"),
        "latency_cv": _variation(calm),
    }
    out |= _tokens(calm, rates, request) if request.generated else _no_tokens()
    out["requests_per_s"] = _over_rounds(rates, "requests/s")
    if request.frames_per_s:
        out["dropped_frames"] = stream.dropped(rounds)
    for q in (0.5, 0.95, 0.99):
        out[f"latency_p{q * 100:.0f}_ms"] = _percentile(seen, q)
    out["load_cold_ms"] = _load([one for one in rounds if one["cold"]])
    out["load_warm_ms"] = _load([one for one in rounds if not one["cold"]])
    return out


def latency_ms(one: Mapping[str, Any], request: Request) -> float:
    """Return what an undisturbed request of a round takes, in milliseconds."""
    return 1000 * _total(of_round(one), request)


def rate_of(one: Mapping[str, Any], request: Request) -> float:
    """Return the prompts, samples or frames answered per second in a round, over all clients."""
    return _rate(one, of_round(one), request)


def is_disturbed(one: Mapping[str, Any]) -> bool:
    """Return True if other programs left a round hardly any undisturbed time."""
    return not of_round(one).enough


def _total(calm: Undisturbed, request: Request) -> float:
    """Return the seconds of an undisturbed request.

    Requests of several clients, and frames of a stream, wait for each other. A low quantile of these would be that of
    requests that need not wait, so their median is taken.
    """
    if request.clients == 1 and not request.frames_per_s:
        return calm.total
    return statistics.median(timed.total for timed in calm.requests)


def _first(calm: Undisturbed, request: Request) -> float:
    if request.clients == 1 and calm.first is not None:
        return calm.first
    return statistics.median(timed.first for timed in calm.requests if timed.first is not None)


def _rate(one: Mapping[str, Any], calm: Undisturbed, request: Request) -> float:
    if request.frames_per_s:
        return stream.rate(one, request.frames_per_s)
    if request.clients == 1:
        return request.batch / calm.total
    return request.clients * request.batch / statistics.fmean(timed.total for timed in calm.requests)


def _tokens(calm: Sequence[Undisturbed], rates: list[list[float]], request: Request) -> dict[str, Figure]:
    total = [[_total(one, request)] for one in calm]
    ttft = [[_first(one, request)] for one in calm]
    prefill = [[request.batch * request.prompt_tokens / t for t in one] for one in ttft]
    return {
        "ttft_ms": _over_rounds([[1000 * t for t in one] for one in ttft], "ms"),
        "prefill_tokens_per_s": _over_rounds(prefill, "tokens/s")
        if request.clients == 1 and request.prompt_tokens
        else Figure.missing(_NO_PREFILL[request.prompt_tokens > 0], "tokens/s"),
        "decode_tokens_per_s": _decode(ttft, total, request.generated),
        "tokens_per_s_total": _over_rounds(
            [[request.generated * rate for rate in one] for one in rates], "tokens/s"
        ),
    }


def _no_tokens() -> dict[str, Figure]:
    names = ("ttft_ms", "prefill_tokens_per_s", "decode_tokens_per_s", "tokens_per_s_total")
    return {name: Figure.missing("the model generates no tokens", UNITS[name]) for name in names}


def disturbance(rounds: Sequence[Mapping[str, Any]]) -> float | None:
    """Return the mean share of the processors that other processes used during the rounds; None if unknown."""
    shares = [share for one in rounds if (share := one["conditions"]["others_share"]) is not None]
    return sum(shares) / len(shares) if shares else None


def is_steady(latency: Figure) -> bool:
    """Return True if the latency's 95 % interval is within ±3 % of its value."""
    if latency.value is None or latency.low is None or latency.high is None:
        return False
    return (latency.high - latency.low) / 2 <= STEADY * latency.value


def _over_rounds(samples: list[list[float]], unit: str) -> Figure:
    return rounds_interval(samples).figure(unit, least=0.0)


def _decode(ttft: list[list[float]], total: list[list[float]], generated: int) -> Figure:
    if generated < 2:
        return Figure.missing("the workload generates fewer than two tokens", "tokens/s")
    if any(
        whole <= first for pair in zip(ttft, total, strict=True) for first, whole in zip(*pair, strict=True)
    ):
        return Figure.missing("the backend returns all tokens at once", "tokens/s")
    rates = [
        [(generated - 1) / (whole - first) for first, whole in zip(*pair, strict=True)]
        for pair in zip(ttft, total, strict=True)
    ]
    return _over_rounds(rates, "tokens/s")


def _variation(calm: Sequence[Undisturbed]) -> Figure:
    """Return the variation between requests of one process, pooled over the rounds.

    Only requests that were undisturbed for at least OWN of their time count, since variation that other programs cause
    is not the candidate's. Variation between processes is part of the latency's interval instead; but of rounds of one
    long request each there is no other.
    """
    if len(calm) > 1 and all(len(one.requests) == 1 for one in calm):
        cv = coefficient_of_variation(
            [one.requests[0].total for one in calm if one.requests[0].own >= OWN] or [0.0]
        )
        return Figure.missing(ALL_DISTURBED, "ratio") if cv is None else Figure(cv, n=len(calm), unit="ratio")
    own = [[timed.total for timed in one.requests if timed.own >= OWN] for one in calm]
    spreads = [(len(one) - 1, cv) for one in own if one and (cv := coefficient_of_variation(one)) is not None]
    if not spreads:
        alone = all(len(one.requests) < 2 for one in calm)
        return Figure.missing("one request per round has no variation" if alone else ALL_DISTURBED, "ratio")
    pooled = (sum(free * cv**2 for free, cv in spreads) / sum(free for free, _ in spreads)) ** 0.5
    n = sum(free + 1 for free, _ in spreads)
    if len(spreads) < 2:
        return Figure(pooled, n=n, unit="ratio")
    half = t_quantile(len(spreads) - 1) * statistics.stdev(cv for _, cv in spreads) / len(spreads) ** 0.5
    return Figure(pooled, max(0.0, pooled - half), pooled + half, n, "ratio")


def _percentile(rounds: list[list[float]], q: float) -> Figure:
    count, needed = sum(len(one) for one in rounds), percentile_needs(q)
    if count < needed:
        return Figure.missing(f"{count} requests were timed; p{q * 100:.0f} needs {needed}", "ms")
    return quantile_of_rounds(rounds, q).figure("ms", least=0.0)


def _load(rounds: Sequence[Mapping[str, Any]]) -> Figure:
    if not rounds:
        return Figure.missing("no round started this way", "ms")
    # A round that was meant to start cold tells nothing if its artifact was still in the page cache.
    if still_cached := next((one["still_cached"] for one in rounds if one.get("still_cached")), None):
        return Figure.missing(still_cached, "ms")
    return mean_interval([one["load"] * 1000 for one in rounds]).figure("ms", least=0.0)
