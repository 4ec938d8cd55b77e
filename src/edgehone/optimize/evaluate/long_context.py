"""Evaluate a language model for a long context: the divergence by position, up to the workload's context.

Usual windows have some hundred tokens. A quantized cache, positions that are scaled, or a window of attention that a
runtime ignores show only later. So for a workload whose context is several times as long, a few windows of its whole
length are scored, too.
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
from edgehone.worker.score import MAX_BYTES

# Contexts below so many times the usual window are left to it: chat, of 512 tokens, costs nothing more.
LEAST = 4
# Windows of the whole length, and the parts of equal length in which the divergence is told.
WINDOWS, PARTS = 4, 4
AT_END = "kl_at_end"
_FACT = "long_reference"


def reference(
    ctx: RunContext, recipe: Recipe, artifact: Input, prepared: JobResult, window: int
) -> dict[str, Any]:
    """Score the original on long windows, and return that as a fact; {} if the workload's context is not long.

    `window` is the length of the usual windows. A text that has less than two of the whole length gives none.
    """
    length = min(ctx.workload.context, ctx.model.context or ctx.workload.context)
    bos = list(prepared.facts["bos"])
    ids = json.loads((prepared.out / "evaluation.json").read_text("utf-8"))["ids"]
    count = min(WINDOWS, len(ids) // max(1, length - len(bos)))
    if length < LEAST * window or count < 2:
        return {}
    args = {
        "settings": dict(recipe.settings),
        "bos": bos,
        "max_bytes": MAX_BYTES,
        "windows": count,
        "window": length,
    }
    done = ctx.run(
        recipe.backend,
        "edgehone.worker.score:reference",
        args,
        {"artifact": artifact, "prepared": Input.of(prepared)},
        opens_session=True,
        on_progress=ctx.announce(recipe, "scoring", f"the original on {count} windows of {length} tokens"),
    )
    return {_FACT: done}


def compare(ctx: RunContext, original: Original, trial: Trial) -> None:
    """Set a trial's divergence at the end of the context, and keep it by position in its facts."""
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
    parts = by_position(done.out / "tokens.npz")
    trial.figures[AT_END] = parts[-1][1]
    trial.facts["kl_by_position"] = [{"up_to": end, **figure.to_json()} for end, figure in parts]


def by_position(path: Path) -> list[tuple[int, Figure]]:
    """Return the mean divergence (nats) of each part of the windows, with the position up to which it goes.

    `path` is a tokens.npz of `worker.score`, whose windows have one length. The windows are the independent samples.
    """
    import numpy as np

    with np.load(path) as file:
        window, kl = file["window"], np.asarray(file["kl"], np.float64)
    length = int(np.bincount(window).max())
    position = np.arange(len(window)) % length
    found = []
    for part in range(PARTS):
        begin, end = part * length // PARTS, (part + 1) * length // PARTS
        chosen = (begin <= position) & (position < end)
        found.append((end, st.clustered_mean(kl[chosen], window[chosen]).figure("nats", least=0.0)))
    return found
