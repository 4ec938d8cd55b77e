"""Evaluate chat models by tasks: how often answers are right, and structured output valid, against the original."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edgehone.backends.base import Recipe
from edgehone.core.errors import InputError, JobError, ModelError
from edgehone.evaluation import quality
from edgehone.evaluation import statistics as st
from edgehone.execution.job import Input
from edgehone.execution.store import JobResult
from edgehone.inputs import chat_tasks
from edgehone.model.info import ModelInfo
from edgehone.optimize.build import build
from edgehone.optimize.context import RunContext
from edgehone.optimize.original import Original
from edgehone.optimize.trial import Trial

INPUT = "chat_tasks"
# The most tokens of an answer: what is asked for is short.
ANSWER = 128
VALID, VALID_KEPT = "structured_valid", "structured_valid_kept"


def check(path: Path, model: ModelInfo) -> None:
    """Read the tasks. Raises InputError if they cannot be used, or the model has no chat template."""
    if not model.chat_template:
        raise InputError(
            f"--task {path}: {model.path} has no chat template, so it holds no conversations",
            hint="give multiple-choice questions: prompt, choices, answer",
        )
    chat_tasks.read(path)


def reference(ctx: RunContext, prepared: JobResult) -> dict[str, Any]:
    """Let the original answer the tasks, and return the answers as facts; {} without tasks.

    Raises ModelError if it cannot.
    """
    if INPUT not in ctx.datasets:
        return {}
    # As its users run it: the reference may be a session that scores texts block by block and generates none.
    recipe = ctx.reference_backend.original(ctx.model)
    try:
        found = _answers(ctx, recipe, Input.of(build(ctx, recipe)), prepared)
    except JobError as error:
        raise ModelError(f"the original cannot answer the tasks: {error.message}", hint=error.hint) from error
    return {INPUT: found}


def compare(ctx: RunContext, original: Original, trial: Trial) -> None:
    """Set a trial's shares of right answers and of valid structured output, and keep its answers."""
    if INPUT not in original.facts or trial.artifact is None:
        return
    base = original.facts[INPUT]
    found = _answers(ctx, trial.recipe, Input.of(trial.artifact), original.prepared)
    every = range(len(found))
    structured = [at for at in every if found[at]["kind"] in chat_tasks.STRUCTURED]
    for names, chosen in (
        (("task_accuracy", "task_accuracy_kept"), every),
        ((VALID, VALID_KEPT), structured),
    ):
        if chosen:
            trial.figures.update(
                _figures(names, [found[at]["right"] for at in chosen], [base[at]["right"] for at in chosen])
            )
    trial.samples["chat_tasks"] = {"answers": found, "original": base}


def _figures(names: tuple[str, str], right: list[bool], before: list[bool]) -> dict[str, Any]:
    import numpy as np

    mine, theirs = (np.array(one, np.float64) for one in (right, before))
    kept = quality.kept_ratio(
        mine, theirs, np.arange(len(mine), dtype=np.float64), "the original gives no right answer"
    )
    return {names[0]: st.share_interval(int(mine.sum()), len(mine)).figure("share"), names[1]: kept}


def _answers(ctx: RunContext, recipe: Recipe, artifact: Input, prepared: JobResult) -> list[dict[str, Any]]:
    args = {
        "settings": dict(recipe.settings),
        "eos": list(prepared.facts["eos"]),
        "length": ANSWER,
        "context": ctx.model.context,
    }
    done = ctx.run(
        recipe.backend,
        "edgehone.worker.chat_task:answers",
        args,
        {"artifact": artifact, "tokenizer": Input.of(prepared, "tokenizer"), "tasks": ctx.datasets[INPUT]},
        opens_session=True,
        on_progress=ctx.announce(recipe, "scoring", "tasks for chat"),
    )
    found: list[dict[str, Any]] = json.loads((done.out / "answers.json").read_text("utf-8"))
    return found
