"""Make the decision from everything known after a run: trials, skipped recipes, versions and notes."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from edgehone.decision.decide import Subject, decide
from edgehone.decision.decision import Candidate, Decision
from edgehone.decision.errors import NotDecided, NothingPasses
from edgehone.decision.fallback import nearest
from edgehone.optimize.accepting import accepting
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
    """Return the error for a decision without a choice. Its hint is the next command."""
    kind = NotDecided if any(c.undecided for c in decision.candidates) else NothingPasses
    return kind(decision.reason, decision, bundle=bundle, hint=_way_out(decision, options))


def _way_out(decision: Decision, options: OptimizeOptions) -> str:
    """Return the next command: the one that accepts the nearest candidate, if there is one."""
    fallback = [c for c in decision.candidates if c.key == decision.fallback]
    miss = nearest(fallback or decision.candidates)
    if miss is None:
        return "see each candidate's error above; edgehone backends check"
    candidate, failed = miss
    accepted = accepting(options, failed)
    if accepted is None:
        return f"no option accepts {candidate.key}, which does not fit the device; edgehone device list"
    return f"to accept {candidate.key}: {shlex.join(accepted.command())}"


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
