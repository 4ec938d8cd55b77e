"""Performance on this device: latency, throughput, memory and size, measured now, against what the decision states."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from edgehone.certify.found import Bound, Found, judged
from edgehone.certify.profile import Rule
from edgehone.certify.requests import Requests, requests_of
from edgehone.certify.subject import Subject
from edgehone.core.figure import Figure
from edgehone.evaluation import memory, speed, undisturbed
from edgehone.evaluation import statistics as st

# A request counts as undisturbed if at least this share of its time was.
OWN = 0.5
_P99 = st.percentile_needs(0.99)
# A round is given so much longer than its requests should take, within these seconds: on a busy machine it takes up to
# four times as long, and the time is limited.
_SPARE = 1.2
_SHORTEST, _LONGEST = 0.3, 5.0
_LEAST_ROUNDS = 2
# Percentiles are compared with the median, but with no less than this: below it, one interrupt of the system doubles a
# request.
FLOOR_MS = 1.0


@dataclass(frozen=True)
class Speed:
    """The rounds that were timed, their figures, and why they cannot be relied on (None if they can)."""

    rounds: Sequence[Mapping[str, Any]]
    figures: Mapping[str, Figure]
    disturbed: str | None


def measured_speed(subject: Subject) -> Speed:
    """Time the workload's requests in several processes, until there are enough for p99 or the time is over."""
    asked, measure = subject.once(requests_of), subject.profile.measure
    stated = subject.stated("workload_latency_ms").value
    rounds: list[Mapping[str, Any]] = []
    begun = time.perf_counter()
    while True:
        count = sum(map(len, _own(rounds)))
        over = time.perf_counter() - begun >= measure.latency_seconds
        if (len(rounds) >= measure.rounds and count >= _P99) or (len(rounds) >= _LEAST_ROUNDS and over):
            break
        missing = max(0, _P99 - count) / max(1, measure.rounds - len(rounds))
        wanted = missing * (stated or 1000.0) / 1000 * _SPARE
        seconds = min(_LONGEST, max(_SHORTEST, wanted))
        subject.say(f"timing requests, round {len(rounds) + 1}, {count} of {_P99} undisturbed so far")
        rounds.append(_round(subject, asked, seconds, cold=not rounds))
    figures = dict(speed.figures(rounds, asked.shape))
    figures |= _percentiles(rounds)
    bad = sum(speed.is_disturbed(one) for one in rounds)
    disturbed = f"other programs disturbed {bad} of {len(rounds)} rounds" if 2 * bad > len(rounds) else None
    return Speed(rounds, figures, disturbed)


def _round(subject: Subject, asked: Requests, seconds: float, *, cold: bool) -> Mapping[str, Any]:
    args = {**asked.args, "seconds": seconds, "cold": cold, "round": 0}
    return subject.measure(subject.job("edgehone.worker.speed:time_requests", args, asked.inputs)).facts


def _percentiles(rounds: Sequence[Mapping[str, Any]]) -> dict[str, Figure]:
    """Return percentiles of the requests that other programs left alone for at least half of their time, in ms."""
    own = [one for one in _own(rounds) if one]
    count = sum(map(len, own))
    found = {}
    for q in (0.5, 0.95, 0.99):
        name, needed = f"undisturbed_p{q * 100:.0f}_ms", st.percentile_needs(q)
        if count < needed:
            reason = f"{count} undisturbed requests were timed; p{q * 100:.0f} needs {needed}"
            found[name] = Figure.missing(reason, "ms")
        else:
            found[name] = st.quantile_of_rounds(own, q).figure("ms", least=0.0)
    return found


def _own(rounds: Sequence[Mapping[str, Any]]) -> list[list[float]]:
    """Return the milliseconds of the undisturbed requests of each round."""
    return [
        [1000 * one.total for one in undisturbed.of_round(each).requests if one.own >= OWN] for each in rounds
    ]


def latency_p50(subject: Subject, rule: Rule) -> Found:
    """Judge the latency of an undisturbed request."""
    found, target = subject.once(measured_speed), subject.profile.targets.latency_p50_ms
    if target is not None:
        return _timed(subject, found.figures["undisturbed_p50_ms"], "<=", target, "the median latency")
    return _against_stated(subject, found, "workload_latency_ms", "<=", rule.limit)


def latency_p95(subject: Subject, rule: Rule) -> Found:
    """Judge the 95th percentile of the latency."""
    return _percentile(subject, rule, "p95", subject.profile.targets.latency_p95_ms)


def latency_p99(subject: Subject, rule: Rule) -> Found:
    """Judge the 99th percentile of the latency."""
    return _percentile(subject, rule, "p99", subject.profile.targets.latency_p99_ms)


def throughput(subject: Subject, rule: Rule) -> Found:
    """Judge the requests answered per second."""
    found, target = subject.once(measured_speed), subject.profile.targets.throughput_per_s
    if target is not None:
        return _timed(subject, found.figures["requests_per_s"], ">=", target, "the throughput", "low")
    return _against_stated(subject, found, "requests_per_s", ">=", rule.limit)


def measured_memory(subject: Subject) -> Mapping[str, Figure]:
    """Measure the memory of a fresh process that answers one request of each client."""
    asked = subject.once(requests_of)
    few = {} if subject.is_language else {"most_samples": 4 * asked.shape.clients}
    subject.say("measuring memory")
    job = subject.job("edgehone.worker.memory:exercise", {**asked.args, **few}, asked.inputs)
    done = subject.measure(job, memory.MemoryWatch)
    return memory.figures(done.facts, done.watch, subject.settings.get("device"))


def peak_memory(subject: Subject, rule: Rule) -> Found:
    """Judge the peak of the memory of a process that runs the artifact."""
    peak, target = subject.once(measured_memory)["peak_memory_bytes"], subject.profile.targets.memory_mb
    if target is not None:
        return judged(_megabytes(peak), "<=", target, "value", "the peak memory", {"figure": peak.to_json()})
    stated = subject.stated("peak_memory_bytes")
    if reason := _not_comparable(subject, stated):
        return _undecided(reason, "[targets] memory_mb")
    evidence = {"measured": peak.to_json(), "stated": stated.to_json()}
    what = "the peak memory over the stated one"
    return judged(st.ratio_of(peak, stated, "times"), "<=", rule.limit, "value", what, evidence)


def size(subject: Subject, rule: Rule) -> Found:
    """Judge the bytes of the artifact."""
    total = sum(path.stat().st_size for path in subject.bundle.artifact.rglob("*") if path.is_file())
    target, stated = subject.profile.targets.size_mb, subject.candidate.bytes
    evidence = {"bytes": total, "stated": stated}
    if target is not None:
        return judged(Figure(total / 1e6, n=1, unit="MB"), "<=", target, "value", "the size", evidence)
    if not stated:
        return _undecided("the decision states no size", "[targets] size_mb")
    ratio = Figure(total / stated, n=1, unit="times")
    return judged(ratio, "<=", rule.limit, "value", "the size over the stated one", evidence)


def _percentile(subject: Subject, rule: Rule, name: str, target: float | None) -> Found:
    found = subject.once(measured_speed)
    figure, middle = found.figures[f"undisturbed_{name}_ms"], found.figures["undisturbed_p50_ms"]
    if target is not None:
        return _timed(subject, figure, "<=", target, f"the {name} of the latency")
    if figure.value is not None and middle.value is not None:
        base = max(middle.value, FLOOR_MS)
        ends = [None if end is None else end / base for end in (figure.low, figure.high)]
        figure = Figure(figure.value / base, ends[0], ends[1], figure.n, "times")
    return _timed(subject, figure, "<=", rule.limit, f"the {name} of the latency over its median", "value")


def _against_stated(
    subject: Subject, found: Speed, name: str, op: Literal[">=", "<="], limit: float
) -> Found:
    stated = subject.stated(name)
    if reason := _not_comparable(subject, stated):
        return _undecided(reason, "[targets]")
    ratio = st.ratio_of(found.figures[name], stated, "times")
    what = "the latency over the stated one" if op == "<=" else "the throughput over the stated one"
    return _timed(subject, ratio, op, limit, what, "value")


def _timed(
    subject: Subject,
    figure: Figure,
    op: Literal[">=", "<="],
    limit: float,
    what: str,
    bound: Bound = "high",
) -> Found:
    """Judge a figure of speed. On a machine that other programs disturbed a failure decides nothing."""
    found = subject.once(measured_speed)
    evidence = {
        "figures": {name: one.to_json() for name, one in found.figures.items()},
        "latencies_ms": [[1000 * r["total"] for r in one["requests"]] for one in found.rounds],
        "stated": {
            name: subject.stated(name).to_json() for name in ("workload_latency_ms", "requests_per_s")
        },
    }
    result = judged(figure, op, limit, bound, what, evidence)
    if result.outcome == "failed" and found.disturbed:
        reason = f"{result.reason}; {found.disturbed}: repeat it on a quiet machine"
        return Found(
            outcome="undecided", reason=reason, threshold=result.threshold, figure=figure, evidence=evidence
        )
    return result


def _not_comparable(subject: Subject, stated: Figure) -> str | None:
    if stated.value is None:
        return f"the decision states none: {stated.reason}"
    if stated.predicted:
        return "the decision's figure is a prediction"
    if not subject.is_same_device:
        return "the decision's figures are of another device"
    return None


def _undecided(reason: str, where: str) -> Found:
    return Found(outcome="undecided", reason=f"{reason}; set a limit of your own under {where} in --profile")


def _megabytes(figure: Figure) -> Figure:
    if figure.value is None:
        return Figure.missing(str(figure.reason), "MB")
    return Figure(figure.value / 1e6, n=figure.n, unit="MB")
