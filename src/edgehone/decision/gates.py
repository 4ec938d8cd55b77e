"""Judge candidates by gates, each gate separately and by the end of the interval that the requirements name.

A gate passes if that end is on the passing side, and fails if the other end is not either. Between them it is
undecided: the measurement is too imprecise to tell. A gate on speed is undecided too if other programs left the
candidate hardly any undisturbed time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from edgehone.core.figure import Figure
from edgehone.core.typed_json import OPTIONAL
from edgehone.decision.requirements import Gate, Requirements
from edgehone.evaluation import speed

# Figures that are measured in benchmark rounds, or derived from such: other programs can disturb them.
TIMED = {*speed.UNITS, "speedup", "gain", "loss"}


@dataclass(frozen=True)
class Verdict:
    """A gate's outcome.

    `value`, `low` and `high` are the figure's; `bound` names the one that was compared with `threshold`. `margin` is
    how far it lies on the passing side, as a share of the threshold (negative if it fails); None if the figure is
    missing. `undecided` is True if the gate does not pass, but its figure may.
    """

    gate: str
    figure: str
    ok: bool
    op: Literal[">=", "<="]
    threshold: float
    bound: Literal["low", "high", "value"]
    value: float | None
    low: float | None
    high: float | None
    margin: float | None
    reason: str
    undecided: bool = field(default=False, metadata=OPTIONAL)

    @property
    def failed(self) -> bool:
        """Return True if the figure does not meet the threshold, or is missing."""
        return not self.ok and not self.undecided

    @property
    def word(self) -> str:
        """Return "passes", "fails" or "not decided"."""
        return "passes" if self.ok else "not decided" if self.undecided else "fails"

    def to_json(self) -> dict[str, Any]:
        """Return a plain dict."""
        return asdict(self)


def judge(
    figures: Mapping[str, Figure], requirements: Requirements, disturbed: str | None = None
) -> list[Verdict]:
    """Return one verdict for each gate, in the order of the requirements. A missing figure fails its gate.

    `disturbed` is why the figures of speed cannot be relied on, None if they can.
    """
    return [
        verdict_of(
            gate, figures.get(gate.figure) or Figure.missing(f"{gate.figure} was not measured"), disturbed
        )
        for gate in requirements.gates
    ]


def hopeless(figures: Mapping[str, Figure], requirements: Requirements) -> str | None:
    """Return why a candidate can no longer pass a gate, judged by the favourable end of each interval, else None.

    A figure that is missing, or lacks the interval by which its gate is judged, does not rule a candidate out yet.
    """
    for gate in requirements.gates:
        figure = figures.get(gate.figure)
        if figure is None or figure.value is None:
            continue
        best = _favourable(gate, figure)
        if best is None:
            continue
        if best < gate.threshold if gate.op == ">=" else best > gate.threshold:
            return f"cannot pass {gate.name}: {gate.figure} {best:.4g} at best, required {gate.op} {gate.threshold:g}"
    return None


def verdict_of(gate: Gate, figure: Figure, disturbed: str | None = None) -> Verdict:
    """Return the outcome of one gate for its figure. For `disturbed` see `judge`."""
    # A prediction is judged by its unfavourable end, whichever end the gate names.
    bound = gate.bound if not figure.predicted else "low" if gate.op == ">=" else "high"
    judged: float | None = getattr(figure, bound)
    if figure.reason == speed.ALL_DISTURBED:
        disturbed = disturbed or speed.ALL_DISTURBED
    disturbs = disturbed is not None and gate.figure in TIMED and not figure.predicted
    ok, margin, undecided = False, None, disturbs
    if judged is None or math.isnan(judged):  # NaN compares false with everything and must not pass
        reason = figure.reason or f"{gate.figure} has no interval (n = {figure.n}), its {bound} end is judged"
    else:
        above = judged - gate.threshold
        margin = (above if gate.op == ">=" else -above) / (abs(gate.threshold) or 1.0)
        ok = margin >= 0 and not disturbs
        undecided = disturbs or (not ok and _may_pass(gate, figure))
        end = "" if bound == "value" else f" ({bound} end)"
        end += " predicted" if figure.predicted else ""
        reason = f"{gate.figure} {judged:.4g}{end}, required {gate.op} {gate.threshold:g}"
    if undecided:
        why = disturbed if disturbs else _how_to_decide(gate, figure)
        reason = f"not decided, {why}" if reason == why else f"{reason}: not decided, {why}"
    return Verdict(
        gate=gate.name,
        figure=gate.figure,
        ok=ok,
        op=gate.op,
        threshold=gate.threshold,
        bound=bound,
        value=figure.value,
        low=figure.low,
        high=figure.high,
        margin=margin,
        reason=reason,
        undecided=undecided,
    )


def _favourable(gate: Gate, figure: Figure) -> float | None:
    """Return the end of the interval by which the figure passes most easily; without one the value, if that counts."""
    end = figure.high if gate.op == ">=" else figure.low
    return figure.value if end is None and gate.bound == "value" else end


def _may_pass(gate: Gate, figure: Figure) -> bool:
    """Return True if a measured figure that does not pass has an interval with the threshold inside."""
    best = _favourable(gate, figure)
    if figure.predicted or best is None or math.isnan(best):
        return False
    return best >= gate.threshold if gate.op == ">=" else best <= gate.threshold


def _how_to_decide(gate: Gate, figure: Figure) -> str:
    more = "more rounds on a quieter machine" if gate.figure in TIMED else "more samples"
    low, high = ("?" if end is None else f"{end:.4g}" for end in (figure.low, figure.high))
    return f"the interval {low} to {high} contains the threshold; {more} would decide"
