"""Compute a profile's figures and timeline from its samples.

Rates are differences of kernel counters over the steady part of the profile, from the first request after the warm-up
to the last. They come from one process, so n is 1 and they have no interval; latencies have one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from edgehone.core.figure import Figure
from edgehone.evaluation.statistics import coefficient_of_variation, percentile_needs, quantile_interval
from edgehone.profiling.result import Moment
from edgehone.profiling.watch import Sample
from edgehone.worker import energy

SHORT = "the profile was too short: at least two samples are needed while requests run"


@dataclass(frozen=True)
class Observation:
    """The steady part of a profile: latencies (s), times to first token (s), and samples of process and machine."""

    latencies: Sequence[float]
    ttfts: Sequence[float]
    samples: Sequence[Sample]
    seconds: float
    threads: int
    usable_bytes: int | None
    generated: int  # tokens per prompt; 0 for a graph
    batch: int  # prompts or samples per request
    reasons: Mapping[str, str]  # why a counter is missing, by name


def figures(observed: Observation) -> dict[str, Figure]:
    """Return every figure of the steady part."""
    return {
        **_requests(observed),
        **_processor(observed),
        **_memory(observed),
        **_clock(observed),
        **_energy(observed),
    }


def timeline(samples: Sequence[Sample], begun: float, most: int = 240) -> tuple[Moment, ...]:
    """Return the differences between samples, at most `most`; neighbouring samples are merged if there are more."""
    step = max(1, -(-max(0, len(samples) - 1) // most))
    kept = list(samples[::step])
    if samples and kept[-1] is not samples[-1]:
        kept.append(samples[-1])
    return tuple(_moment(one, other, begun) for one, other in pairwise(kept))


def start_figures(cold: Mapping[str, Any] | None, warm: Mapping[str, Any] | None) -> dict[str, Figure]:
    """Return the times of a cold and a warm start (ms), and the disk's share: 1 - warm / cold.

    The cold one is missing if files of the artifact stayed in the page cache (`still_cached`).
    """
    if cold is None or warm is None:
        reason = "the bundle did not start"
        return {
            "load_cold_ms": Figure.missing(reason, "ms"),
            "load_warm_ms": Figure.missing(reason, "ms"),
            "disk_share": Figure.missing(reason, "share"),
        }
    # Some runtimes load lazily at the first request, so it counts as part of the start.
    whole = {name: one["open"] + one["first"] for name, one in (("cold", cold), ("warm", warm))}
    load_warm = Figure(1000 * whole["warm"], n=1, unit="ms")
    if still_cached := cold.get("still_cached"):
        return {
            "load_cold_ms": Figure.missing(still_cached, "ms"),
            "load_warm_ms": load_warm,
            "disk_share": Figure.missing(still_cached, "share"),
        }
    return {
        "load_cold_ms": Figure(1000 * whole["cold"], n=1, unit="ms"),
        "load_warm_ms": load_warm,
        "disk_share": Figure(max(0.0, 1 - whole["warm"] / whole["cold"]), n=1, unit="share"),
    }


def bandwidth_share(artifact_bytes: int, decode: Figure, bandwidth: Figure, last_cache: int | None) -> Figure:
    """Return the bytes of weights read per second of decoding over the memory bandwidth (GB/s).

    Missing if the weights fit the processor's caches.
    """
    if decode.value is None or bandwidth.value is None:
        return Figure.missing(str(decode.reason if decode.value is None else bandwidth.reason), "share")
    if last_cache is not None and artifact_bytes < 2 * last_cache:
        return Figure.missing(
            "the weights fit the processor's caches, so memory bandwidth does not limit it", "share"
        )
    return Figure(artifact_bytes * decode.value / (bandwidth.value * 1e9), n=decode.n, unit="share")


def _requests(observed: Observation) -> dict[str, Figure]:
    milliseconds = [1000 * one for one in observed.latencies]
    found = {f"latency_p{100 * q:.0f}_ms": _percentile(milliseconds, q) for q in (0.5, 0.95, 0.99)}
    found["ttft_p50_ms"] = (
        _percentile([1000 * one for one in observed.ttfts], 0.5)
        if observed.ttfts
        else Figure.missing("the model generates no tokens", "ms")
    )
    spread = coefficient_of_variation(milliseconds) if milliseconds else None
    found["latency_cv"] = (
        Figure.missing("variation needs more than one request", "share")
        if spread is None
        else Figure(spread, n=len(milliseconds), unit="share")
    )
    count = len(milliseconds)
    found["requests"] = Figure(float(count), n=count)
    rate = count / observed.seconds if observed.seconds > 0 else 0.0
    found["requests_per_s"] = _rate(rate, count, "requests/s")
    found["tokens_per_s"] = (
        _rate(rate * observed.generated * observed.batch, count, "tokens/s")
        if observed.generated
        else Figure.missing("the model generates no tokens", "tokens/s")
    )
    found["decode_tokens_per_s"] = _decode(observed)
    return found


def _decode(observed: Observation) -> Figure:
    pairs = [
        (whole, first)
        for whole, first in zip(observed.latencies, observed.ttfts, strict=False)
        if whole > first
    ]
    if observed.generated < 2 or not pairs:
        return Figure.missing("no request generated two tokens", "tokens/s")
    rates = sorted((observed.generated - 1) / (whole - first) for whole, first in pairs)
    return Figure(rates[len(rates) // 2], n=len(rates), unit="tokens/s")


def _rate(value: float, n: int, unit: str) -> Figure:
    return Figure(value, n=n, unit=unit) if n else Figure.missing("no request was completed", unit)


def _percentile(milliseconds: list[float], q: float) -> Figure:
    needed = 1 if q == 0.5 else percentile_needs(q)
    if len(milliseconds) < needed or not milliseconds:
        return Figure.missing(f"{len(milliseconds)} requests were timed; p{q * 100:.0f} needs {needed}", "ms")
    return quantile_interval(milliseconds, q).figure("ms", least=0.0)


def _processor(observed: Observation) -> dict[str, Figure]:
    names = ("cpu_use", "run_delay", "switches_per_s", "involuntary_per_s", "running_per_core")
    if len(observed.samples) < 2:
        return {name: Figure.missing(SHORT) for name in names}
    first, last = observed.samples[0], observed.samples[-1]
    span = last.at - first.at
    cpu = _grown(first.process.cpu, last.process.cpu)
    waited = _grown(first.process.waited, last.process.waited)
    voluntary = _grown(first.process.voluntary, last.process.voluntary)
    involuntary = _grown(first.process.involuntary, last.process.involuntary)
    unavailable = "the system does not provide this counter per process"
    ready = [one.running for one in observed.samples if one.running is not None]
    lanes = len(last.cores) or None
    both = None if voluntary is None or involuntary is None else voluntary + involuntary
    delay = None if waited is None or cpu is None or cpu + waited <= 0 else waited / (cpu + waited)
    return {
        "cpu_use": _once(None if cpu is None else cpu / (span * observed.threads), "share", unavailable),
        "run_delay": _once(delay, "share", unavailable),
        "switches_per_s": _once(None if both is None else both / span, "1/s", unavailable),
        "involuntary_per_s": _once(None if involuntary is None else involuntary / span, "1/s", unavailable),
        "running_per_core": _once(
            sum(ready) / len(ready) / lanes if ready and lanes else None, "threads", unavailable
        ),
    }


def _memory(observed: Observation) -> dict[str, Figure]:
    unavailable = "the system does not split a process's memory into kinds"
    peaks = {
        name: max((v for one in observed.samples if (v := getattr(one, name)) is not None), default=None)
        for name in ("anonymous", "file_mapped")
    }
    resident = [
        (one.anonymous or 0) + (one.file_mapped or 0) + (one.shared or 0)
        for one in observed.samples
        if one.anonymous is not None
    ]
    peak = max(resident, default=None)
    share = peak / observed.usable_bytes if peak is not None and observed.usable_bytes else None
    return {
        "resident_bytes": _once(peak, "bytes", unavailable),
        "anonymous_bytes": _once(peaks["anonymous"], "bytes", unavailable),
        "file_mapped_bytes": _once(peaks["file_mapped"], "bytes", unavailable),
        "memory_share": _once(share, "share", unavailable),
    }


def _clock(observed: Observation) -> dict[str, Figure]:
    clocks = [sum(one.mhz) / len(one.mhz) for one in observed.samples if one.mhz]
    unavailable = observed.reasons.get("frequencies_mhz", SHORT)
    quarter = max(1, len(clocks) // 4)
    drop = None
    if len(clocks) >= 4:
        begin, end = (sum(part) / len(part) for part in (clocks[:quarter], clocks[-quarter:]))
        drop = max(0.0, 1 - end / begin)
    heat = [one.warmest_c for one in observed.samples if one.warmest_c is not None]
    first, last = (observed.samples[0], observed.samples[-1]) if observed.samples else (None, None)
    throttles = _grown(first.throttles, last.throttles) if first and last else None
    return {
        "mhz": _once(sum(clocks) / len(clocks) if clocks else None, "MHz", unavailable),
        "mhz_drop": _once(drop, "share", unavailable),
        "warmest_c": _once(max(heat, default=None), "°C", observed.reasons.get("temperatures_c", SHORT)),
        "throttles": _once(throttles, "events", observed.reasons.get("core_throttle_count", SHORT)),
        "quota_share": _once(_quota(observed.samples), "share", "the control group has no processor quota"),
    }


def _quota(samples: Sequence[Sample]) -> float | None:
    counts = [one.quota for one in samples if one.quota is not None]
    if len(counts) < 2 or counts[-1][0] <= counts[0][0]:
        return None
    return (counts[-1][1] - counts[0][1]) / (counts[-1][0] - counts[0][0])


def _energy(observed: Observation) -> dict[str, Figure]:
    if reason := energy.why_unreadable():
        return {"joules_per_request": Figure.missing(reason, "J")}
    readings = [one.joules for one in observed.samples if one.joules]
    if len(readings) < 2 or not observed.latencies:
        return {"joules_per_request": Figure.missing(SHORT, "J")}
    # Counters wrap around every few minutes, so at most once between two samples.
    spent = sum(energy.joules(one, other) for one, other in pairwise(readings))
    return {"joules_per_request": Figure(spent / len(observed.latencies), n=1, unit="J")}


def _moment(one: Sample, other: Sample, begun: float) -> Moment:
    span = max(other.at - one.at, 1e-9)
    busy = []
    for (was, all_was), (now, all_now) in zip(one.cores, other.cores, strict=False):
        busy.append(min(1.0, max(0.0, (now - was) / (all_now - all_was))) if all_now > all_was else 0.0)
    switches = [
        _grown(getattr(one.process, kind), getattr(other.process, kind))
        for kind in ("voluntary", "involuntary")
    ]
    known = [count for count in switches if count is not None]
    return Moment(
        at=other.at - begun,
        cores=tuple(busy),
        anonymous=other.anonymous,
        file_mapped=other.file_mapped,
        mhz=sum(other.mhz) / len(other.mhz) if other.mhz else None,
        warmest_c=other.warmest_c,
        switches_per_s=sum(known) / span if len(known) == len(switches) else None,
    )


def _grown(before: Any, after: Any) -> float | None:
    """Return the growth of a counter, at least 0: the counts of threads that ended disappear with them."""
    return None if before is None or after is None else max(0.0, float(after) - float(before))


def _once(value: float | None, unit: str, reason: str) -> Figure:
    return Figure.missing(reason, unit) if value is None else Figure(float(value), n=1, unit=unit)
