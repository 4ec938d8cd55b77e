"""The command that accepts a candidate which fails gates: the same run with those gates set to what it reached."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from edgehone.decision import aims
from edgehone.decision.gates import Verdict
from edgehone.decision.requirements import shipped
from edgehone.optimize.options import OptimizeOptions


def accepting(options: OptimizeOptions, failed: Sequence[Verdict]) -> OptimizeOptions | None:
    """Return the options with each failed gate set to what the candidate reached, or dropped if it has no figure.

    None if a gate is not one of the options': the memory and the size budget of a device cannot be set by an option.
    """
    limits = {text: aims.constraint(text).name for text in options.subject_to}
    kept = [text for text, name in limits.items() if name not in {verdict.gate for verdict in failed}]
    gates = []
    for verdict in failed:
        reached = _reached(verdict)
        if verdict.gate in limits.values():
            kept += [f"{verdict.figure}{verdict.op}{reached}"] if _constrains(verdict, reached) else []
        elif verdict.gate in shipped()["gates"]:
            gates.append(f"{verdict.gate}={reached or 'off'}")
        else:
            return None
    return replace(options, subject_to=tuple(kept), gates=(*options.gates, *gates))


def _constrains(verdict: Verdict, reached: str | None) -> bool:
    """Return True if a constraint with this limit can be given: the limit is a number that the figure can have."""
    return reached is not None and aims.possible(verdict.figure, float(reached))


def _reached(verdict: Verdict) -> str | None:
    """Return the judged figure with three digits, rounded so that it passes; None if there is none."""
    value: float | None = getattr(verdict, verdict.bound)
    if value is None or not math.isfinite(value):
        return None
    digits = 2 - math.floor(math.log10(abs(value))) if value else 0
    # A scale of 10 to the power of a few hundred is out of range; such values are written with all digits.
    if abs(digits) < 100:
        scale = 10.0**digits
        rounded = math.floor(value * scale) if verdict.op == ">=" else math.ceil(value * scale)
        text = f"{rounded / scale:.10g}"
        if float(text) <= value if verdict.op == ">=" else float(text) >= value:
            return text
    return repr(value)
