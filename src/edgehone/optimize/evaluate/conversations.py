"""The evaluation of a chat model on conversations: the original answers them, candidates are scored on the answers."""

from __future__ import annotations

import json
from pathlib import Path

from edgehone.core.errors import InputError, JobError, ModelError
from edgehone.execution.job import Input
from edgehone.execution.store import JobResult
from edgehone.inputs import conversations
from edgehone.model.info import ModelInfo
from edgehone.optimize.build import build
from edgehone.optimize.context import RunContext
from edgehone.optimize.evaluate import long_context
from edgehone.optimize.options import OptimizeOptions

# The name of the answered conversations among a run's data and a job's inputs.
INPUT = "conversations"
# The most tokens of an answer that are scored: more than most answers of an assistant differ in.
ANSWER = 96


def of(options: OptimizeOptions, model: ModelInfo) -> Path:
    """Return the file of the conversations, after reading it. Raises InputError for one that cannot be used."""
    if not model.chat_template:
        raise InputError(
            f"--chat: {model.path} has no chat template, so it has no conversations",
            hint="leave --chat out: it is then evaluated on text",
        )
    path = Path(options.chat) if options.chat else conversations.shipped()
    conversations.read(path)
    return path


def answered(ctx: RunContext, prepared: JobResult) -> JobResult:
    """Let the original answer as many conversations as the effort has windows, and part of the others to calibrate."""
    # As its users run it: the reference may be a session that scores texts block by block and generates none.
    recipe = ctx.reference_backend.original(ctx.model)
    args = {
        "settings": dict(recipe.settings),
        "eos": list(prepared.facts["eos"]),
        "count": ctx.effort.windows,
        "length": ANSWER,
        "context": ctx.model.context,
        "whole": long_context.length(ctx),
    }
    on_progress = ctx.announce(recipe, "scoring", "the original answers conversations")
    try:
        return ctx.run(
            recipe.backend,
            "edgehone.worker.conversations:answers",
            args,
            {"artifact": Input.of(build(ctx, recipe)), "model": ctx.source, "prepared": Input.of(prepared)},
            opens_session=True,
            on_progress=on_progress,
        )
    except JobError as error:
        raise ModelError(
            f"the original cannot answer the conversations: {error.message}",
            hint=error.hint or "give others with --chat FILE",
        ) from error


def notes(done: Input) -> list[str]:
    """Return the notes on the evaluation for the report."""
    scored = json.loads((done.path / "conversations.json").read_text("utf-8"))
    tokens = sum(len(one["bytes"]) for one in scored)
    return [
        f"quality is that of {len(scored)} conversations: {tokens} tokens of the original's own answers, in its chat "
        "template",
        long_context.note(done.path),
    ]
