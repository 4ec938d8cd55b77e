"""Speed: rounds of native greedy generation, each round a fresh process, interleaved over the candidates.

A round opens the artifact, generates once to warm up, then times whole requests: the same prompt ids in and the
same count of tokens out for every framework. Prefill is prompt tokens / time to the first token; decode is the
tokens after the first / the time they took. Rounds are the independent samples: what differs from process to
process (memory layout, the scheduler, the clock) shows in the interval, which is over rounds.

Under load a request is one of several that are under way. Clients in a closed loop answer for the throughput: N of
them, each with one request under way at any time, are answered N times in the mean latency (Little, 1961).
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

# An interval of ±3 % of the value is tight enough to compare candidates by; wider is marked unstable.
STEADY = 0.03
# Above this share of the processors, others slow a measurement enough to be told.
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
    True: "the time to the first token holds the waiting for other clients",
    False: "how many positions a picture takes is each runtime's own matter",
}


@dataclass(frozen=True)
class Asked:
    """What a request is: `prompt_tokens` (0 with a picture) and `generated` of a prompt (0 for a graph), `batch` of
    them; `clients` ask at once. `frames_per_s` is the pace of a stream, 0 where requests follow each other."""

    prompt_tokens: int = 0
    generated: int = 0
    batch: int = 1
    clients: int = 1
    frames_per_s: float = 0.0


def figures(rounds: Sequence[Mapping[str, Any]], asked: Asked) -> dict[str, Figure]:
    """The speed figures of all rounds of one candidate; raw samples stay in the rounds' job folders."""
    total = [[r["total"] for r in one["requests"]] for one in rounds]
    every = [value * 1000 for one in total for value in one]
    out = {
        "workload_latency_ms": _over_rounds([[1000 * t for t in one] for one in total], "ms"),
        "latency_cv": _variation(total),
    }
    out |= _tokens(rounds, total, asked) if asked.generated else _no_tokens()
    out["requests_per_s"] = _over_rounds([[rate_of(one, asked)] for one in rounds], "requests/s")
    if asked.frames_per_s:
        out["dropped_frames"] = stream.dropped(rounds)
    for q in (0.5, 0.95, 0.99):
        out[f"latency_p{q * 100:.0f}_ms"] = _percentile(every, q)
    out["load_cold_ms"] = _load([one for one in rounds if one["cold"]])
    out["load_warm_ms"] = _load([one for one in rounds if not one["cold"]])
    return out


def rate_of(one: Mapping[str, Any], asked: Asked) -> float:
    """Prompts, samples or frames that were answered a second in a round, by all clients together."""
    if asked.frames_per_s:
        return stream.rate(one, asked.frames_per_s)
    return asked.clients * asked.batch / statistics.fmean(request["total"] for request in one["requests"])


def _tokens(rounds: Sequence[Mapping[str, Any]], total: list[list[float]], asked: Asked) -> dict[str, Figure]:
    ttft = [[r["ttft"] for r in one["requests"]] for one in rounds]
    prefill = [[asked.batch * asked.prompt_tokens / t for t in one] for one in ttft]
    return {
        "ttft_ms": _over_rounds([[1000 * t for t in one] for one in ttft], "ms"),
        "prefill_tokens_per_s": _over_rounds(prefill, "tokens/s")
        if asked.clients == 1 and asked.prompt_tokens
        else Figure.missing(_NO_PREFILL[asked.prompt_tokens > 0], "tokens/s"),
        "decode_tokens_per_s": _decode(ttft, total, asked.generated),
        "tokens_per_s_total": _over_rounds(
            [[asked.generated * rate_of(one, asked)] for one in rounds], "tokens/s"
        ),
    }


def _no_tokens() -> dict[str, Figure]:
    names = ("ttft_ms", "prefill_tokens_per_s", "decode_tokens_per_s", "tokens_per_s_total")
    return {name: Figure.missing("the model generates no tokens", UNITS[name]) for name in names}


def middle_ms(one: Mapping[str, Any]) -> float:
    """The median of a round's whole requests, in milliseconds."""
    return 1000 * float(statistics.median(request["total"] for request in one["requests"]))


def disturbance(rounds: Sequence[Mapping[str, Any]]) -> float | None:
    """The share of the processors that other processes took meanwhile, averaged over the rounds; None if unknown."""
    shares = [share for one in rounds if (share := one["conditions"]["others_share"]) is not None]
    return sum(shares) / len(shares) if shares else None


def is_steady(latency: Figure) -> bool:
    """Whether the interval is within ±3 % of the value."""
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
        return Figure.missing("the backend hands over all tokens at once", "tokens/s")
    rates = [
        [(generated - 1) / (whole - first) for first, whole in zip(*pair, strict=True)]
        for pair in zip(ttft, total, strict=True)
    ]
    return _over_rounds(rates, "tokens/s")


def _variation(total: list[list[float]]) -> Figure:
    """From request to request within a process, pooled over the rounds: what differs between processes is in the
    interval of the latency, not here."""
    spreads = [(len(one) - 1, cv) for one in total if (cv := coefficient_of_variation(one)) is not None]
    if not spreads:
        return Figure.missing("one request a round tells nothing of variation", "ratio")
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
