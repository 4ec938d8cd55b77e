"""The canaries of a bundle: prompts with the chosen artifact's own answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgehone.core.errors import JobError
from edgehone.core.events import Event
from edgehone.execution.job import Input
from edgehone.optimize.context import RunContext
from edgehone.optimize.original import Original
from edgehone.optimize.trial import Trial

ANSWERS = "edgehone.worker.canaries:answers"
# The prompts are the beginnings of the workload's prompt with so many tokens, each answered with so many.
_PROMPTS, _COUNT = (8, 24, 64), 16


def canaries(ctx: RunContext, original: Original, chosen: Trial) -> tuple[Mapping[str, Any], ...]:
    """Return the canaries of the chosen trial, () for a model that is not asked with plain text.

    A failure is reported, and the bundle then has none: it can be run, but not served.
    """
    request = original.request
    prompts = [request["prompt"]] if "prompt" in request else request.get("prompts", ())
    if ctx.model.kind != "language" or not prompts or chosen.artifact is None:
        return ()
    whole = list(prompts[0])
    lengths = sorted({min(length, len(whole)) for length in _PROMPTS})
    args = {
        "settings": dict(chosen.recipe.settings),
        "prompts": [whole[:length] for length in lengths],
        "count": _COUNT,
        "eos": list(original.prepared.facts.get("eos", ())),
    }
    try:
        done = ctx.run(
            chosen.recipe.backend, ANSWERS, args, {"artifact": Input.of(chosen.artifact)}, opens_session=True
        )
    except JobError as error:
        ctx.emit(Event("", detail=f"the bundle gets no canaries: {error.message}"))
        return ()
    return tuple(done.facts["canaries"])
