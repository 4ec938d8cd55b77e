"""The canaries of a bundle: prompts, or samples of a graph, with the chosen artifact's own answers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgehone.core.errors import JobError
from edgehone.core.events import Event
from edgehone.execution.job import Input
from edgehone.execution.store import JobResult
from edgehone.inputs.axes import Axes, fixed_batch
from edgehone.optimize.context import RunContext
from edgehone.optimize.original import Original
from edgehone.optimize.trial import Trial
from edgehone.worker.canaries import FOLDER

ANSWERS = "edgehone.worker.canaries:answers"
OUTPUTS = "edgehone.worker.canaries:outputs"
# The prompts are the beginnings of the workload's prompt with so many tokens, each answered with so many.
_PROMPTS, _COUNT = (8, 24, 64), 16


def canaries(
    ctx: RunContext, original: Original, chosen: Trial
) -> tuple[tuple[Mapping[str, Any], ...], Path | None]:
    """Return the canaries of the chosen trial with the folder of their pictures; () for a graph.

    A failure is reported, and the bundle then has none: it can be run, but not served.
    """
    request = original.request
    prompts = [request["prompt"]] if "prompt" in request else request.get("prompts", ())
    pictures = original.facts.get("pictures")
    if ctx.model.kind != "language" or not (prompts or pictures) or chosen.artifact is None:
        return (), None
    whole = list(prompts[0]) if prompts else []
    lengths = sorted({min(length, len(whole)) for length in _PROMPTS} - {0})
    args = {
        "settings": dict(chosen.recipe.settings),
        "prompts": [whole[:length] for length in lengths],
        "count": _COUNT,
        "eos": list(original.prepared.facts.get("eos", ())),
    }
    done = _done(ctx, chosen, ANSWERS, args, {"pictures": Input.of(pictures)} if pictures else {})
    if done is None:
        return (), None
    return tuple(done.facts["canaries"]), done.out / FOLDER if pictures else None


def graph_canaries(ctx: RunContext, original: Original, chosen: Trial) -> Path | None:
    """Return a folder with the canaries of the chosen trial of a graph, None for another model.

    Each is a request with as few samples as the graph takes. A failure is reported, and the bundle then has none: it
    can be run, but not served.
    """
    if ctx.model.kind != "graph":
        return None
    fixed = fixed_batch(ctx.model.inputs, Axes.from_json(original.facts.get("axes", {})))
    args = {"settings": dict(chosen.recipe.settings), "batch": fixed or 1}
    done = _done(ctx, chosen, OUTPUTS, args, {"samples": original.inputs["samples"]})
    return done.out / FOLDER if done else None


def _done(
    ctx: RunContext, chosen: Trial, call: str, args: Mapping[str, Any], inputs: Mapping[str, Input]
) -> JobResult | None:
    """Return the result of a job with the chosen artifact; None, after a report, if it fails."""
    assert chosen.artifact is not None
    artifact = {"artifact": Input.of(chosen.artifact)}
    try:
        return ctx.run(chosen.recipe.backend, call, dict(args), {**artifact, **inputs}, opens_session=True)
    except JobError as error:
        ctx.emit(Event("", detail=f"the bundle gets no canaries: {error.message}"))
        return None
