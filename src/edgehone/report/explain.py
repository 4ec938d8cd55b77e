"""A decision explained: the chosen recipe stage by stage, and why each other candidate lost.

The stages are those in which a model is honed: the original, its conversion, the quantization of that, the runtime
settings found for it, and the gates. Each is shown with its figures and what they are of the stage before.
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

# Figure, its head, how its value is shown, and whether more is better.
_COLUMNS = (
    ("bytes", "MB", lambda v: significant(v / 1e6)),
    ("kl_mean", "KL", lambda v: f"{v:.2g}"),
    ("accuracy_kept", "kept", lambda v: f"{100 * v:.1f} %"),
    ("workload_latency_ms", "latency ms", significant),
    ("peak_memory_bytes", "peak MB", lambda v: f"{v / 1e6:.0f}"),
)

STAGE_FIGURES = tuple(name for name, _, _ in _COLUMNS)


@dataclass(frozen=True)
class Stage:
    """A stage: its name, the candidate whose figures it shows, or the reason why there is none, and what it says."""

    name: str
    candidate: Candidate | None
    said: str

    def to_json(self) -> dict[str, Any]:
        """A plain dict with the figures of the stage's candidate."""
        figures = self.candidate.figures if self.candidate else {}
        return {
            "stage": self.name,
            "candidate": self.candidate.key if self.candidate else None,
            "figures": {name: figures[name].to_json() for name in STAGE_FIGURES if name in figures},
            "said": self.said,
        }


def stages(decision: Decision) -> list[Stage]:
    """baseline → conversion → quantization → acceleration → validation, for the chosen candidate."""
    chosen = decision.candidate(decision.chosen) if decision.chosen else None
    made = [Stage("baseline", decision.baseline, "the original as it is")]
    if chosen is None:
        return [*made, Stage("validation", None, decision.reason)]
    return [
        *made,
        _conversion(decision, chosen),
        _quantization(decision, chosen),
        _acceleration(decision, chosen),
        _validation(chosen),
    ]


def losses(decision: Decision) -> dict[str, str]:
    """Why each candidate but the chosen lost, by its key."""
    choice = choose(contenders(decision.candidates), decision.requirements.get("weights", {}))
    return {c.key: _loss(c, choice) for c in decision.candidates if c.key != decision.chosen}


def explanation(decision: Decision) -> str:
    """Both as plain text."""
    head = ("", "stage", "candidate", *(name for _, name, _ in _COLUMNS), "")
    rows: list[Sequence[str]] = [head]
    before: Candidate | None = None
    for stage in stages(decision):
        rows.append(_row(stage, before))
        before = stage.candidate or before
    lines = [decision.reason, "", *table(rows), "", "(×: of the stage before)"]
    chosen = decision.candidate(decision.chosen) if decision.chosen else None
    if chosen and "bound" in chosen.facts:
        lines += ["", f"What bounds its speed: {chosen.facts['bound']}."]
    if tried := tuning(decision):
        lines += ["", "Runtime settings tried, each against the recipe's own:", *_settings(tried)]
    lines += ["", "The others:"]
    causes: dict[str, list[str]] = {}
    for key, reason in losses(decision).items():
        causes.setdefault(reason, []).append(key)
    lines += [f"  {', '.join(keys)}: {reason}" for reason, keys in causes.items()]
    return "\n".join(lines)


def tuning(decision: Decision) -> list[dict[str, Any]]:
    """The runtime settings that were tried for the chosen candidate, and what became of each; none where none were."""
    chosen = decision.candidate(decision.chosen) if decision.chosen else None
    return list(chosen.facts.get("tuning", ())) if chosen else []


def _settings(tried: Sequence[dict[str, Any]]) -> list[str]:
    rows: list[Sequence[str]] = [("", "settings", "latency ms", "score", "")]
    for one in tried:
        ahead = "-" if one["ahead"] is None else f"{one['ahead']:+.3f}"
        latency = "-" if one["latency_ms"] is None else significant(one["latency_ms"])
        fate = one["reason"] or ""
        if "confirmed" in one:
            fate = "confirmed in fresh rounds" if one["confirmed"] else fate
        rows.append(("*" if one.get("confirmed") else "", _named(one["settings"]), latency, ahead, fate))
    return table(rows)


def _named(settings: dict[str, Any]) -> str:
    return ", ".join(f"{name} = {json.dumps(value).strip(chr(34))}" for name, value in settings.items())


def ranking(choice: Choice, decision: Decision) -> list[str]:
    """All that pass, by score."""
    rows = [("", "candidate", "score", *(name for _, name, _ in _COLUMNS), "")]
    for key in sorted(choice.scores, key=lambda k: -(choice.scores[k].value or 0.0)):
        score, candidate = choice.scores[key], decision.candidate(key)
        shown = [_shown(candidate, name, form) for name, _, form in _COLUMNS]
        rows.append(("*" if key == choice.key else "", key, _spread(score), *shown, ""))
    return table(rows)


def _conversion(decision: Decision, chosen: Candidate) -> Stage:
    found = next((one for one in decision.conversions if one.backend == chosen.runs_on), None)
    if found is None:
        return Stage("conversion", None, "no null test is recorded")
    return Stage("conversion", decision.candidate(found.key), found.reason)


def _quantization(decision: Decision, chosen: Candidate) -> Stage:
    """The chosen build; as it ran before settings were searched, where they were."""
    plain = chosen.facts.get("tuned_from")
    candidate = decision.candidate(plain) if isinstance(plain, str) else chosen
    converted = {one.key for one in decision.conversions}
    unchanged = candidate.key in converted
    said = "the conversion itself: no quantization was better" if unchanged else "quantized"
    return Stage("quantization", candidate, said)


def _acceleration(decision: Decision, chosen: Candidate) -> Stage:
    """The settings that were found, or why the recipe's own stayed."""
    if "tuned_from" in chosen.facts:
        settings = next(one["settings"] for one in tuning(decision) if one.get("confirmed"))
        return Stage("acceleration", chosen, f"runtime settings: {_named(settings)}")
    if tried := [one for one in tuning(decision) if one["ahead"] is not None]:
        said = f"the recipe's own settings: of {len(tried)} others none was better beyond its interval"
    elif tuning(decision):
        said = "the recipe's own settings: the time was over before others could be compared"
    elif "untuned" in chosen.facts:
        said = f"the recipe's own settings; none were searched: {chosen.facts['untuned']}"
    elif others := [one.key for one in decision.candidates if "tuning" in one.facts]:
        said = f"the recipe's own settings; they were searched for {', '.join(others)}, which led before more rounds"
    else:
        said = "the recipe's own settings; a quick run searches none"
    return Stage("acceleration", None, said)


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
        return f"fails {'; '.join(failing)}"
    if choice is None or candidate.key not in choice.scores:
        return "it lacks a figure that the weights compare"
    own, best = choice.scores[candidate.key], choice.scores[choice.key]
    behind = (best.value or 0.0) - (own.value or 0.0)
    if own.ties(best):
        return "within the intervals of the chosen, but larger or of the lower score"
    return f"behind by {behind:.2g} in the score"


def _failing(candidate: Candidate) -> list[str]:
    """What each failing gate says; a missing figure's reason once for all the gates that ask for one."""
    judged = [v.reason for v in candidate.verdicts if not v.ok and v.margin is not None]
    missing: dict[str, list[str]] = {}
    for verdict in candidate.verdicts:
        if not verdict.ok and verdict.margin is None:
            missing.setdefault(verdict.reason, []).append(verdict.gate)
    return judged + [f"{', '.join(gates)} without a figure: {reason}" for reason, gates in missing.items()]


def _row(stage: Stage, before: Candidate | None) -> Sequence[str]:
    if stage.candidate is None:
        return ("", stage.name, "-", *("-" for _ in _COLUMNS), stage.said)
    cells = []
    for name, _, form in _COLUMNS:
        cell = _shown(stage.candidate, name, form)
        one, other = stage.candidate.figure(name).value, before.figure(name).value if before else None
        times = name in ("bytes", "workload_latency_ms", "peak_memory_bytes")
        if times and one and other and stage.candidate is not before:
            cell += f" (×{one / other:.2g})"
        cells.append(cell)
    return ("", stage.name, stage.candidate.key, *cells, stage.said)


def _shown(candidate: Candidate, name: str, form: Any) -> str:
    value = candidate.figure(name).value
    return "-" if value is None else str(form(value))


def _spread(score: Figure) -> str:
    return (
        f"{score.value:.3f}"
        if score.low is None
        else f"{score.value:.3f} ±{(score.high or 0) - (score.value or 0):.3f}"
    )
