"""Stress: the start of a server, load past its capacity, memory afterwards, and the death of its engine."""

from __future__ import annotations

from dataclasses import replace

from edgehone.certify.found import Found, counted, judged
from edgehone.certify.profile import Rule
from edgehone.certify.serving import BELOW, BEYOND, CALM, Loads, loads, summary
from edgehone.certify.subject import Subject
from edgehone.core.figure import Figure
from edgehone.serve.load.loads import quantile, served

# A latency below this is no base for a ratio: the client's own time is a part of it.
FLOOR = 0.04


def start(subject: Subject, rule: Rule) -> Found:
    """Judge the seconds until a server is ready."""
    found = subject.once(loads)
    figure = Figure(found.ready, n=1, unit="s")
    return judged(
        figure, "<=", rule.limit, "value", "the time until the server is ready", {"seconds": found.ready}
    )


def overload(subject: Subject, rule: Rule) -> Found:
    """Count the answers that are neither an answer nor a refusal, and capacity that is lost."""
    found = subject.once(loads)
    problems = [
        f"{count} requests {where} the capacity end with status {status}"
        for where, answers in (("below", found.below), ("beyond", found.beyond))
        for status, count in summary(answers).items()
        if status not in ("200", "429")
    ]
    if not served(found.beyond):
        problems.append(f"at {BEYOND:g} times the capacity no request is answered")
    told = (
        f"at {BEYOND:g} times the capacity of {found.capacity:.3g} requests/s {len(served(found.beyond))} of "
        f"{len(found.beyond)} requests are answered and the others refused with 429"
    )
    return counted(problems, told, _evidence(found), n=len(found.below) + len(found.beyond))


def overload_latency(subject: Subject, rule: Rule) -> Found:
    """Judge the p99 of the answered requests beyond the capacity over that below it.

    While other programs run a failure decides nothing: the answers wait for them, and longer under the larger load.
    """
    found = subject.once(loads)
    low, high = (
        quantile([one.seconds for one in served(answers)], 0.99) for answers in (found.below, found.beyond)
    )
    count = min(len(served(found.below)), len(served(found.beyond)))
    figure = (
        Figure(high / max(low, FLOOR), n=count, unit="times")
        if count
        else Figure.missing("no request is answered", "times")
    )
    what = f"the p99 of answers at {BEYOND:g} times the capacity over that at {BELOW:g} times"
    evidence = {**_evidence(found), "p99_s": [low, high], "others": found.others}
    result = judged(figure, "<=", rule.limit, "value", what, evidence)
    if result.outcome == "failed" and found.others is not None and found.others > CALM:
        busy = f"other programs took {found.others:.0%} of the processors: repeat it on a quiet machine"
        return replace(result, outcome="undecided", reason=f"{result.reason}; {busy}")
    return result


def memory_returns(subject: Subject, rule: Rule) -> Found:
    """Judge the memory after the overload over that before it."""
    found = subject.once(loads)
    figure = Figure(found.memory_after / found.memory_before, n=1, unit="times")
    evidence = {"before_mb": found.memory_before, "after_mb": found.memory_after}
    return judged(
        figure, "<=", rule.limit, "value", "the memory after the overload over that before", evidence
    )


def recovery(subject: Subject, rule: Rule) -> Found:
    """Judge the seconds from the death of the engine until the server answers again."""
    found = subject.once(loads)
    if found.recovery is None:
        return counted(["the server does not answer again after its engine was killed"], "")
    figure = Figure(found.recovery, n=1, unit="s")
    what = "the time from the engine's death until the server answers again"
    return judged(figure, "<=", rule.limit, "value", what, {"seconds": found.recovery})


def _evidence(found: Loads) -> dict[str, object]:
    return {
        "capacity_per_s": found.capacity,
        "below": summary(found.below),
        "beyond": summary(found.beyond),
        "latencies_below_s": [one.seconds for one in served(found.below)],
        "latencies_beyond_s": [one.seconds for one in served(found.beyond)],
    }
