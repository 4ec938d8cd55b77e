"""Judge candidates by gates, each gate separately and by the end of the interval that the requirements name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from edgehone.core.figure import Figure
from edgehone.decision.requirements import Gate, Requirements


@dataclass(frozen=True)
class Verdict:
    """A gate's outcome.

    `value`, `low` and `high` are the figure's; `bound` names the one that was compared with `threshold`. `margin` is
    how far it lies on the passing side, as a share of the threshold (negative if it fails); None if the figure is
    missing.
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

    def to_json(self) -> dict[str, Any]:
        """Return a plain dict."""
        return asdict(self)


def judge(figures: Mapping[str, Figure], requirements: Requirements) -> list[Verdict]:
    """Return one verdict for each gate, in the order of the requirements. A missing figure fails its gate."""
    return [
        verdict_of(gate, figures.get(gate.figure) or Figure.missing(f"{gate.figure} was not measured"))
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
        best = figure.value if gate.bound == "value" else figure.high if gate.op == ">=" else figure.low
        if best is None:
            continue
        if best < gate.threshold if gate.op == ">=" else best > gate.threshold:
            return f"cannot pass {gate.name}: {gate.figure} {best:.4g} at best, required {gate.op} {gate.threshold:g}"
    return None


def verdict_of(gate: Gate, figure: Figure) -> Verdict:
    """Return the outcome of one gate for its figure."""
    # A prediction is judged by its unfavourable end, whichever end the gate names.
    bound = gate.bound if not figure.predicted else "low" if gate.op == ">=" else "high"
    judged: float | None = getattr(figure, bound)
    if judged is None or math.isnan(judged):  # NaN compares false with everything and must not pass
        ok, margin = False, None
        reason = figure.reason or f"{gate.figure} has no interval (n = {figure.n}), its {bound} end is judged"
    else:
        above = judged - gate.threshold
        ok = above >= 0 if gate.op == ">=" else above <= 0
        margin = (above if gate.op == ">=" else -above) / (abs(gate.threshold) or 1.0)
        end = "" if bound == "value" else f" ({bound} end)"
        end += " predicted" if figure.predicted else ""
        reason = f"{gate.figure} {judged:.4g}{end}, required {gate.op} {gate.threshold:g}"
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
    )
