"""Evaluate chat models by tasks: how often answers are right, and structured output valid, against the original."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgehone.backends.base import Recipe
from edgehone.core.errors import InputError, JobError, ModelError
from edgehone.core.figure import Figure
from edgehone.evaluation import quality
from edgehone.evaluation import statistics as st
from edgehone.execution.job import Input
from edgehone.execution.store import JobResult
from edgehone.inputs import chat_tasks
from edgehone.model.info import ModelInfo
from edgehone.optimize.build import build
from edgehone.optimize.context import RunContext
from edgehone.optimize.evaluate.same_run import runs_as
from edgehone.optimize.original import Original
from edgehone.optimize.trial import Trial

INPUT = "chat_tasks"
# The most tokens of an answer: what is asked for is short.
ANSWER = 128
VALID, VALID_KEPT = "structured_valid", "structured_valid_kept"
CALLS, CALLS_KEPT = "calls_valid", "calls_valid_kept"
# The figures of tasks of some kinds: the share of right answers, its ratio to the original's, and why there is none.
_SHARES = (
    ("task_accuracy", "task_accuracy_kept", chat_tasks.KINDS, "the original gives no right answer"),
    (
        VALID,
        VALID_KEPT,
        chat_tasks.STRUCTURED,
        "the original writes neither valid JSON nor a valid call of a tool",
    ),
    (CALLS, CALLS_KEPT, ("call",), "the original makes no valid call of a tool"),
)
_RUN = "chat_tasks_run_as"


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
        artifact = Input.of(build(ctx, recipe))
        found = _answers(ctx, recipe, artifact, prepared)
    except JobError as error:
        raise ModelError(f"the original cannot answer the tasks: {error.message}", hint=error.hint) from error
    return {INPUT: found, _RUN: runs_as(ctx, recipe, artifact)}


def compare(ctx: RunContext, original: Original, trial: Trial) -> None:
    """Set a trial's shares of right answers, of valid structured output and of valid calls, and keep its answers.

    What runs as the original does is not asked again.
    """
    if INPUT not in original.facts or trial.artifact is None:
        return
    base, artifact = original.facts[INPUT], Input.of(trial.artifact)
    same = runs_as(ctx, trial.recipe, artifact) == original.facts[_RUN]
    found = base if same else _answers(ctx, trial.recipe, artifact, original.prepared)
    trial.figures.update(_figures(found, base))
    trial.samples["chat_tasks"] = {"answers": found, "original": base}


def _figures(found: Sequence[Mapping[str, Any]], base: Sequence[Mapping[str, Any]]) -> dict[str, Figure]:
    import numpy as np

    figures = {}
    for share, kept, kinds, none in _SHARES:
        pairs = [
            (mine["right"], theirs["right"])
            for mine, theirs in zip(found, base, strict=True)
            if mine["kind"] in kinds
        ]
        if not pairs:
            continue
        mine, theirs = np.array(pairs, np.float64).T
        figures[share] = st.share_interval(int(mine.sum()), len(pairs)).figure("share")
        tasks = np.arange(len(pairs), dtype=np.float64)
        figures[kept] = quality.kept_ratio(mine, theirs, tasks, f"{none} in {len(pairs)} tasks")
    return figures


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
