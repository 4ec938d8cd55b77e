"""Speed figures, from rounds of native greedy generation; each round is a fresh process, interleaved over candidates.

A round opens the artifact, generates once to warm up, then times whole requests: the same prompt ids and the same
number of generated tokens for every framework. Prefill is prompt tokens / time to the first token; decode is the
tokens after the first / the time they took. Rounds are the independent samples: the interval is over rounds, so it
includes what varies from process to process (memory layout, scheduling, the clock).

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
    quantile_interval,
    rounds_interval,
)

# An interval within ±3 % of the value is tight enough to compare candidates; a wider one is marked as unstable.
STEADY = 0.03
# Above this share of the processors, other processes slow a measurement enough to be reported.
DISTURBED = 0.1
# The figures of this module, with their units.
UNITS = {
    "ttft_ms": "ms",
    "workload_latency_ms": "ms",
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
    total = [[r["total"] for r in one["requests"]] for one in rounds]
    every = [value * 1000 for one in total for value in one]
    out = {
        "workload_latency_ms": _over_rounds([[1000 * t for t in one] for one in total], "ms"),
        "latency_cv": _variation(total),
    }
    out |= _tokens(rounds, total, request) if request.generated else _no_tokens()
    out["requests_per_s"] = _over_rounds([[rate_of(one, request)] for one in rounds], "requests/s")
    if request.frames_per_s:
        out["dropped_frames"] = stream.dropped(rounds)
    for q in (0.5, 0.95, 0.99):
        out[f"latency_p{q * 100:.0f}_ms"] = _percentile(every, q)
    out["load_cold_ms"] = _load([one for one in rounds if one["cold"]])
    out["load_warm_ms"] = _load([one for one in rounds if not one["cold"]])
    return out


def rate_of(one: Mapping[str, Any], request: Request) -> float:
    """Return the prompts, samples or frames answered per second in a round, over all clients."""
    if request.frames_per_s:
        return stream.rate(one, request.frames_per_s)
    return request.clients * request.batch / statistics.fmean(timed["total"] for timed in one["requests"])


def _tokens(
    rounds: Sequence[Mapping[str, Any]], total: list[list[float]], request: Request
) -> dict[str, Figure]:
    ttft = [[r["ttft"] for r in one["requests"]] for one in rounds]
    prefill = [[request.batch * request.prompt_tokens / t for t in one] for one in ttft]
    return {
        "ttft_ms": _over_rounds([[1000 * t for t in one] for one in ttft], "ms"),
        "prefill_tokens_per_s": _over_rounds(prefill, "tokens/s")
        if request.clients == 1 and request.prompt_tokens
        else Figure.missing(_NO_PREFILL[request.prompt_tokens > 0], "tokens/s"),
        "decode_tokens_per_s": _decode(ttft, total, request.generated),
        "tokens_per_s_total": _over_rounds(
            [[request.generated * rate_of(one, request)] for one in rounds], "tokens/s"
        ),
    }


def _no_tokens() -> dict[str, Figure]:
    names = ("ttft_ms", "prefill_tokens_per_s", "decode_tokens_per_s", "tokens_per_s_total")
    return {name: Figure.missing("the model generates no tokens", UNITS[name]) for name in names}


def median_ms(one: Mapping[str, Any]) -> float:
    """Return the median latency of a round's requests in milliseconds."""
    return 1000 * float(statistics.median(timed["total"] for timed in one["requests"]))


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


def _variation(total: list[list[float]]) -> Figure:
    """Return the variation between requests of one process, pooled over the rounds.

    Variation between processes is part of the latency's interval instead.
    """
    spreads = [(len(one) - 1, cv) for one in total if (cv := coefficient_of_variation(one)) is not None]
    if not spreads:
        return Figure.missing("one request per round has no variation", "ratio")
    pooled = sum(free * cv**2 for free, cv in spreads) / sum(free for free, _ in spreads)
    return Figure(pooled**0.5, n=sum(len(one) for one in total), unit="ratio")


def _percentile(every: list[float], q: float) -> Figure:
    needed = percentile_needs(q)
    if len(every) < needed:
        return Figure.missing(f"{len(every)} requests were timed; p{q * 100:.0f} needs {needed}", "ms")
    return quantile_interval(every, q).figure("ms", least=0.0)


def _load(rounds: Sequence[Mapping[str, Any]]) -> Figure:
    if not rounds:
        return Figure.missing("no round started this way", "ms")
    # A round that was meant to start cold tells nothing if its artifact was still in the page cache.
    if still_cached := next((one["still_cached"] for one in rounds if one.get("still_cached")), None):
        return Figure.missing(still_cached, "ms")
    return mean_interval([one["load"] * 1000 for one in rounds]).figure("ms", least=0.0)
