"""Compare the speed of two candidates by the rounds in which both ran, close together in time.

Whatever slows the machine for minutes (its clock, its temperature, other programs) slows both runs of a pair and
cancels in their ratio. Figures of separate rounds would count it twice. The intervals are those of the trimmed mean of
the logarithms of the pairs' ratios.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from edgehone.core.figure import Figure
from edgehone.evaluation.drift import widened
from edgehone.evaluation.statistics import ratio_of, trimmed_interval

if TYPE_CHECKING:
    from edgehone.decision.decision import Candidate

# The fact of a candidate that holds its rounds: name of the round -> [when it began (seconds since 1970), milliseconds
# of an undisturbed request, requests/s]. Rounds of equal names belong together.
ROUNDS = "rounds"
# The fact of a candidate that says how far its ratio to the original varies from run to run (`evaluation.drift`).
DRIFT = "speedup_drift"
# Runs further apart than this are not a pair: an interrupted run may be continued hours later.
APART_SECONDS = 1800.0


def speedup(candidate: Candidate, baseline: Candidate) -> Figure:
    """Return how many times faster the candidate is, by pairs of rounds where there are two or more.

    The interval includes how far the ratio is known to drift between runs on this machine.

    A prediction keeps its own speedup, which leaves out the errors that both latencies have in common.
    """
    if "speedup" in candidate.figures:
        return candidate.figures["speedup"]
    logs = _log_ratios(candidate, baseline, "speed")
    if len(logs) < 2:
        latencies = [one.figure("workload_latency_ms") for one in (baseline, candidate)]
        return ratio_of(latencies[0], latencies[1], "×")
    found = trimmed_interval(logs)
    assert found.low is not None and found.high is not None
    paired = Figure(math.exp(found.value), math.exp(found.low), math.exp(found.high), found.n, "×")
    return widened(paired, _drift(candidate))


def _drift(candidate: Candidate) -> float:
    """Return the drift of the candidate's ratio to the original; 0 if it is unknown or the entry is damaged."""
    stored = candidate.facts.get(DRIFT)
    return float(stored) if isinstance(stored, (int, float)) and 0 <= stored < math.inf else 0.0


def ahead(one: Candidate, other: Candidate, objective: str) -> tuple[float, float] | None:
    """Return by how much `one` is better in the logarithm of "speed" or "throughput", and half its interval's width.

    None with fewer than two pairs of rounds.
    """
    logs = _log_ratios(one, other, objective)
    if len(logs) < 2:
        return None
    found = trimmed_interval(logs)
    assert found.high is not None
    return found.value, found.high - found.value


def within_run(candidate: Candidate, objective: str) -> float | None:
    """Return half the width of the interval of the logarithm of "speed" or "throughput" over the rounds of this run.

    It leaves out how the machine drifts from run to run, which is the same for all candidates. None with fewer than two
    rounds.
    """
    column = 2 if objective == "throughput" else 1
    logs = [math.log(each[column]) for each in _rounds(candidate).values()]
    if len(logs) < 2:
        return None
    found = trimmed_interval(logs)
    assert found.high is not None
    return found.high - found.value


def _log_ratios(one: Candidate, other: Candidate, objective: str) -> list[float]:
    """Return the logarithm of the ratio of each pair of rounds, above 0 where `one` is better."""
    mine, theirs = _rounds(one), _rounds(other)
    common = [
        (mine[name], theirs[name])
        for name in sorted(mine.keys() & theirs.keys())
        if abs(theirs[name][0] - mine[name][0]) <= APART_SECONDS
    ]
    if objective == "throughput":
        return [math.log(first[2] / second[2]) for first, second in common]
    return [math.log(second[1] / first[1]) for first, second in common]


def _rounds(candidate: Candidate) -> dict[str, tuple[float, float, float]]:
    """Return the rounds of a candidate; entries of a damaged decision.json are left out.

    There are none where the latency is not that of the rounds, but a prediction for another device or missing.
    """
    latency = candidate.figure("workload_latency_ms")
    stored = candidate.facts.get(ROUNDS) if latency.value is not None and not latency.predicted else None
    entries = stored.items() if isinstance(stored, Mapping) else ()
    return {
        str(name): (float(entry[0]), float(entry[1]), float(entry[2]))
        for name, entry in entries
        if isinstance(entry, Sequence)
        and len(entry) == 3
        and all(isinstance(number, (int, float)) and 0 < number < math.inf for number in entry)
    }
