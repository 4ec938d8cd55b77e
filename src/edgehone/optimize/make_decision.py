"""Make the decision from everything known after a run: trials, skipped recipes, versions and notes."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from edgehone.decision import aims
from edgehone.decision.decide import Subject, decide
from edgehone.decision.decision import Candidate, Decision
from edgehone.decision.errors import NothingPasses
from edgehone.decision.fallback import nearest
from edgehone.decision.gates import Verdict
from edgehone.optimize.evaluate import bottleneck, measure
from edgehone.optimize.options import OptimizeOptions
from edgehone.optimize.original import Original
from edgehone.optimize.setup import Setup
from edgehone.optimize.trial import Trial


def make_decision(
    setup: Setup,
    original: Original,
    trials: Sequence[Trial],
    weights: Mapping[str, float],
    notes: Sequence[str] = (),
) -> Decision:
    """Judge the trials and choose. `notes` come after those of the set-up and before those of the trials."""
    ctx = setup.ctx
    target = {"target": ctx.prediction_target.to_json()} if ctx.prediction_target else {}
    return decide(
        [*(trial.candidate() for trial in trials), *_untried(setup)],
        original.baseline.candidate(),
        setup.required,
        weights,
        Subject(
            device={**ctx.device.to_json(), **target},
            model={**ctx.model.to_json(), "digest": ctx.source.identity},
            workload=ctx.workload.to_json(),
            versions={name: dict(env.versions) for name, env in ctx.environments.items()},
            edgehone=version("edgehone"),
        ),
        notes=[
            *setup.notes,
            *original.facts.get("notes", ()),
            *notes,
            *_notes(setup, [original.baseline, *trials]),
        ],
        conversions=[trial.conversion for trial in trials if trial.conversion],
    )


def nothing_passes(decision: Decision, options: OptimizeOptions, bundle: Path | None) -> NothingPasses:
    """Return the error for a decision without a choice. Its hint is the command that would accept the nearest."""
    fallback = [c for c in decision.candidates if c.key == decision.fallback]
    miss = nearest(fallback or decision.candidates)
    if miss is None:
        hint = "see each candidate's error above; edgehone backends check"
    else:
        hint = f"to accept {miss[0].key}: {shlex.join(_accepting(options, miss[1]).command())}"
    return NothingPasses(decision.reason, decision, bundle=bundle, hint=hint)


def _accepting(options: OptimizeOptions, failed: Sequence[Verdict]) -> OptimizeOptions:
    """Return the options with each failed gate set to what the candidate reached, or dropped if it has no figure."""
    names = {verdict.gate: verdict for verdict in failed}
    limits = {text: aims.constraint(text).name for text in options.subject_to}
    kept = [text for text, name in limits.items() if name not in names]
    kept += [
        f"{v.figure}{v.op}{_reached(v)}" for v in failed if v.gate in limits.values() and v.margin is not None
    ]
    gates = [f"{v.gate}={_reached(v)}" for v in failed if v.gate not in limits.values()]
    return replace(options, subject_to=tuple(kept), gates=(*options.gates, *gates))


def _reached(verdict: Verdict) -> str:
    """Return the judged figure with three digits, rounded so that it passes; "off" if there is none."""
    value: float | None = getattr(verdict, verdict.bound)
    if value is None or not math.isfinite(value):
        return "off"
    digits = 2 - math.floor(math.log10(abs(value))) if value else 0
    scale = 10.0**digits
    rounded = math.floor(value * scale) if verdict.op == ">=" else math.ceil(value * scale)
    return f"{rounded / scale:.10g}"


def _untried(setup: Setup) -> list[Candidate]:
    """Return the recipes of backends whose environment could not be installed, as skipped candidates."""
    return [
        Candidate(recipe.key, recipe.backend, recipe.to_json(), "skipped", setup.unready[recipe.backend])
        for recipe in setup.plan.recipes
        if recipe.backend in setup.unready
    ]


def _notes(setup: Setup, trials: Sequence[Trial]) -> list[str]:
    named = setup.options.backends or ()
    left_out = [
        f"{name} is not in the plan: {reason}"
        for name, reason in setup.plan.refused.items()
        # Reference backends are not expected among the candidates unless they were named.
        if name in named or not setup.ctx.backends[name].REFERENCE
    ]
    untried = [
        f"{operation} is not tried: {reason}" for operation, reason in setup.plan.skipped_surgery.items()
    ]
    untried += [f"{device} is not tried: {reason}" for device, reason in setup.plan.skipped_devices.items()]
    unready = [f"{name} has no environment: {reason}" for name, reason in setup.unready.items()]
    unmeasured = {t.recipe.backend: str(t.facts["unmeasurable"]) for t in trials if "unmeasurable" in t.facts}
    proven = [f"{name} is proven here, not measured: {reason}" for name, reason in unmeasured.items()]
    if setup.ctx.target_is_remote:
        target, build = setup.ctx.target_executor.label, setup.ctx.build_executor.label
        proven.append(
            f"measured on {target}; built and scored on {build}, the chosen candidate scored on {target} too"
        )
    bounds = [f"{t.recipe.key}: {t.facts['bound']}" for t in trials if bottleneck.has_bandwidth_share(t)]
    return [*left_out, *untried, *unready, *measure.conditions(trials), *proven, *bounds]
