"""The loss against the float original of a quantized file, beside the loss against the file itself.

Gates and choice use the file that the user has, since that is what is replaced. The float original is scored on the
same windows and ids; what each candidate, and the file itself, loses against it is told by figures of their own.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from edgehone.core.errors import InputError, JobError, ModelError
from edgehone.core.events import Event
from edgehone.core.figure import Figure
from edgehone.decision.requirements import Requirements
from edgehone.evaluation import quality, tokens
from edgehone.execution.job import Input
from edgehone.execution.store import JobResult
from edgehone.model.info import ModelInfo
from edgehone.model.inspect import inspect
from edgehone.optimize.build import build
from edgehone.optimize.context import FloatOriginal, RunContext
from edgehone.optimize.evaluate.parity import in_parallel
from edgehone.optimize.original import Original
from edgehone.optimize.trial import Trial
from edgehone.worker.score import MAX_BYTES

PREFIX = "against_"
FIGURES = ("kl_mean", "kl_p99", "same_top", "accuracy_kept", "perplexity_ratio")
# Rows that converters add to or leave out of a vocabulary as padding.
_PADDING = 1024


def checked(path: str | Path, model: ModelInfo) -> ModelInfo:
    """Return the facts of the float original that the user named. Raises InputError if it cannot be the model's."""
    if model.format != "gguf" or not model.quantized:
        raise InputError(
            f"--against {path}: {model.path} is not a quantized GGUF file, so it is its own float original",
            hint="leave --against out",
        )
    found = inspect(path)
    if found.quantized or found.kind != "language":
        what = f"quantized ({found.quantized})" if found.quantized else f"a {found.kind}"
        raise InputError(
            f"--against {path} is {what}, not a float language model", hint="give the float original"
        )
    for name in ("layers", "hidden_size", "heads", "kv_heads"):
        own, other = getattr(model, name), getattr(found, name)
        if own is not None and other is not None and own != other:
            raise InputError(
                f"--against {path} is not the original of {model.path}: {name.replace('_', ' ')} is {other}, not {own}",
                hint="give the model that the file was made of",
            )
    own, other = model.vocabulary, found.vocabulary
    if own is not None and other is not None and abs(own - other) > _PADDING:
        raise InputError(
            f"--against {path} is not the original of {model.path}: it has {other} tokens, not {own}",
            hint="give the model that the file was made of",
        )
    return found


def score(ctx: RunContext, original: Original, trials: Sequence[Trial], required: Requirements) -> list[str]:
    """Set the figures against the float original of the baseline and of all candidates that are left.

    Returns notes for the report; none if there is no float original. Raises ModelError if it cannot be run, or splits
    texts into other tokens than the file.
    """
    if ctx.against is None:
        return []
    reference = _reference(ctx, ctx.against, original, required)
    alive = [trial for trial in [original.baseline, *trials] if trial.alive and trial.artifact is not None]
    in_parallel(ctx, alive, lambda ctx, trial: _score(ctx, original, reference, trial))
    loss = original.baseline.figures.get(f"{PREFIX}kl_mean", Figure.missing("it was not scored", "nats"))
    told = f"KL {loss.value:.2g}" if loss.value is not None else f"unknown: {loss.reason}"
    return [
        f"the file itself loses {told} against its float original {ctx.against.model.path}; figures 'against the float "
        "original' include that loss, all others are against the file"
    ]


def _reference(
    ctx: RunContext, against: FloatOriginal, original: Original, required: Requirements
) -> JobResult:
    facts = original.reference.facts
    args = {name: facts[name] for name in ("bos", "windows", "window", "start")}
    recipe = against.backend.reference(against.model)
    ctx.emit(Event("", detail="scoring the float original"))
    other = ctx.with_original(against)
    try:
        artifact = build(other, recipe)
        scored = other.run(
            recipe.backend,
            "edgehone.worker.score:reference",
            {
                **args,
                "settings": dict(recipe.settings),
                "max_bytes": MAX_BYTES,
                "tokenize": True,
                "width": facts["vocabulary"],
            },
            {
                "artifact": Input.of(artifact),
                "prepared": Input.of(original.prepared),
                **original.facts.get("windows", {}),
            },
            opens_session=True,
        )
    except JobError as error:
        raise ModelError(
            f"the float original {against.model.path} cannot be run: {error.message}",
            hint=error.hint or f"edgehone inspect {against.model.path}",
        ) from error
    compared = tokens.compare(
        json.loads((original.prepared.out / "parity.json").read_text("utf-8")),
        json.loads((scored.out / "token_ids.json").read_text("utf-8")),
        original.prepared.facts["bos"],
        required.parity_check["token_mismatch_max"],
        portable=original.prepared.facts["portable"],
    )
    if compared.fault:
        raise ModelError(
            f"{against.model.path} is not the original of {ctx.model.path}: {compared.fault}",
            hint="give the model that the file was made of, or leave --against out",
        )
    return scored


def _score(ctx: RunContext, original: Original, reference: JobResult, trial: Trial) -> None:
    """Set a trial's figures against the float original. A failure leaves them missing, with the reason."""
    assert trial.artifact is not None
    try:
        scored = ctx.run(
            trial.recipe.backend,
            "edgehone.worker.score:score",
            {"settings": dict(trial.recipe.settings)},
            {
                "artifact": Input.of(trial.artifact),
                "prepared": Input.of(original.prepared),
                "reference": Input.of(reference),
                **original.facts.get("windows", {}),
            },
            opens_session=True,
            on_progress=ctx.announce(trial.recipe, "scoring", "against the float original"),
        )
    except JobError as error:
        trial.figures |= {f"{PREFIX}{name}": Figure.missing(error.message) for name in FIGURES}
        return
    found = quality.figures(reference.out, scored.out)
    trial.figures |= {f"{PREFIX}{name}": found[name] for name in FIGURES}
