"""Stability over a soak: growth of latency and memory, and answers that change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edgehone.certify.found import Found, counted
from edgehone.certify.profile import Rule
from edgehone.certify.serving import CALM, Block, loads
from edgehone.certify.subject import Subject
from edgehone.certify.trend import ALPHA, LEAST, trend
from edgehone.core.figure import Figure
from edgehone.serve.load.loads import quantile

# The quantile of a block's latencies: other programs only ever add time, so a low one is the server's own.
LOW = 0.25


def latency_trend(subject: Subject, rule: Rule) -> Found:
    """Judge the growth of the latency over the soak, by the blocks that other programs left alone if enough are.

    Growth fails only if the latency grows compared with a fixed unit of work, too: else the processor became slower.
    """
    blocks = [one for one in subject.once(loads).blocks if one.latencies]
    calm = [one for one in blocks if one.others is None or one.others <= CALM]
    used = calm if len(calm) >= LEAST else blocks
    latencies = [1000 * quantile(one.latencies, LOW) for one in used]
    found = _growth(latencies, rule, "latency", "ms", used)
    if found.outcome != "failed":
        return found
    units = [one.unit_ms for one in used]
    found = replace(found, evidence={**found.evidence, "unit_ms": units})
    compared = trend([latency / unit for latency, unit in zip(latencies, units, strict=True)])
    if not compared.grows(rule.limit):
        reason = (
            f"{found.reason}; compared with a fixed unit of work {compared.growth:+.1%}, p = {compared.p:.2g}: the "
            f"processors became slower meanwhile, repeat it with a longer --soak"
        )
        return replace(found, outcome="undecided", reason=reason)
    if used is not calm:
        reason = f"{found.reason}; other programs ran in {len(blocks) - len(calm)} blocks: repeat it on a quiet machine"
        return replace(found, outcome="undecided", reason=reason)
    return found


def memory_trend(subject: Subject, rule: Rule) -> Found:
    """Judge the growth of the memory of the server and its engine over the soak."""
    blocks = subject.once(loads).blocks
    return _growth([one.memory for one in blocks], rule, "memory", "MB", blocks)


def output_trend(subject: Subject, rule: Rule) -> Found:
    """Count the answers to one request, asked alone after each block, that differ from that before; and failed ones."""
    blocks, first = subject.once(loads).blocks, subject.once(loads).first
    if not blocks:
        return _too_few(0)
    problems = [
        f"after {one.at:.0f} s the answer to the same request is {one.answer[:60]!r}, no longer {first[:60]!r}"
        for one in blocks
        if one.answer != first
    ]
    problems += [f"{one.failed} requests failed until {one.at:.0f} s" for one in blocks if one.failed]
    told = f"{len(blocks)} answers to the same request within {blocks[-1].at:.0f} s are equal"
    return counted(problems, told, {"answers": [one.answer for one in blocks]}, n=len(blocks))


def _growth(values: Sequence[float], rule: Rule, name: str, unit: str, blocks: Sequence[Block]) -> Found:
    if len(values) < LEAST:
        return _too_few(len(values))
    found = trend(values)
    seconds = blocks[-1].at
    limit = f"no growth of more than {rule.limit:.0%} with p < {ALPHA:g}"
    reason = (
        f"{name} within {seconds:.0f} s: {values[0]:.4g} to {values[-1]:.4g} {unit}, slope {found.growth:+.1%} in all, "
        f"p = {found.p:.2g} ({found.n} blocks)"
    )
    # A slope above the limit that may be chance decides nothing.
    uncertain = found.growth > rule.limit and not found.grows(rule.limit)
    return Found(
        outcome="failed" if found.grows(rule.limit) else "undecided" if uncertain else "passed",
        reason=reason,
        threshold=limit,
        figure=Figure(found.growth, n=found.n, unit="share"),
        evidence={"blocks": list(values), "unit": unit, "at_s": [one.at for one in blocks], "p": found.p},
    )


def _too_few(count: int) -> Found:
    reason = f"the soak has {count} blocks; a trend needs {LEAST}: give a longer --soak"
    return Found(outcome="undecided", reason=reason)
