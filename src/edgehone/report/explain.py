"""Explain a decision: the chosen recipe stage by stage, and why each other candidate lost.

The stages are those of the optimization: the original, its conversion, the quantization, the runtime settings found,
and the gates. Each is shown with its figures and their ratios to the previous stage.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgehone.core.figure import Figure
from edgehone.decision.choice import Choice, choose, contenders
from edgehone.decision.decision import Candidate, Decision
from edgehone.report.figures import significant
from edgehone.report.summary import table

# Figure, heading, format.
_COLUMNS = (
    ("bytes", "MB", lambda v: significant(v / 1e6)),
    ("kl_mean", "KL", lambda v: f"{v:.2g}"),
    ("accuracy_kept", "kept", lambda v: f"{100 * v:.1f} %"),
    ("workload_latency_ms", "latency ms", significant),
    ("peak_memory_bytes", "peak MB", lambda v: f"{v / 1e6:.0f}"),
)

# A share of quantized weights below this is told: the name promises more than was built. Routers and norms are less.
_MOSTLY = 0.95
STAGE_FIGURES = tuple(name for name, _, _ in _COLUMNS)


@dataclass(frozen=True)
class Stage:
    """A stage: its name, the candidate whose figures it shows (None if there is none), and a sentence about it."""

    name: str
    candidate: Candidate | None
    text: str

    def to_json(self) -> dict[str, Any]:
        """Return a plain dict with the figures of the stage's candidate."""
        figures = self.candidate.figures if self.candidate else {}
        return {
            "stage": self.name,
            "candidate": self.candidate.key if self.candidate else None,
            "figures": {name: figures[name].to_json() for name in STAGE_FIGURES if name in figures},
            "said": self.text,
        }


def stages(decision: Decision) -> list[Stage]:
    """Return the stages of the chosen candidate: baseline, conversion, quantization, acceleration, validation."""
    chosen = decision.candidate(decision.bundled) if decision.bundled else None
    baseline = Stage("baseline", decision.baseline, "the original, unchanged")
    if chosen is None:
        return [baseline, Stage("validation", None, decision.reason)]
    if chosen is decision.baseline:  # nothing was converted or quantized
        return [baseline, _validation(chosen)]
    return [
        baseline,
        _conversion(decision, chosen),
        _quantization(decision, chosen),
        _acceleration(decision, chosen),
        _validation(chosen),
    ]


def losses(decision: Decision) -> dict[str, str]:
    """Return the reason why each candidate lost, by its key, except for the chosen one."""
    weights = decision.requirements.get("weights", {})
    choice = choose(contenders(decision.candidates), weights, decision.baseline)
    return {c.key: _loss(c, choice) for c in decision.candidates if c.key != decision.bundled}


def explanation(decision: Decision) -> str:
    """Return the stages and the losses as plain text."""
    head = ("", "stage", "candidate", *(name for _, name, _ in _COLUMNS), "")
    rows: list[Sequence[str]] = [head]
    before: Candidate | None = None
    for stage in stages(decision):
        rows.append(_row(stage, before))
        before = stage.candidate or before
    lines = [decision.reason, "", *table(rows), "", "(×: relative to the previous stage)"]
    chosen = decision.candidate(decision.bundled) if decision.bundled else None
    if chosen and "bound" in chosen.facts:
        lines += ["", f"Bottleneck: {chosen.facts['bound']}."]
    if parts := by_position(chosen):
        lines += ["", f"KL divergence by position in the context: {parts}."]
    if tried := tuning(decision):
        lines += ["", "Runtime settings tried, each compared with the recipe's defaults:", *_settings(tried)]
    if partial := partly_quantized(decision):
        lines += ["", "Quantized in part:", *(f"  {key}: {text}" for key, text in partial.items())]
    lines += ["", "Other candidates:"]
    causes: dict[str, list[str]] = {}
    for key, reason in losses(decision).items():
        causes.setdefault(reason, []).append(key)
    lines += [f"  {', '.join(keys)}: {reason}" for reason, keys in causes.items()]
    return "\n".join(lines)


def by_position(chosen: Candidate | None) -> str:
    """Return the divergence of each part of the context; "" if it was not measured."""
    parts = chosen.facts.get("kl_by_position", ()) if chosen else ()
    told = [
        f"up to {one['up_to']} {'unknown' if one['value'] is None else significant(one['value'], 2)}"
        for one in parts
    ]
    return ", ".join(told)


def partly_quantized(decision: Decision) -> dict[str, str]:
    """Return the share of quantized weights of each candidate where it is below 95 %, and names of the others."""
    found = {}
    for one in decision.candidates:
        share = one.facts.get("quantized_share")
        if one.status == "ok" and isinstance(share, float) and 0 < share < _MOSTLY:
            names = ", ".join(one.facts.get("unquantized", ()))
            found[one.key] = f"{share:.0%} of the weights; in floats: {names}"
    return found


def tuning(decision: Decision) -> list[dict[str, Any]]:
    """Return the runtime settings that were tried for the chosen candidate and the result of each."""
    chosen = decision.candidate(decision.bundled) if decision.bundled else None
    return list(chosen.facts.get("tuning", ())) if chosen else []


def _settings(tried: Sequence[dict[str, Any]]) -> list[str]:
    rows: list[Sequence[str]] = [("", "settings", "latency ms", "score", "")]
    for one in tried:
        ahead = "-" if one["ahead"] is None else f"{one['ahead']:+.3f}"
        latency = "-" if one["latency_ms"] is None else significant(one["latency_ms"])
        result = one["reason"] or ""
        if "confirmed" in one:
            result = "confirmed in new rounds" if one["confirmed"] else result
        if drafted := one.get("tokens_per_pass"):
            result = "; ".join(filter(None, [result, f"{drafted:.2f} tokens a pass"]))
        rows.append(("*" if one.get("confirmed") else "", _named(one["settings"]), latency, ahead, result))
    return table(rows)


def _named(settings: dict[str, Any]) -> str:
    return ", ".join(f"{name} = {json.dumps(value).strip(chr(34))}" for name, value in settings.items())


def ranking(choice: Choice, decision: Decision) -> list[str]:
    """Return the table of all candidates that pass, by score."""
    rows = [("", "candidate", "score", *(name for _, name, _ in _COLUMNS), "")]
    for key in sorted(choice.scores, key=lambda k: -(choice.scores[k].value or 0.0)):
        score, candidate = choice.scores[key], decision.candidate(key)
        shown = [_shown(candidate, name, form) for name, _, form in _COLUMNS]
        rows.append(("*" if key == choice.key else "", key, _spread(score), *shown, ""))
    return table(rows)


def _conversion(decision: Decision, chosen: Candidate) -> Stage:
    conversion = next((one for one in decision.conversions if one.backend == chosen.runs_on), None)
    if conversion is None:
        return Stage("conversion", None, "no parity check is recorded")
    return Stage("conversion", decision.candidate(conversion.key), conversion.reason)


def _quantization(decision: Decision, chosen: Candidate) -> Stage:
    """Return the stage of the chosen build, with the runtime settings it had before others were searched."""
    plain = chosen.facts.get("tuned_from")
    candidate = decision.candidate(plain) if isinstance(plain, str) else chosen
    converted = {one.key for one in decision.conversions}
    unchanged = candidate.key in converted
    text = "the conversion itself: no quantization was better" if unchanged else "quantized"
    return Stage("quantization", candidate, text)


def _acceleration(decision: Decision, chosen: Candidate) -> Stage:
    """Return the stage of the runtime settings that were found, or why the recipe's defaults were kept."""
    if "tuned_from" in chosen.facts:
        settings = next(one["settings"] for one in tuning(decision) if one.get("confirmed"))
        return Stage("acceleration", chosen, f"runtime settings: {_named(settings)}")
    if tried := [one for one in tuning(decision) if one["ahead"] is not None]:
        text = (
            f"the recipe's defaults: none of the others ({len(tried)} tried) was better beyond its interval"
        )
    elif tuning(decision):
        text = "the recipe's defaults: the time ran out before other settings could be compared"
    elif "untuned" in chosen.facts:
        text = f"the recipe's defaults; no other settings were searched: {chosen.facts['untuned']}"
    elif others := [one.key for one in decision.candidates if "tuning" in one.facts]:
        led = ", ".join(others)
        text = f"the recipe's defaults; settings were searched for {led}, which led before the last rounds"
    else:
        text = "the recipe's defaults; a quick run does not search settings"
    return Stage("acceleration", None, text)


def _validation(chosen: Candidate) -> Stage:
    passed = sum(v.ok for v in chosen.verdicts)
    margins = [(v.margin, v.gate) for v in chosen.verdicts if v.margin is not None]
    closest = f"; closest: {min(margins)[1]} by {100 * min(margins)[0]:.1f} %" if margins else ""
    return Stage("validation", None, f"{passed} of {len(chosen.verdicts)} gates pass{closest}")


def _loss(candidate: Candidate, choice: Choice | None) -> str:
    if candidate.status != "ok":
        return f"{candidate.status}: {candidate.error}"
    failing = _failing(candidate)
    if raced := candidate.facts.get("raced_out"):
        return str(raced)
    if failing:
        reasons = "; ".join(failing)  # that of an undecided gate says so
        return reasons if candidate.undecided else f"fails {reasons}"
    if choice is None or candidate.key not in choice.scores:
        return "lacks a figure that the weights compare"
    if candidate.key in choice.tied:
        return "as good as the chosen candidate by the workload's weights, but larger or with a lower score"
    own, best = choice.scores[candidate.key], choice.scores[choice.key]
    behind = (best.value or 0.0) - (own.value or 0.0)
    return f"behind by {behind:.2g} in the score"


def _failing(candidate: Candidate) -> list[str]:
    """Return the reason of each failing gate; a reason for missing figures is given once for all its gates."""
    judged = [v.reason for v in candidate.verdicts if not v.ok and v.margin is not None]
    missing: dict[str, list[str]] = {}
    for verdict in candidate.verdicts:
        if not verdict.ok and verdict.margin is None:
            missing.setdefault(verdict.reason, []).append(verdict.gate)
    return judged + [f"{', '.join(gates)} without a figure: {reason}" for reason, gates in missing.items()]


def _row(stage: Stage, before: Candidate | None) -> Sequence[str]:
    if stage.candidate is None:
        return ("", stage.name, "-", *("-" for _ in _COLUMNS), stage.text)
    cells = []
    for name, _, form in _COLUMNS:
        cell = _shown(stage.candidate, name, form)
        one, other = stage.candidate.figure(name).value, before.figure(name).value if before else None
        times = name in ("bytes", "workload_latency_ms", "peak_memory_bytes")
        if times and one and other and stage.candidate is not before:
            cell += f" (×{one / other:.2g})"
        cells.append(cell)
    return ("", stage.name, stage.candidate.key, *cells, stage.text)


def _shown(candidate: Candidate, name: str, form: Any) -> str:
    value = candidate.figure(name).value
    return "-" if value is None else str(form(value))


def _spread(score: Figure) -> str:
    return (
        f"{score.value:.3f}"
        if score.low is None
        else f"{score.value:.3f} ±{(score.high or 0) - (score.value or 0):.3f}"
    )
