"""Evaluate a language model for a long context: the divergence by position, up to the workload's context.

Usual windows have some hundred tokens. A quantized cache, positions that are scaled, or a window of attention that a
runtime ignores show only later. So for a workload whose context is several times as long, a few windows of its whole
length are scored, too. With conversations they are chats of the whole context (`worker.long_chats`), which are scored
beside the conversations, whatever its length; conversations that reach as far by themselves are taken as they are.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edgehone.backends.base import Recipe
from edgehone.core.figure import Figure
from edgehone.evaluation import statistics as st
from edgehone.execution.job import Input
from edgehone.execution.store import JobResult
from edgehone.optimize.context import RunContext
from edgehone.optimize.original import Original
from edgehone.optimize.trial import Trial
from edgehone.worker import long_chats
from edgehone.worker.long_chats import PARTS, WINDOWS
from edgehone.worker.score import MAX_BYTES

# Contexts below so many times the usual window are left to it: chat, of 512 tokens, costs nothing more.
LEAST = 4
AT_END = "kl_at_end"
_FACT = "long_reference"
# What `optimize.evaluate.conversations` calls the answered conversations.
_SPOKEN = "conversations"


def length(ctx: RunContext) -> int:
    """Return the context that is covered: the workload's, limited by the model's."""
    return min(ctx.workload.context, ctx.model.context or ctx.workload.context)


def reference(
    ctx: RunContext, recipe: Recipe, artifact: Input, prepared: JobResult, window: int
) -> dict[str, Any]:
    """Score the original on long windows, and return that as a fact; {} if the workload's context is not long.

    `window` is the length of the usual windows. A text that has less than two of the whole length gives none.
    """
    whole = length(ctx)
    bos = list(prepared.facts["bos"])
    ids = json.loads((prepared.out / "evaluation.json").read_text("utf-8"))["ids"]
    count = min(WINDOWS, len(ids) // max(1, whole - len(bos)))
    if whole < LEAST * window or count < 2:
        return {}
    args = {
        "settings": dict(recipe.settings),
        "bos": bos,
        "max_bytes": MAX_BYTES,
        "windows": count,
        "window": whole,
    }
    done = ctx.run(
        recipe.backend,
        "edgehone.worker.score:reference",
        args,
        {"artifact": artifact, "prepared": Input.of(prepared)},
        opens_session=True,
        on_progress=ctx.announce(recipe, "scoring", f"the original on {count} windows of {whole} tokens"),
    )
    return {_FACT: done}


def compare(ctx: RunContext, original: Original, trial: Trial) -> None:
    """Set a trial's divergence at the end of the context, and keep it by position in its facts."""
    if spoken := original.facts.get("windows", {}).get(_SPOKEN):
        _compare_chats(spoken.path, trial)
    if _FACT not in original.facts or trial.artifact is None:
        return
    expected: JobResult = original.facts[_FACT]
    done = ctx.run(
        trial.recipe.backend,
        "edgehone.worker.score:score",
        {"settings": dict(trial.recipe.settings), "windows": expected.facts["windows"]},
        {
            "artifact": Input.of(trial.artifact),
            "prepared": Input.of(original.prepared),
            "reference": Input.of(expected),
        },
        opens_session=True,
        on_progress=ctx.announce(trial.recipe, "scoring", "the whole context"),
    )
    _set(trial, by_position(done.out / "tokens.npz", expected.facts["window"]))


def _compare_chats(folder: Path, trial: Trial) -> None:
    """Set the figures from the chats, or conversations, that were scored with the quality."""
    found = _chats(folder)
    if found["reason"]:
        trial.figures[AT_END] = Figure.missing(found["reason"], "nats")
    elif trial.score is not None:
        name = long_chats.TOKENS if found["chats"] else "tokens.npz"
        _set(trial, by_position(trial.score.out / name, found["context"]))


def note(folder: Path) -> str:
    """Return what the divergence by position is measured on, for the report. `folder` has the conversations."""
    found = _chats(folder)
    context, chats = found["context"], len(found["chats"])
    if found["reason"]:
        return f"the divergence by position up to {context} tokens is not known: {found['reason']}"
    if not chats:
        return f"the divergence by position is that of the conversations, which reach {context} tokens"
    filled = ", with passages of the evaluation text before the questions" if found["filled"] else ""
    return (
        f"the divergence by position is that of {chats} chats of {context} tokens, in which the conversations follow "
        f"one another{filled}"
    )


def _chats(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / long_chats.FILE).read_text("utf-8"))
    return found


def _set(trial: Trial, parts: list[tuple[int, Figure]]) -> None:
    trial.figures[AT_END] = parts[-1][1]
    trial.facts["kl_by_position"] = [{"up_to": end, **figure.to_json()} for end, figure in parts]


def by_position(path: Path, context: int) -> list[tuple[int, Figure]]:
    """Return the mean divergence (nats) of each part of the context, with the position up to which it goes.

    `path` is a file of scored tokens of `worker.score`. The windows are the independent samples; a part that fewer than
    two of them reach has no figure.
    """
    import numpy as np

    with np.load(path) as file:
        window, position, kl = file["window"], file["position"], np.asarray(file["kl"], np.float64)
    found = []
    for part in range(PARTS):
        begin, end = part * context // PARTS, (part + 1) * context // PARTS
        chosen = (begin <= position) & (position < end)
        if len(np.unique(window[chosen])) < 2:
            missing = f"fewer than 2 windows have scored tokens from position {begin} to {end}"
            found.append((end, Figure.missing(missing, "nats")))
        else:
            mean = st.clustered_mean(kl[chosen], window[chosen])
            found.append((end, mean.figure("nats", least=0.0)))
    return found
