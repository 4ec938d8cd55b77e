"""The sentences that say why a candidate was chosen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from edgehone.core.figure import Figure
from edgehone.decision.decision import Candidate
from edgehone.decision.objectives import Completed

Relation = Literal["tie", "open", "ahead"]
# Sizes within this factor are equal: files of the same format differ by less through headers and names alone.
SAME_SIZE = 1.01
# The most candidates that the reason names one by one.
MOST_NAMED = 3


def bytes_of(candidate: Candidate) -> float:
    """Return the candidate's size in bytes, infinite if it is unknown."""
    return math.inf if candidate.bytes is None else candidate.bytes


def sentence(winner: Candidate, against: str, shared: str) -> str:
    """Return a sentence with the winner's figures and its comparison with the next best candidate."""
    parts = [part for part in (_speed(winner), _memory(winner), _kept(winner)) if part]
    return f"{winner.key}: " + (", ".join(parts) or shared) + f"; {against}."


def against(winner: Candidate, other: Candidate, relation: Relation, *, by_rate: bool, near: str) -> str:
    """Return how the winner compares with the other; `by_rate` compares requests/s instead of the latency.

    `near` is what does not matter between candidates that tie: "3 % of speed".
    """
    name, unit = ("requests_per_s", "requests/s") if by_rate else ("workload_latency_ms", "ms")
    values = winner.figure(name).value, other.figure(name).value
    speeds = (
        "" if None in values else f" ({values[0]:.4g} {unit} against {values[1]:.4g} {unit} on the workload)"
    )
    if relation == "ahead":
        return f"beats {other.key}{speeds} by the workload's weights"
    if relation == "open":
        return f"better than {other.key}{speeds} by the workload's weights, but the rounds do not separate the two"
    equal = f"equal to {other.key}{speeds} within what {near} is worth"
    if bytes_of(other) <= SAME_SIZE * bytes_of(winner):
        return f"{equal}, of the same size, and better by the workload's weights"
    sizes = ""
    if winner.bytes is not None and other.bytes is not None:
        sizes = f" ({winner.bytes / 1e6:.1f} MB against {other.bytes / 1e6:.1f} MB)"
    return f"{equal}, and chosen as the smaller{sizes}"


def unmeasured(dropped: Sequence[str], completed: Completed) -> list[str]:
    """Return what was not measured, and how it counts."""
    parts = []
    if dropped:
        parts.append(f"{' and '.join(dropped)} could not be compared (no candidate has the figure)")
    for name, keys in completed.assumed.items():
        parts.append(f"{name} was not measured for {_listed(keys)} and counts as the worst that was measured")
    for name, keys in completed.left_out.items():
        parts.append(f"{_listed(keys)} not compared, since {name} was not measured")
    return parts


def _listed(keys: Sequence[str]) -> str:
    return ", ".join(keys) if len(keys) <= MOST_NAMED else f"{len(keys)} candidates"


def _speed(candidate: Candidate) -> str | None:
    speedup = candidate.figure("speedup")
    if speedup.value is None:
        return None
    if f"{speedup.value:.3g}" == "1":
        return "as fast as the original"
    if speedup.value < 1:
        return f"{1 / speedup.value:.3g}× slower than the original"
    return f"{speedup.value:.3g}× faster than the original{_between(speedup, '.3g', 1)}"


def _memory(candidate: Candidate) -> str | None:
    cut = candidate.figure("memory_cut")
    if cut.value is None:
        return None
    if f"{cut.value:.0%}" in ("0%", "-0%"):
        return "as much memory"
    return f"{abs(cut.value):.0%} {'less' if cut.value >= 0 else 'more'} memory".replace("%", " %")


def _kept(candidate: Candidate) -> str | None:
    kept = candidate.figure("accuracy_kept")
    if kept.value is None:
        return None
    return f"keeps {100 * kept.value:.1f} %{_between(kept, '.1f', 100)} of its accuracy"


def _between(figure: Figure, form: str, scale: float) -> str:
    if figure.low is None or figure.high is None:
        return ""
    return f" ({figure.low * scale:{form}}–{figure.high * scale:{form}})"
