"""Evaluate encoder-decoders by the texts that they generate: word errors against the original's, and the truth."""

from __future__ import annotations

import json
from typing import Any

from edgehone.backends.base import Recipe
from edgehone.core.errors import JobError
from edgehone.evaluation import agreement, word_errors
from edgehone.execution.job import Input
from edgehone.execution.store import JobResult
from edgehone.model.encoder_decoder import TASKS
from edgehone.optimize.context import RunContext
from edgehone.optimize.original import Original
from edgehone.optimize.trial import Trial

ORIGINAL, STATED = "original_word_errors", "word_errors"


def reference(ctx: RunContext, recipe: Recipe, artifact: Input, prepared: JobResult) -> dict[str, Any]:
    """Generate the original's texts and return them as facts; {} if the model generates none.

    Raises JobError if the bundle could not carry the model's tokenizer.
    """
    if ctx.model.task not in TASKS:
        return {}
    if not prepared.facts["portable"]:
        raise JobError(
            "the library tokenizers does not give the ids of the model's own tokenizer, and texts need one",
            hint="put the tokenizer.json that belongs to the model into its folder",
        )
    stated = agreement.labels_of(prepared.out / "evaluation")
    return {
        "texts": _texts(ctx, recipe, artifact, prepared),
        "stated": None if stated is None else [str(one) for one in stated],
        "decoding": prepared.facts["decoding"],
    }


def compare(ctx: RunContext, original: Original, trial: Trial) -> None:
    """Set the word errors of a trial that is built, and keep its texts beside the original's."""
    if "texts" not in original.facts or trial.artifact is None:
        return
    found = _texts(ctx, trial.recipe, Input.of(trial.artifact), original.prepared)
    trial.figures[ORIGINAL] = word_errors.rate(found, original.facts["texts"])
    stated = original.facts["stated"]
    if stated is not None:
        trial.figures[STATED] = word_errors.rate(found, stated)
    trial.samples["texts"] = {"generated": found, "original": original.facts["texts"], "stated": stated}


def _texts(ctx: RunContext, recipe: Recipe, artifact: Input, prepared: JobResult) -> list[str]:
    done = ctx.run(
        recipe.backend,
        "edgehone.worker.decode:texts",
        {"settings": dict(recipe.settings), "decoding": prepared.facts["decoding"]},
        {
            "artifact": artifact,
            "samples": Input.of(prepared, "evaluation"),
            "tokenizer": Input.of(prepared, "tokenizer"),
        },
        opens_session=True,
        on_progress=ctx.announce(recipe, "scoring", "texts"),
    )
    found: list[str] = json.loads((done.out / "texts.json").read_text("utf-8"))
    return found
